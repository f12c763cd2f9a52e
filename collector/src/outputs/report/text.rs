//! The report as tables.

use super::compared::{Compared, Growth, Volume};
use super::paper::PaperRow;
use super::paths::sentences;
use super::serving::{KV_TRANSFERS, KvRow, LEVELS, PREDICTED_LEVELS, Serving};
use super::summary::Summary;
use super::transfers::Cell;
use super::{Report, STARTUP};
use crate::backends::Calls;
use crate::outputs::backends::BackendRow;
use crate::outputs::comparison;
use crate::outputs::text::{grouped, size, write_table};
use nccltap_proto::Operation;
use std::fmt::Write;

/// Most rows of one table; the rest are counted.
const SHOWN: usize = 40;

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let summary = &report.summary;
    let _ = writeln!(text, "{}: {}", report.source, headline(summary));
    for sentence in sentences(&summary.paths, report.compared.as_ref()) {
        let _ = writeln!(text, "{sentence}");
    }
    text.push('\n');
    if summary.workers.is_empty() && summary.missing.is_empty() {
        return text;
    }
    write_missing(&mut text, summary);
    if summary.workers.is_empty() {
        return text;
    }
    write_collectives(&mut text, summary);
    write_phases(&mut text, summary);
    write_paper(&mut text, summary);
    write_sizes(&mut text, summary);
    write_backends(&mut text, summary);
    write_transfers(&mut text, summary);
    if let Some(compared) = &report.compared {
        write_compared(&mut text, compared);
    }
    if let Some(serving) = &report.serving {
        write_serving(&mut text, serving);
    }
    text
}

/// One sentence that says what ran and what it sent.
pub(super) fn headline(summary: &Summary) -> String {
    if summary.workers.is_empty() {
        return "no process has given NCCL an operation under the tap".to_owned();
    }
    let (count, _, bus) = summary.totals();
    let mut hosts: Vec<&str> = summary.workers.iter().map(|worker| worker.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut text = format!(
        "{}, {} on {}, {} operations, {} of bus bytes",
        layouts(summary),
        number(summary.workers.len(), "process", "processes"),
        number(hosts.len(), "host", "hosts"),
        grouped(count),
        size(bus)
    );
    if let Some(startup) = startup(summary) {
        let _ = write!(text, "; {startup}");
    }
    text
}

/// What start-up sent, which is in no sum.
pub(super) fn startup(summary: &Summary) -> Option<String> {
    let (count, _, bus) = summary.startup();
    let text = || format!("start-up before that: {} operations, {}", grouped(count), size(bus));
    (count > 0).then(text)
}

/// The layout of each engine.
pub(super) fn layouts(summary: &Summary) -> String {
    let one = |layout: &super::summary::LayoutView| {
        let sizes = [("TP", layout.tensor), ("PP", layout.pipeline), ("DP", layout.data)];
        let parts: Vec<String> = sizes
            .iter()
            .filter(|(_, size)| *size > 1)
            .map(|(name, size)| format!("{name}={size}"))
            .collect();
        if parts.is_empty() { "TP=1".to_owned() } else { parts.join("x") }
    };
    let mut all: Vec<String> = summary.layouts.iter().map(one).collect();
    all.dedup();
    match (summary.layouts.len(), all.as_slice()) {
        (0, _) => "layout not known".to_owned(),
        (1, _) => all.concat(),
        (many, [one]) => format!("{many} engines of {one}"),
        (many, _) => format!("{many} engines: {}", all.join(", ")),
    }
}

/// `1 host`, `2 hosts`.
pub(super) fn number(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count as u64), if count == 1 { one } else { many })
}

/// The sentence that is said where nothing is missing.
pub(super) fn complete(summary: &Summary) -> String {
    let sums = &summary.accounting;
    format!(
        "Nothing is known to be missing: calls made {} = seen {}.",
        grouped(sums.made),
        grouped(sums.seen)
    )
}

fn write_missing(text: &mut String, summary: &Summary) {
    match summary.missing.as_slice() {
        [] => {
            let _ = writeln!(text, "{}\n", complete(summary));
        }
        missing => {
            text.push_str("Missing or in doubt:\n");
            for sentence in missing {
                let _ = writeln!(text, "- {sentence}");
            }
            text.push('\n');
        }
    }
}

fn table<const N: usize>(
    text: &mut String,
    title: &str,
    head: [&str; N],
    right: &[bool; N],
    mut cells: Vec<[String; N]>,
) {
    if cells.is_empty() {
        return;
    }
    let more = cells.len().saturating_sub(SHOWN);
    cells.truncate(SHOWN);
    let _ = writeln!(text, "{title}");
    write_table(text, head, right, cells);
    if more > 0 {
        let _ = writeln!(text, "  and {} more", grouped(more as u64));
    }
    text.push('\n');
}

fn write_collectives(text: &mut String, summary: &Summary) {
    let (.., all) = summary.totals();
    let cells = summary.collectives.iter().map(|row| {
        [
            row.phase.clone(),
            row.collective.clone(),
            row.role.clone().unwrap_or_else(|| "?".to_owned()),
            grouped(row.count),
            size(row.message_bytes),
            size(row.bus_bytes),
            if row.phase == STARTUP { String::new() } else { share(row.bus_bytes, all) },
        ]
    });
    table(
        text,
        "Over all ranks, a transfer counted where it is sent",
        ["phase", "collective", "group", "count", "message", "bus", "of bus"],
        &[false, false, false, true, true, true, true],
        cells.collect(),
    );
}

/// `85.3 %`.
pub(super) fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => String::new(),
        whole => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

fn write_phases(text: &mut String, summary: &Summary) {
    let cells = summary.phases.iter().map(|row| {
        let tokens = row.tokens.map_or_else(|| "?".to_owned(), grouped);
        [row.phase.clone(), grouped(row.steps), tokens]
    });
    table(
        text,
        "Engine steps",
        ["phase", "steps", "tokens"],
        &[false, true, true],
        cells.collect(),
    );
}

/// The title of the table that a layout has in the paper.
pub(super) fn paper_title(rows: &[PaperRow]) -> String {
    match rows.first().and_then(|row| row.table.as_deref()) {
        Some("III") => "Table III of the paper: tensor parallel, of one rank".to_owned(),
        Some("V") => "Table V of the paper: pipeline parallel, over all boundaries".to_owned(),
        Some(_) => {
            "Table VI of the paper: tensor and pipeline parallel. AllReduce and Gather of one \
                    rank, the others over all boundaries"
                .to_owned()
        }
        None => "As the paper's tables, of a layout that is not known".to_owned(),
    }
}

/// The rows of Table IV: AllReduce by message size.
pub(super) fn table_four(rows: &[PaperRow]) -> Vec<PaperRow> {
    let all_reduces = rows.iter().filter(|row| row.collective == Operation::AllReduce.name());
    all_reduces.cloned().collect()
}

/// The sizes of one collective in one phase: each in a row of its own where there are few.
pub(super) fn by_kind(rows: &[PaperRow]) -> impl Iterator<Item = &[PaperRow]> {
    const APART: usize = 4;
    let kinds = rows.chunk_by(|a, b| {
        (&a.phase, &a.collective, &a.dtype) == (&b.phase, &b.collective, &b.dtype)
    });
    kinds.flat_map(|kind| {
        let size = if kind.len() > APART { kind.len() } else { 1 };
        kind.chunks(size)
    })
}

/// One row of the table of a layout: phase, collective, count, shape, data type.
pub(super) fn paper_cells(rows: &[PaperRow]) -> [String; 5] {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Default::default() };
    let shapes = match rows {
        [one] => shape(one),
        many => format!("{} from {} to {}", many.len(), shape(first), shape(last)),
    };
    let dtype = first.dtype.clone().unwrap_or_else(|| "?".to_owned());
    [first.phase.clone(), first.collective.clone(), counts(rows), shapes, dtype]
}

/// One row of Table IV: phase, message size, count.
pub(super) fn size_cells(rows: &[PaperRow]) -> [String; 3] {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Default::default() };
    let bytes = |row: &PaperRow| row.message_size.map_or_else(|| "?".to_owned(), grouped);
    let sizes = match rows {
        [one] => bytes(one),
        many => format!("{} from {} to {}", many.len(), bytes(first), bytes(last)),
    };
    [first.phase.clone(), sizes, counts(rows)]
}

fn counts(rows: &[PaperRow]) -> String {
    match rows {
        [one] => count(one),
        many => grouped(many.iter().fold(0, |sum, row| sum.saturating_add(row.count))),
    }
}

/// A count, and both ends where ranks differ.
fn count(row: &PaperRow) -> String {
    match row.fewest == row.count {
        true => grouped(row.count),
        false => format!("{} to {}", grouped(row.fewest), grouped(row.count)),
    }
}

/// `[128, 4096]`.
fn shape(row: &PaperRow) -> String {
    let sizes: Vec<String> = row.shape.iter().map(u64::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

fn write_paper(text: &mut String, summary: &Summary) {
    let cells = by_kind(&summary.paper).map(paper_cells);
    table(
        text,
        &paper_title(&summary.paper),
        ["phase", "collective", "count", "shape", "dtype"],
        &[false, false, true, false, false],
        cells.collect(),
    );
    let four = table_four(&summary.paper);
    let cells = by_kind(&four).map(size_cells);
    table(
        text,
        "Table IV of the paper: message sizes of AllReduce, of one rank",
        ["phase", "bytes", "count"],
        &[false, true, true],
        cells.collect(),
    );
}

fn write_sizes(text: &mut String, summary: &Summary) {
    let cells = summary.sizes.iter().map(|row| {
        [
            row.phase.clone(),
            row.collective.clone(),
            format!("<= {}", size(row.up_to_bytes)),
            grouped(row.count),
            size(row.message_bytes),
        ]
    });
    table(
        text,
        "Message sizes, over all ranks",
        ["phase", "collective", "one message", "count", "together"],
        &[false, false, true, true, true],
        cells.collect(),
    );
}

/// The title of the table of backends.
pub(super) const BACKENDS: &str = "Calls of all-reduce backends, over all ranks, as the engine says and as seen; launches of \
     CUDA graphs are no calls";

/// The head of that table.
pub(super) const BACKENDS_HEAD: [(&str, bool); 6] = [
    ("backend", false),
    ("path", false),
    ("said", true),
    ("seen", true),
    ("said bytes", true),
    ("seen bytes", true),
];

/// One row of it.
pub(super) fn backend_cells(row: &BackendRow) -> [String; 6] {
    let bytes = |calls: &Calls| calls.message_bytes.map_or_else(|| "?".to_owned(), size);
    [
        row.backend.clone(),
        row.paths.join(", "),
        grouped(row.said.calls),
        grouped(row.seen.calls),
        bytes(&row.said),
        bytes(&row.seen),
    ]
}

fn write_backends(text: &mut String, summary: &Summary) {
    table(
        text,
        BACKENDS,
        BACKENDS_HEAD.map(|(name, _)| name),
        &BACKENDS_HEAD.map(|(_, right)| right),
        summary.backends.iter().map(backend_cells).collect(),
    );
}

/// The name of a worker in matrices.
pub(super) fn worker(number: Option<u32>) -> String {
    number.map_or_else(|| "not seen".to_owned(), |number| number.to_string())
}

fn write_transfers(text: &mut String, summary: &Summary) {
    let cells = summary.transfers.cells.iter().map(|cell: &Cell| {
        [worker(cell.from), worker(cell.to), size(cell.named_bytes), size(cell.ring_bytes)]
    });
    table(
        text,
        "Who sends to whom, rank to rank; collectives as rings, whichever way NCCL takes",
        ["from", "to", "to a named peer", "by ring"],
        &[true, true, true, true],
        cells.collect(),
    );
    if summary.transfers.operations_without_place > 0 {
        let _ = writeln!(
            text,
            "Not in it, since group, rank or data type is not known: {} operations\n",
            grouped(summary.transfers.operations_without_place)
        );
    }
    let cells = summary.workers.iter().enumerate().map(|(number, worker)| {
        let known = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        [
            number.to_string(),
            worker.host.clone(),
            worker.pid.to_string(),
            known(worker.stage),
            known(worker.tensor),
            grouped(worker.operations),
            size(worker.bus_bytes),
        ]
    });
    table(
        text,
        "Ranks",
        ["rank", "host", "pid", "stage", "tensor rank", "operations", "bus"],
        &[true, false, true, true, true, true, true],
        cells.collect(),
    );
}

/// The verdict of a comparison.
pub(super) fn verdict(compared: &Compared) -> String {
    let (equal, all) = compared.equal_rows;
    let said = if compared.agrees { "is" } else { "is not" };
    format!(
        "What was seen {said} what was predicted of {} on {}, {}, for {}: {equal} of {all} rows equal.",
        compared.model, compared.engine, compared.layout, compared.workload
    )
}

fn write_compared(text: &mut String, compared: &Compared) {
    let _ = writeln!(text, "{}\n", verdict(compared));
    let cells = compared.cells.iter().map(|cell| {
        [
            cell.phase.clone(),
            cell.collective.clone(),
            grouped(cell.predicted_count),
            grouped(cell.seen_count),
            size(cell.predicted_bytes),
            size(cell.seen_bytes),
            ratio(cell.seen_count, cell.predicted_count),
        ]
    });
    table(
        text,
        "Figures 4 and 5 of the paper: predicted and seen, over all ranks",
        ["phase", "collective", "predicted", "seen", "predicted", "seen", "count"],
        &[false, false, true, true, true, true, true],
        cells.collect(),
    );
    table(
        text,
        "Rows that are not as predicted, each of one rank",
        comparison::HEAD.map(|(name, _)| name),
        &comparison::HEAD.map(|(_, right)| right),
        compared.differing.iter().map(comparison::cells).collect(),
    );
    write_layouts(text, &compared.layouts);
    write_growth(text, &compared.growth);
}

/// Seen as a part of predicted.
pub(super) fn ratio(seen: u64, predicted: u64) -> String {
    match predicted {
        0 => "not predicted".to_owned(),
        predicted => format!("{:.4}", seen as f64 / predicted as f64),
    }
}

/// The title of the table of KV transfers.
pub(super) const KV_TITLE: &str =
    "KV caches moved to or from other machines, as the engine counts them; no tap sees these";

fn write_serving(text: &mut String, serving: &Serving) {
    let measured = serving.measured.iter().map(|row| row.cells());
    table(
        text,
        &format!("Service levels as the engine measured them: {}", serving.headline()),
        LEVELS.map(|(name, _)| name),
        &LEVELS.map(|(_, right)| right),
        measured.collect(),
    );
    table(
        text,
        "Figures 8 to 10 of the paper: the mean of each beside what nccltap advise says of a layout",
        PREDICTED_LEVELS.map(|(name, _)| name),
        &PREDICTED_LEVELS.map(|(_, right)| right),
        serving.cells().collect(),
    );
    table(
        text,
        KV_TITLE,
        KV_TRANSFERS.map(|(name, _)| name),
        &KV_TRANSFERS.map(|(_, right)| right),
        serving.kv_transfers.iter().map(KvRow::cells).collect(),
    );
}

fn write_layouts(text: &mut String, layouts: &[Volume]) {
    let cells = layouts.iter().map(|volume| {
        let known = |bytes: Option<u64>| bytes.map(size).unwrap_or_default();
        [
            volume.layout.clone(),
            size(volume.total()),
            known(volume.total_seen()),
            known(volume.equations),
        ]
    });
    table(
        text,
        "Figure 6 of the paper: bus bytes by layout, over all ranks",
        ["layout", "predicted", "seen", "equations"],
        &[false, true, true, true],
        cells.collect(),
    );
}

fn write_growth(text: &mut String, growth: &[Growth]) {
    let cells = growth.iter().map(|one| {
        let seen = one.seen.map(size).unwrap_or_default();
        [one.output.to_string(), size(one.bus_bytes), seen]
    });
    table(
        text,
        "Figure 7 of the paper: bus bytes by generated tokens, over all ranks",
        ["tokens", "predicted", "seen"],
        &[true, true, true],
        cells.collect(),
    );
}
