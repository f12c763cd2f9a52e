//! Predictions for people.

use super::rows::View;
use super::text::{grouped, size, write_table};
use crate::model::{Phase, Prediction, Row};
use nccltap_proto::Operation;
use std::fmt::Write;

/// The prediction for each layout, and, where there are several, all side by side.
pub fn text(predictions: &[Prediction], workload: &str, view: View) -> String {
    let mut text = String::new();
    let Some(first) = predictions.first() else { return text };
    let deployment = &first.deployment;
    let graphs = if deployment.graphs.is_some() { "CUDA graphs" } else { "eager" };
    let _ = writeln!(
        text,
        "{}, {}, {graphs}: {workload}.\nCounts and bytes are those of one rank.\n",
        deployment.model.name,
        deployment.engine.name()
    );
    for prediction in predictions {
        write_layout(&mut text, prediction, view);
    }
    write_totals(&mut text, predictions);
    text
}

fn write_layout(text: &mut String, prediction: &Prediction, view: View) {
    let layout = prediction.deployment.layout;
    let ranks = layout.ranks();
    let _ = writeln!(text, "{layout}, {ranks} {}", if ranks == 1 { "rank" } else { "ranks" });
    let rows = prediction.rows(view);
    if rows.is_empty() {
        text.push_str("  nothing is sent\n\n");
        return;
    }
    let what = match view {
        View::Operations => "op",
        View::Collectives => "collective",
    };
    let head =
        ["stage", "phase", what, "shape", "dtype", "elements", "count", "message", "bus", "ranks"];
    const RIGHT: [bool; 10] = [true, false, false, false, false, true, true, true, true, false];
    let broadcast = |row: &Row| row.collective == Operation::Broadcast.name();
    let alike =
        |a: &Row, b: &Row| broadcast(a) && broadcast(b) && a.phase == b.phase && a.stage == b.stage;
    let lines = rows.chunk_by(alike).map(|rows| match rows {
        [row] => line(row, view),
        rows => line_of_broadcasts(rows, view),
    });
    write_table(text, head, &RIGHT, lines.collect());
    if !prediction.deployment.engine.startup_is_known() {
        text.push_str("  start-up without the pass that tunes FlashInfer, where it is installed\n");
    }
    if prediction.leaves_nccl() {
        text.push_str("  * goes through vLLM's custom all-reduce, where NCCL does not see it\n");
    }
    text.push('\n');
}

fn line(row: &Row, view: View) -> [String; 10] {
    let what = match (view, row.op) {
        (View::Operations, Some(op)) if op != row.collective => {
            format!("{op} of {}", row.collective)
        }
        (View::Operations, Some(op)) => op.to_owned(),
        _ => row.collective.to_owned(),
    };
    let past_nccl = if row.path == "nccl" { "" } else { "*" };
    let shape: Vec<String> = row.shape.iter().map(u64::to_string).collect();
    [
        row.stage.to_string(),
        row.phase.to_owned(),
        what + past_nccl,
        format!("[{}]", shape.join(", ")),
        row.dtype.to_owned(),
        row.elements.to_string(),
        grouped(row.count),
        size(row.message_bytes),
        size(row.bus_bytes),
        list(&row.ranks),
    ]
}

/// What V0 tells its ranks about a step is many small tensors: they stand in one line.
fn line_of_broadcasts(rows: &[Row], view: View) -> [String; 10] {
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let elements = || rows.iter().map(|row| row.elements);
    let (least, most) = (elements().min().unwrap_or(0), elements().max().unwrap_or(0));
    let mut dtypes: Vec<_> = rows.iter().map(|row| row.dtype).collect();
    dtypes.dedup();
    let [stage, phase, what, .., ranks] =
        rows.first().map(|row| line(row, view)).unwrap_or_default();
    [
        stage,
        phase,
        what,
        format!("{} sizes", rows.len()),
        dtypes.join(" "),
        format!("{least}-{most}"),
        grouped(sum(|row| row.count)),
        size(sum(|row| row.message_bytes)),
        size(sum(|row| row.bus_bytes)),
        ranks,
    ]
}

/// `0-3,6` for 0, 1, 2, 3 and 6.
pub(super) fn list(ranks: &[u32]) -> String {
    let runs = ranks.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        run => run.iter().map(u32::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// Sums over all ranks, a line per layout.
fn write_totals(text: &mut String, predictions: &[Prediction]) {
    text.push_str("Bus bytes of all ranks together, from the first request on.\n\n");
    let head = [
        "layout",
        "ranks",
        "operations",
        "AllReduce",
        "AllGather",
        "Gather",
        "Send",
        "Broadcast",
        "total",
        "equations",
    ];
    const RIGHT: [bool; 10] = [false, true, true, true, true, true, true, true, true, true];
    let lines = predictions.iter().map(|prediction| {
        // A transfer is counted where it is sent.
        let bus = |collective: Operation| {
            let of = prediction
                .totals(|call| call.collective == collective && call.operation != Operation::Recv);
            of.bus_bytes
        };
        let sent = prediction.totals(|call| call.operation != Operation::Recv);
        let shown = |bytes: u64| if bytes == 0 { String::new() } else { size(bytes) };
        let layout = prediction.deployment.layout;
        [
            layout.to_string(),
            layout.ranks().to_string(),
            grouped(prediction.totals(|_| true).operations),
            shown(bus(Operation::AllReduce)),
            shown(bus(Operation::AllGather)),
            shown(bus(Operation::Gather)),
            shown(bus(Operation::Send)),
            shown(bus(Operation::Broadcast)),
            size(sent.bus_bytes),
            prediction.equations.map(|v| size(v.total().round() as u64)).unwrap_or_default(),
        ]
    });
    write_table(text, head, &RIGHT, lines.collect());
    if predictions.iter().any(|prediction| prediction.equations.is_some()) {
        text.push_str(
            "\n\"equations\" is the paper's V of equations 1 to 3: one rank of each group, of the \
             all-reduces\nthose of the first stage, and of the gather one slice. See docs/model.md.\n",
        );
    }
    let mixed = |prediction: &Prediction| {
        prediction.serving().any(|(_, call, _)| call.phase == Phase::Mixed)
    };
    if predictions.iter().any(mixed) {
        text.push_str("\nPhase \"mixed\": prompts and decodes in one step.\n");
    }
}
