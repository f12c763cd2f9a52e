//! The report as one HTML file: no script, no font, no picture from elsewhere.

mod against;
mod levels;
mod over_time;
mod paths;
mod sizes;

pub(super) use against::layouts_plot;

use crate::outputs::report::plots::{Bars, Color, HeatMap, Mark, Scale, Series, Unit};
use crate::outputs::report::summary::{CollectiveRow, Summary};
use crate::outputs::report::text::{
    by_kind, complete, headline, layouts, number, paper_cells, paper_title, share, size_cells,
    startup, table_four, worker,
};
use crate::outputs::report::{PHASES, Report, STARTUP};
use crate::outputs::text::{grouped, size};
use against::{against, verdict_of, without_model};
use levels::levels;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use over_time::over_time;
use paths::{backends, ways};
use sizes::message_sizes;
use std::collections::BTreeMap;

/// Rows of one table; the rest are counted.
const SHOWN: usize = 40;

/// Workers that the peer matrix has room for.
const WORKERS_SHOWN: usize = 64;

/// The whole page.
pub fn page(report: &Report) -> String {
    let summary = &report.summary;
    let body = html! {
        header {
            h1 { "nccltap report" }
            p.quiet { (report.source) ", nccltap " (summary.nccltap) }
            @if !(summary.workers.is_empty() && summary.missing.is_empty()) { (missing(summary)) }
            (ways(report))
            @if let Some(compared) = &report.compared { (verdict_of(compared)) }
            @if !summary.workers.is_empty() { (tiles(summary)) }
        }
        @if summary.workers.is_empty() {
            p { (headline(summary)) "." }
        } @else {
            (where_bytes_go(summary))
            @if let Some(compared) = &report.compared { (against(compared)) }
            @if let Some(serving) = &report.serving { (levels(serving)) }
            (over_time(summary))
            (message_sizes(summary))
            (backends(summary))
            (who_sends(summary))
            (as_the_paper(summary))
            @if report.compared.is_none() { (without_model()) }
            (ranks(summary))
        }
    };
    document(&format!("nccltap report: {}", report.source), &body)
}

/// An HTML document with this title.
pub(super) fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Browsers ask for a picture where none is named.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body { (body) }
        }
    };
    page.into_string() + "\n"
}

fn missing(summary: &Summary) -> Markup {
    html! {
        @if summary.missing.is_empty() {
            div.said.good id="missing" { p { (complete(summary)) } }
        } @else {
            div.said.doubt id="missing" {
                p { b { "Missing or in doubt" } }
                ul { @for sentence in &summary.missing { li { (sentence) } } }
            }
        }
    }
}

fn tiles(summary: &Summary) -> Markup {
    let (operations, message, bus) = summary.totals();
    let mut by_collective: BTreeMap<&str, u64> = BTreeMap::new();
    for row in summary.collectives.iter().filter(|row| row.phase != STARTUP) {
        *by_collective.entry(&row.collective).or_default() += row.bus_bytes;
    }
    let largest = by_collective.iter().max_by_key(|(_, bytes)| **bytes);
    let steps = |phase: &str| {
        let row = summary.phases.iter().find(|row| row.phase == phase);
        row.map(|row| (row.steps, row.tokens))
    };
    html! {
        dl.tiles id="tiles" {
            div {
                dt { "Layout" }
                dd {
                    (layouts(summary))
                    small { (number(summary.workers.len(), "rank", "ranks")) }
                }
            }
            div {
                dt { "Bus bytes, all ranks" }
                dd {
                    (size(bus))
                    small { (grouped(operations)) " operations" }
                }
            }
            div {
                dt { "Message bytes, all ranks" }
                dd { (size(message)) small { "as NCCL was told" } }
            }
            @if let Some((name, bytes)) = largest {
                div {
                    dt { "Most bus bytes" }
                    dd { (*name) small { (share(*bytes, bus)) " of bus bytes" } }
                }
            }
            @for phase in ["prefill", "decode", "mixed"] {
                @if let Some((count, tokens)) = steps(phase) {
                    div {
                        dt { "Steps of " (phase) }
                        dd {
                            (grouped(count))
                            @if let Some(tokens) = tokens { small { (grouped(tokens)) " tokens" } }
                        }
                    }
                }
            }
        }
    }
}

fn phase_color(phase: &str) -> Color {
    match phase {
        "prefill" => Color::Red,
        "decode" => Color::Blue,
        "mixed" => Color::Purple,
        "startup" => Color::Grey,
        _ => Color::Yellow,
    }
}

/// The colour of a collective, the same in every plot.
pub(super) fn collective_color(name: &str) -> Color {
    match name {
        "AllReduce" => Color::Blue,
        "AllGather" | "AllGatherV" => Color::Cyan,
        "Gather" => Color::Green,
        "Send" => Color::Red,
        "ReduceScatter" | "ReduceScatterV" => Color::Purple,
        "AlltoAll" => Color::Orange,
        "Broadcast" => Color::Yellow,
        _ => Color::Grey,
    }
}

/// A table of at most [`SHOWN`] rows; columns with `true` hold numbers.
pub(super) fn table<const N: usize>(head: [(&str, bool); N], rows: &[[String; N]]) -> Markup {
    let class = |is_number: bool| if is_number { "number" } else { "" };
    let more = rows.len().saturating_sub(SHOWN);
    html! {
        div.table {
            table {
                thead { tr { @for (name, is_number) in &head {
                    th class=(class(*is_number)) { (name) }
                } } }
                tbody {
                    @for row in rows.iter().take(SHOWN) {
                        tr { @for (cell, (_, is_number)) in row.iter().zip(&head) {
                            td class=(class(*is_number)) { (cell) }
                        } }
                    }
                }
            }
            @if more > 0 { p.quiet { "and " (grouped(more as u64)) " more" } }
        }
    }
}

fn where_bytes_go(summary: &Summary) -> Markup {
    let mut phases: Vec<&str> = PHASES.to_vec();
    phases.retain(|phase| {
        let any = |row: &CollectiveRow| row.phase == *phase && row.bus_bytes > 0;
        *phase != STARTUP && summary.collectives.iter().any(any)
    });
    let mut names: Vec<&str> =
        summary.collectives.iter().map(|row| row.collective.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let series = names.iter().map(|name| {
        let mark = |phase: &&str| {
            let rows = summary
                .collectives
                .iter()
                .filter(|row| row.phase == *phase && row.collective == *name);
            let bytes: u64 = rows.map(|row| row.bus_bytes).sum();
            Mark { value: bytes as f64, title: format!("{phase}, {name}: {}", size(bytes)) }
        };
        Series {
            name: (*name).to_owned(),
            color: collective_color(name),
            marks: phases.iter().map(mark).collect(),
        }
    });
    let plot = Bars {
        label: "Bus bytes by phase and collective".into(),
        categories: phases.iter().map(|phase| (*phase).to_owned()).collect(),
        series: series.collect(),
        scale: Scale::Stacked,
        unit: Unit::Bytes("bus bytes"),
    };
    let (.., bus) = summary.totals();
    let rows: Vec<_> = summary
        .collectives
        .iter()
        .map(|row| {
            [
                row.phase.clone(),
                row.collective.clone(),
                row.role.clone().unwrap_or_else(|| "?".to_owned()),
                grouped(row.count),
                size(row.message_bytes),
                size(row.bus_bytes),
                if row.phase == STARTUP { String::new() } else { share(row.bus_bytes, bus) },
            ]
        })
        .collect();
    let head = [
        ("phase", false),
        ("collective", false),
        ("group", false),
        ("count", true),
        ("message", true),
        ("bus", true),
        ("of bus", true),
    ];
    html! {
        h2 id="bytes" { "Where the bytes go" }
        p.quiet {
            "Over all ranks; a transfer counts once, where it is sent. Bus bytes are what crosses the links \
             when no algorithm wastes anything: message bytes times the factor of nccl-tests."
            @if let Some(startup) = startup(summary) { " Not in sums and plots: " (startup) "." }
        }
        div.pair { figure { (plot.markup()) } (table(head, &rows)) }
    }
}

fn who_sends(summary: &Summary) -> Markup {
    let count = summary.workers.len().min(WORKERS_SHOWN);
    let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    let cells: Vec<_> = summary
        .transfers
        .cells
        .iter()
        .filter_map(|cell| {
            let (from, to) = (cell.from? as usize, cell.to? as usize);
            (from < count && to < count).then(|| {
                let title = format!(
                    "rank {from} to rank {to}: {} to a named peer, {} by ring",
                    size(cell.named_bytes),
                    size(cell.ring_bytes)
                );
                (from, to, cell.bytes() as f64, size(cell.bytes()), title)
            })
        })
        .collect();
    let outside: Vec<_> = summary
        .transfers
        .cells
        .iter()
        .filter(|cell| cell.from.is_none() || cell.to.is_none())
        .map(|cell| [worker(cell.from), worker(cell.to), size(cell.bytes())])
        .collect();
    let plot = HeatMap {
        label: "Bytes from rank to rank".into(),
        names,
        axes: ("from rank".into(), "to rank".into()),
        cells,
    };
    html! {
        h2 id="peers" { "Who sends to whom" }
        p.quiet {
            "Send and Recv name their peer. For collectives NCCL chooses the way; here they are told as \
             rings, each rank sending its bus bytes to the next of its group, which says how much leaves each \
             rank, and not over which link."
        }
        figure { (plot.markup()) }
        @if summary.workers.len() > count {
            p.note { "The first " (count) " of " (summary.workers.len()) " ranks." }
        }
        @if !outside.is_empty() {
            p.note { "From or to ranks that are not tapped:" }
            (table([("from", true), ("to", true), ("bytes", true)], &outside))
        }
        @if summary.transfers.operations_without_place > 0 {
            p.note {
                "Not in it, since group, rank or data type is not known: "
                (grouped(summary.transfers.operations_without_place)) " operations."
            }
        }
    }
}

fn as_the_paper(summary: &Summary) -> Markup {
    let rows: Vec<_> = by_kind(&summary.paper).map(paper_cells).collect();
    let four = table_four(&summary.paper);
    let four: Vec<_> = by_kind(&four).map(size_cells).collect();
    let head = [
        ("phase", false),
        ("collective", false),
        ("count", true),
        ("shape", false),
        ("dtype", false),
    ];
    html! {
        h2 id="paper" { "As the paper counts" }
        p.quiet {
            "\u{201c}Characterizing Communication Patterns in Distributed Large Language Model \
             Inference\u{201d}, its tables with the numbers of this run. Start-up and the engine's own \
             broadcasts are not in them."
        }
        div.pair {
            div { h3 { (paper_title(&summary.paper)) } (table(head, &rows)) }
            @if !four.is_empty() {
                div {
                    h3 { "Table IV of the paper: message sizes of AllReduce, of one rank" }
                    (table([("phase", false), ("bytes", true), ("count", true)], &four))
                }
            }
        }
    }
}

fn ranks(summary: &Summary) -> Markup {
    let known = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let rows: Vec<_> = summary
        .workers
        .iter()
        .enumerate()
        .map(|(number, worker)| {
            let sums = &worker.accounting;
            let away = sums.made.saturating_sub(sums.seen);
            [
                number.to_string(),
                worker.host.clone(),
                worker.pid.to_string(),
                known(worker.stage),
                known(worker.tensor),
                grouped(worker.operations),
                size(worker.message_bytes),
                size(worker.bus_bytes),
                grouped(sums.made),
                grouped(away),
            ]
        })
        .collect();
    let head = [
        ("rank", true),
        ("host", false),
        ("pid", true),
        ("stage", true),
        ("tensor rank", true),
        ("operations", true),
        ("sent, message", true),
        ("sent, bus", true),
        ("calls made", true),
        ("of them not seen", true),
    ];
    html! {
        h2 id="ranks" { "Ranks" }
        (table(head, &rows))
    }
}
