//! Which way the data took, and what the engine says of it.

use super::table;
use crate::outputs::report::Report;
use crate::outputs::report::paths::sentences;
use crate::outputs::report::summary::Summary;
use crate::outputs::report::text::{BACKENDS, BACKENDS_HEAD, backend_cells};
use maud::{Markup, html};

/// A sentence for each collective that went past NCCL, or that was predicted and not all seen.
pub(super) fn ways(report: &Report) -> Markup {
    let sentences = sentences(&report.summary.paths, report.compared.as_ref());
    html! {
        @if !sentences.is_empty() {
            div.said id="paths" { @for sentence in &sentences { p { (sentence) } } }
        }
    }
}

/// Both witnesses of the engine's all-reduces, where it speaks of them.
pub(super) fn backends(summary: &Summary) -> Markup {
    let rows: Vec<_> = summary.backends.iter().map(backend_cells).collect();
    html! {
        @if !rows.is_empty() {
            h2 id="backends" { "All-reduce backends" }
            p.quiet { (BACKENDS) "." }
            (table(BACKENDS_HEAD, &rows))
        }
    }
}
