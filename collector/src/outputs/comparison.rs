//! What was seen against what was predicted, for people.

use super::text::{grouped, size, write_table};
use crate::model::Prediction;
use crate::model::comparison::{Comparison, Row, Verdict, Volume};
use std::fmt::Write;

/// Most rows that are printed; the rest are counted.
const SHOWN: usize = 200;

/// One line if all is equal; else every row that is not. `all` shows the equal ones too.
pub fn text(comparison: &Comparison, prediction: &Prediction, all: bool) -> String {
    let mut text = String::new();
    let deployment = &prediction.deployment;
    let _ = writeln!(
        text,
        "{} on {}, {}: {} of {} rows equal",
        deployment.model.name,
        deployment.engine.name(),
        deployment.layout,
        comparison.count(Verdict::Equal),
        comparison.rows.len()
    );
    let shown: Vec<_> =
        comparison.rows.iter().filter(|row| all || row.verdict != Verdict::Equal).collect();
    if !shown.is_empty() {
        text.push('\n');
        let cells = shown.iter().take(SHOWN).map(|row| cells(row)).collect();
        write_table(&mut text, HEAD.map(|(name, _)| name), &HEAD.map(|(_, right)| right), cells);
        if shown.len() > SHOWN {
            let _ = writeln!(text, "  and {} more", grouped((shown.len() - SHOWN) as u64));
        }
        text.push('\n');
    }
    let Volume { predicted, seen } = comparison.volume;
    if predicted != seen && predicted > 0 {
        let off = (seen as f64 / predicted as f64 - 1.0) * 100.0;
        let _ = writeln!(
            text,
            "Message bytes of all ranks: {} predicted, {} seen, {off:+.3} %.",
            size(predicted),
            size(seen)
        );
    }
    for remark in remarks(comparison) {
        text.push_str(&remark);
        text.push('\n');
    }
    let verdict = match comparison.agrees() {
        true => "What was seen is what was predicted.",
        false => "What was seen is not what was predicted.",
    };
    let _ = writeln!(text, "{verdict}");
    text
}

/// The columns of a row, and which of them are numbers.
pub(super) const HEAD: [(&str, bool); 10] = [
    ("stage", true),
    ("ranks", false),
    ("phase", false),
    ("op", false),
    ("dtype", false),
    ("elements", true),
    ("predicted", true),
    ("seen", true),
    ("off", true),
    ("", false),
];

/// A row in these columns.
pub(super) fn cells(row: &Row) -> [String; 10] {
    let (fewest, most) = row.seen;
    let seen = match fewest == most {
        true => grouped(most),
        false => format!("{} to {}", grouped(fewest), grouped(most)),
    };
    let off = match (row.predicted, row.verdict) {
        (_, Verdict::Equal) | (0, _) => String::new(),
        (predicted, _) => {
            // The end that is further away.
            let far =
                if predicted.abs_diff(fewest) > predicted.abs_diff(most) { fewest } else { most };
            format!("{:+.1} %", (far as f64 / predicted as f64 - 1.0) * 100.0)
        }
    };
    [
        row.stage.map(|stage| stage.to_string()).unwrap_or_default(),
        super::prediction::list(&row.ranks),
        row.phase.clone(),
        row.op.clone(),
        row.dtype.clone(),
        row.elements.map(|elements| elements.to_string()).unwrap_or_default(),
        grouped(row.predicted),
        seen,
        off,
        row.verdict.name().to_owned(),
    ]
}

/// What explains rows that are not equal.
fn remarks(comparison: &Comparison) -> Vec<String> {
    let mut all = Vec::new();
    if comparison.without_process > 0 {
        all.push(format!(
            "{} of the ranks were not seen: no process is left for them.",
            comparison.without_process
        ));
    }
    if !comparison.without_place.is_empty() {
        all.push(format!(
            "More processes than ranks; without a place: {}.",
            comparison.without_place.join(", ")
        ));
    }
    if comparison.count(Verdict::MissingPastNccl) > 0 {
        all.push(
            "Messages of this size go past NCCL when the engine's custom all-reduce is on. Give the engine \
             --disable-custom-all-reduce to have them seen, or check with --custom-all-reduce."
                .to_owned(),
        );
    }
    if comparison.count(Verdict::Unseen) > 0 {
        all.push("What goes past NCCL was not compared.".to_owned());
    }
    if comparison.rows.iter().any(|row| row.phase == "all") {
        all.push(
            "Phase \"all\": the report does not know the phase of these, so they are summed over \
             phases, start-up included."
                .to_owned(),
        );
    }
    all
}
