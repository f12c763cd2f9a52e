//! The report of a run: where the bytes went, in text, JSON and one HTML page.
//!
//! ```text
//! Collector ──> Summary ─┬─> text       tables
//!                        ├─> JSON       the same, for programs
//! Prediction ──> Compared┴─> page       tables, and plots drawn by `plots`
//! ```
//!
//! - [`summary`][]: sums over ranks, what is missing from them, and the parts below;
//! - [`paper`][]: the counts as Tables III to VI of the paper give them;
//! - [`paths`][]: which way data took, NCCL or a kernel beside it;
//! - [`sizes`][]: how large messages are;
//! - [`transfers`][]: who sends to whom;
//! - [`timeline`][]: when;
//! - [`compared`][]: against a prediction, and what other layouts would send: Figures 4 to 7;
//! - [`serving`][]: latencies of requests as the engine measured them, beside what is predicted: Figures 8 to 10;
//! - [`text`], [`page`], [`predicted`] and [`plots`]: how it looks.
//!
//! Start-up is told apart: its messages are larger than those of any request, and nobody waits for them. Sums
//! are of what came after it. A transfer counts once, where it is sent: Recv, and a root's part of a Gather, have their rows and are
//! in no sum.

pub mod compared;
pub mod page;
pub mod paper;
pub mod paths;
pub mod plots;
pub mod predicted;
pub mod serving;
pub mod sizes;
pub mod summary;
pub mod text;
pub mod timeline;
pub mod transfers;

use super::rows::Row;
use super::views::PageFormat;
use compared::Compared;
use nccltap_proto::Operation;
use serde::{Deserialize, Serialize};
use serving::Serving;
use summary::Summary;

/// Everything that a report says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What it is of: a file, or a collector's address.
    pub source: String,
    /// What was seen.
    #[serde(flatten)]
    pub summary: Summary,
    /// Against what was predicted, where a model is named.
    pub compared: Option<Compared>,
    /// What the engine said of its requests, where it was asked.
    #[serde(default)]
    pub serving: Option<Serving>,
}

/// The report as text, JSON or page.
pub fn render(report: &Report, format: PageFormat) -> serde_json::Result<String> {
    Ok(match format {
        PageFormat::Text => text::text(report),
        PageFormat::Json => serde_json::to_string_pretty(report)? + "\n",
        PageFormat::Html => page::page(report),
    })
}

/// What a row of view collectives amounts to, as the paper names it.
///
/// PyTorch's gather of the logits is a group of Send and Recv. In a group of two ranks it has the form of
/// a plain transfer; between the two ranks of a tensor-parallel group vLLM sends nothing else.
pub(crate) fn collective(row: &Row) -> &str {
    let name = row.collective.as_deref().or(row.op.as_deref()).unwrap_or("?");
    let transfer = name == Operation::Send.name() || name == Operation::Recv.name();
    match transfer && row.role.as_deref() == Some("tensor") && row.ranks_in_group == Some(2) {
        true => Operation::Gather.name(),
        false => name,
    }
}

/// Whether the rank of this row is the one that sends, so that each transfer counts once.
pub(crate) fn is_sender(row: &Row) -> bool {
    let name = row.collective.as_deref().or(row.op.as_deref()).unwrap_or("?");
    let is_root = row.rank.is_some() && row.rank == row.peer;
    if name == Operation::Recv.name() || (name == Operation::Gather.name() && is_root) {
        return false;
    }
    name != Operation::Scatter.name() || is_root
}

/// The phase before the first request.
pub(crate) const STARTUP: &str = "startup";

/// The place of a phase in tables and plots.
pub(crate) fn phase_order(phase: &str) -> usize {
    PHASES.iter().position(|known| *known == phase).unwrap_or(PHASES.len())
}

/// The phases in the order of tables and plots.
pub(crate) const PHASES: [&str; 5] = ["prefill", "decode", "mixed", "startup", "unknown"];
