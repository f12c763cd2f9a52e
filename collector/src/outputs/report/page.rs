//! The report as one HTML file: no script, no font, no picture from elsewhere.

use super::compared::{CellRow, Compared, Growth, Volume};
use super::plots::{Bars, Color, HeatMap, Mark, Scale, Series, Unit};
use super::summary::{CollectiveRow, Summary};
use super::text::{
    by_kind, complete, differing_cells, headline, layouts, number, paper_cells, paper_title, ratio,
    share, size_cells, startup, table_four, verdict, worker,
};
use super::{PHASES, Report, STARTUP, phase_order};
use crate::outputs::text::{grouped, size};
use maud::{DOCTYPE, Markup, PreEscaped, html};
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
            @if let Some(compared) = &report.compared { (verdict_of(compared)) }
            @if !summary.workers.is_empty() { (tiles(summary)) }
        }
        @if summary.workers.is_empty() {
            p { (headline(summary)) "." }
        } @else {
            (where_bytes_go(summary))
            @if let Some(compared) = &report.compared { (against(compared)) }
            (over_time(summary))
            (message_sizes(summary))
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

/// One plot of the timeline: a bar for each bin, by phase.
fn bins(
    summary: &Summary,
    label: &str,
    unit: Unit,
    of: fn(&super::timeline::Bin) -> &[u64; 5],
    say: fn(u64) -> String,
) -> Bars {
    let timeline = &summary.timeline;
    let last = timeline.bins.iter().map(|bin| bin.number as usize + 1).max().unwrap_or(0);
    let mut all = vec![None; last];
    for bin in &timeline.bins {
        if let Some(place) = all.get_mut(bin.number as usize) {
            *place = Some(bin);
        }
    }
    let seconds = |bin: usize| bin as f64 * timeline.bin_seconds;
    // Labels at round seconds, six at most.
    let every = round_up(seconds(last) / 6.0);
    let labels = (0..last).map(|at| {
        let next = (seconds(at) / every).ceil() * every;
        let is_here = next < seconds(at + 1);
        if is_here { duration(next) } else { String::new() }
    });
    let series = PHASES.iter().enumerate().filter_map(|(phase, name)| {
        let marks: Vec<Mark> = all
            .iter()
            .enumerate()
            .map(|(at, bin)| {
                let value = bin.map_or(0, |bin| of(bin)[phase]);
                let title = format!("{}, {name}: {}", duration(seconds(at)), say(value));
                Mark { value: value as f64, title }
            })
            .collect();
        marks.iter().any(|mark| mark.value > 0.0).then(|| Series {
            name: (*name).to_owned(),
            color: phase_color(name),
            marks,
        })
    });
    Bars {
        label: label.to_owned(),
        series: series.collect(),
        categories: labels.collect(),
        scale: Scale::Stacked,
        unit,
    }
}

/// 1, 2 or 5 times a power of ten.
fn round_up(number: f64) -> f64 {
    let power = 10f64.powf(number.max(1e-6).log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= number);
    digit.unwrap_or(10.0) * power
}

/// Seconds with the unit that fits, and no more than two digits behind the point.
fn duration(seconds: f64) -> String {
    let (number, unit) = match seconds {
        0.0 => (0.0, "s"),
        short if short < 1e-3 => (short * 1e6, "\u{b5}s"),
        short if short < 1.0 => (short * 1e3, "ms"),
        long => (long, "s"),
    };
    let text = format!("{number:.2}");
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn over_time(summary: &Summary) -> Markup {
    let timeline = &summary.timeline;
    let width = duration(timeline.bin_seconds);
    let steps = bins(
        summary,
        "Engine steps over time",
        Unit::Count("steps"),
        |bin| &bin.steps,
        |steps| format!("{} steps", grouped(steps)),
    );
    let bytes = bins(
        summary,
        "Message bytes over time",
        Unit::Bytes("message bytes"),
        |bin| &bin.message_bytes,
        size,
    );
    html! {
        h2 id="time" { "Over time" }
        p.quiet {
            "Each bar is " (width) ". Time is that of the calls on the host, from the first call after \
             start-up."
            @if timeline.startup_operations_before > 0 {
                " Start-up before it had " (grouped(timeline.startup_operations_before)) " operations."
            }
        }
        div.pair {
            @if steps.series.is_empty() {
                p.note { "No engine steps were recognised." }
            } @else {
                figure { figcaption { "Engine steps by phase" } (steps.markup()) }
            }
            figure { figcaption { "Message bytes by phase, all ranks" } (bytes.markup()) }
        }
    }
}

fn message_sizes(summary: &Summary) -> Markup {
    let mut bounds: Vec<u64> = summary.sizes.iter().map(|row| row.up_to_bytes).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut phases: Vec<&str> = summary.sizes.iter().map(|row| row.phase.as_str()).collect();
    phases.sort_by_key(|phase| phase_order(phase));
    phases.dedup();
    let plot = |label: &str,
                unit,
                of: fn(&super::sizes::SizeRow) -> u64,
                say: fn(u64) -> String| {
        let series = phases.iter().map(|phase| {
            let mark = |bound: &u64| {
                let rows =
                    summary.sizes.iter().filter(|r| r.up_to_bytes == *bound && r.phase == *phase);
                let (mut sum, mut parts) = (0, Vec::new());
                for row in rows {
                    sum += of(row);
                    parts.push(format!("{} {}", row.collective, say(of(row))));
                }
                let title = format!("{phase}, up to {}: {}", size(*bound), parts.join(", "));
                Mark { value: sum as f64, title }
            };
            Series {
                name: (*phase).to_owned(),
                color: phase_color(phase),
                marks: bounds.iter().map(mark).collect(),
            }
        });
        // Of many sizes, not each has room for its label.
        let every = bounds.len().div_ceil(9).max(1);
        let label_of = |(at, bound): (usize, &u64)| match at % every {
            0 => short_size(*bound).replace(' ', "\n"),
            _ => String::new(),
        };
        Bars {
            label: label.to_owned(),
            categories: bounds.iter().enumerate().map(label_of).collect(),
            series: series.collect(),
            scale: Scale::Logarithmic,
            unit,
        }
    };
    let counts = plot("Messages by size", Unit::Count("messages"), |row| row.count, grouped);
    let bytes =
        plot("Message bytes by size", Unit::Bytes("message bytes"), |row| row.message_bytes, size);
    html! {
        h2 id="sizes" { "Message sizes" }
        p.quiet {
            "Each bar holds messages of up to its size and more than half of it, over all ranks. The vertical \
             axes go in powers of ten: many small messages and few large ones are seen together."
        }
        div.pair {
            figure { figcaption { "How many" } (counts.markup()) }
            figure { figcaption { "How many bytes" } (bytes.markup()) }
        }
    }
}

/// A power of two in bytes, without digits behind the point.
fn short_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    format!("{} {}", bytes >> (10 * power), UNITS[(power as usize).min(UNITS.len() - 1)])
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

fn without_model() -> Markup {
    html! {
        p.note id="without-model" {
            "Figures 4 to 7 put a run beside its prediction. Name what was served, as for "
            code { "nccltap check" } ", to have them: "
            code { "--model NAME --tp N --pp N --prompt N --output N" } "."
        }
    }
}

fn verdict_of(compared: &Compared) -> Markup {
    let class = if compared.agrees { "said good" } else { "said bad" };
    html! { div class=(class) id="verdict" { p { (verdict(compared)) } } }
}

fn against(compared: &Compared) -> Markup {
    let rows: Vec<_> = compared
        .cells
        .iter()
        .map(|cell| {
            [
                cell.phase.clone(),
                cell.collective.clone(),
                grouped(cell.predicted_count),
                grouped(cell.seen_count),
                size(cell.predicted_bytes),
                size(cell.seen_bytes),
                ratio(cell.seen_count, cell.predicted_count),
            ]
        })
        .collect();
    let head = [
        ("phase", false),
        ("collective", false),
        ("predicted", true),
        ("seen", true),
        ("predicted bytes", true),
        ("seen bytes", true),
        ("seen / predicted", true),
    ];
    let counts = cells(
        compared,
        "Counts",
        Unit::Count("operations"),
        |c| c.predicted_count,
        |c| c.seen_count,
        grouped,
    );
    let bytes = cells(
        compared,
        "Message bytes",
        Unit::Bytes("message bytes"),
        |c| c.predicted_bytes,
        |c| c.seen_bytes,
        size,
    );
    html! {
        h2 id="predicted" { "Against the prediction" }
        p.quiet {
            "Of " (compared.model) " on " (compared.engine) ", " (compared.layout) ", " (compared.workload)
            ". Over all ranks, after start-up; a transfer counts once, where it is sent."
        }
        div.pair {
            figure { figcaption { "Figure 4 of the paper: counts" } (counts.markup()) }
            figure { figcaption { "Figure 5 of the paper: message bytes" } (bytes.markup()) }
        }
        (table(head, &rows))
        (differing(compared))
        div.pair {
            figure {
                figcaption { "Figure 6 of the paper: volume by layout" }
                (layouts_plot(&compared.layouts).markup())
            }
            @if !compared.growth.is_empty() {
                figure {
                    figcaption { "Figure 7 of the paper: volume by generated tokens" }
                    (growth_plot(&compared.growth).markup())
                }
            }
        }
        p.quiet {
            "Volumes are bus bytes of all ranks after start-up. What was seen stands beside what is predicted \
             of the layout and the length that ran; other bars are predictions."
        }
    }
}

/// The rows that are not as predicted, if there are any.
fn differing(compared: &Compared) -> Markup {
    let rows: Vec<_> = compared.differing.iter().map(differing_cells).collect();
    let head = [
        ("stage", true),
        ("ranks", false),
        ("phase", false),
        ("op", false),
        ("dtype", false),
        ("elements", true),
        ("predicted", true),
        ("seen", true),
        ("", false),
    ];
    html! {
        @if !rows.is_empty() {
            h3 id="differing" { "Rows that are not as predicted, each of one rank" }
            (table(head, &rows))
        }
    }
}

fn cells(
    compared: &Compared,
    label: &str,
    unit: Unit,
    predicted: fn(&CellRow) -> u64,
    seen: fn(&CellRow) -> u64,
    say: fn(u64) -> String,
) -> Bars {
    let series = [("predicted", Color::Grey, predicted), ("seen", Color::Blue, seen)];
    let series = series.into_iter().map(|(name, color, of)| {
        let mark = |cell: &CellRow| Mark {
            value: of(cell) as f64,
            title: format!("{} {}, {name}: {}", cell.phase, cell.collective, say(of(cell))),
        };
        Series { name: name.to_owned(), color, marks: compared.cells.iter().map(mark).collect() }
    });
    Bars {
        label: format!("{label}, predicted and seen"),
        categories: compared
            .cells
            .iter()
            .map(|cell| format!("{}\n{}", cell.collective, cell.phase))
            .collect(),
        series: series.collect(),
        scale: Scale::Logarithmic,
        unit,
    }
}

/// Stacked by collective, with what was seen beside the prediction.
pub(super) fn layouts_plot(volumes: &[Volume]) -> Bars {
    // What was seen has a column of its own, beside that of its layout.
    let columns: Vec<(&Volume, &str, &BTreeMap<String, u64>)> = volumes
        .iter()
        .flat_map(|volume| {
            let seen = volume.seen.as_ref().map(|seen| (volume, "seen", seen));
            [Some((volume, "predicted", &volume.bus_bytes)), seen].into_iter().flatten()
        })
        .collect();
    let mut names: Vec<&str> =
        columns.iter().flat_map(|(.., bytes)| bytes.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let series = names.iter().map(|name| {
        let mark = |(volume, what, bytes): &(&Volume, &str, &BTreeMap<String, u64>)| {
            let bytes = bytes.get(*name).copied().unwrap_or(0);
            let title = format!("{}, {name}, {what}: {}", volume.layout, size(bytes));
            Mark { value: bytes as f64, title }
        };
        Series {
            name: (*name).to_owned(),
            color: collective_color(name),
            marks: columns.iter().map(mark).collect(),
        }
    });
    let with_seen = volumes.iter().any(|volume| volume.seen.is_some());
    let category = |(volume, what, _): &(&Volume, &str, &BTreeMap<String, u64>)| match with_seen {
        true => format!("{}\n{what}", volume.layout),
        false => volume.layout.clone(),
    };
    Bars {
        label: "Bus bytes by layout and collective".into(),
        categories: columns.iter().map(category).collect(),
        series: series.collect(),
        scale: Scale::Stacked,
        unit: Unit::Bytes("bus bytes"),
    }
}

fn growth_plot(growth: &[Growth]) -> Bars {
    let of = |name: &str, color, of: fn(&Growth) -> Option<u64>| Series {
        name: name.to_owned(),
        color,
        marks: growth
            .iter()
            .map(|one| {
                let bytes = of(one).unwrap_or(0);
                let title = format!("{} tokens, {name}: {}", one.output, size(bytes));
                Mark { value: bytes as f64, title }
            })
            .collect(),
    };
    Bars {
        label: "Bus bytes by generated tokens".into(),
        categories: growth.iter().map(|one| format!("{} tokens", one.output)).collect(),
        series: vec![
            of("predicted", Color::Grey, |one| Some(one.bus_bytes)),
            of("seen", Color::Blue, |one| one.seen),
        ],
        scale: Scale::Grouped,
        unit: Unit::Bytes("bus bytes"),
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
