//! What was seen beside what was predicted, and what other layouts would have sent: Figures 4 to 7.

use super::summary::Summary;
use super::{STARTUP, collective, is_sender, phase_order};
use crate::model::comparison::{Comparison, Row, Verdict, compare};
use crate::model::{Call, Path, Phase, Prediction};
use nccltap_proto::Operation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A run beside its prediction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// The model.
    pub model: String,
    /// The engine.
    pub engine: String,
    /// The layout.
    pub layout: String,
    /// The workload, in a few words.
    pub workload: String,
    /// Whether every row is as predicted, as `nccltap check` says it.
    pub agrees: bool,
    /// Rows that are equal, and all rows.
    pub equal_rows: (usize, usize),
    /// The rows that are not equal, as `nccltap check` prints them; of many, the first ones.
    pub differing: Vec<Row>,
    /// By phase and collective: Figures 4 and 5.
    pub cells: Vec<CellRow>,
    /// Bus bytes of layouts with as many ranks, this one first: Figure 6.
    pub layouts: Vec<Volume>,
    /// Bus bytes as more tokens are generated: Figure 7. Of a single request.
    pub growth: Vec<Growth>,
}

/// Rows that are not equal, at most.
const DIFFERING: usize = 200;

/// Seen and predicted of one phase and collective, over all ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellRow {
    /// The phase; `all` where the run's is not known.
    pub phase: String,
    /// The collective.
    pub collective: String,
    /// How many, each counted at each rank that sends.
    pub predicted_count: u64,
    /// How many were seen.
    pub seen_count: u64,
    /// Message bytes.
    pub predicted_bytes: u64,
    /// Message bytes that were seen.
    pub seen_bytes: u64,
}

/// Bus bytes of one layout, over all ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The layout.
    pub layout: String,
    /// How many ranks.
    pub ranks: u32,
    /// By collective, start-up left out.
    pub bus_bytes: BTreeMap<String, u64>,
    /// The paper's V of equations 1 to 3, of a single request.
    pub equations: Option<u64>,
    /// What was seen, likewise, of the layout that ran.
    pub seen: Option<BTreeMap<String, u64>>,
}

impl Volume {
    /// What is predicted over all collectives.
    pub fn total(&self) -> u64 {
        total(&self.bus_bytes)
    }

    /// What was seen over all collectives.
    pub fn total_seen(&self) -> Option<u64> {
        self.seen.as_ref().map(total)
    }
}

fn total(by_collective: &BTreeMap<String, u64>) -> u64 {
    by_collective.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

/// Bus bytes with so many generated tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// Sd: generated tokens.
    pub output: u64,
    /// Predicted, over all ranks, start-up left out.
    pub bus_bytes: u64,
    /// What was seen, of the length that ran.
    pub seen: Option<u64>,
}

/// Puts a run beside its `prediction`. `others` are predictions of other layouts for the same workload,
/// `longer` of the same layout for other numbers of generated tokens.
pub fn compared(
    summary: &Summary,
    prediction: &Prediction,
    workload: String,
    others: &[Prediction],
    longer: &[(u64, Prediction)],
) -> Compared {
    let comparison: Comparison = compare(prediction, &summary.operation_rows);
    let deployment = &prediction.deployment;
    let seen = seen_bus_bytes(summary);
    let seen_in_all = total(&seen);
    let mut layouts = vec![Volume { seen: Some(seen), ..volume(prediction) }];
    layouts.extend(others.iter().map(volume));
    let growth = longer.iter().map(|(output, longer)| Growth {
        output: *output,
        bus_bytes: volume(longer).total(),
        seen: (longer == prediction).then_some(seen_in_all),
    });
    Compared {
        model: deployment.model.name.clone(),
        engine: deployment.engine.name().to_owned(),
        layout: deployment.layout.to_string(),
        workload,
        agrees: comparison.agrees(),
        equal_rows: (comparison.count(Verdict::Equal), comparison.rows.len()),
        differing: differing(&comparison),
        cells: cells(summary, prediction),
        layouts,
        growth: growth.collect(),
    }
}

fn differing(comparison: &Comparison) -> Vec<Row> {
    let rows = comparison.rows.iter().filter(|row| row.verdict != Verdict::Equal);
    rows.take(DIFFERING).cloned().collect()
}

fn seen_bus_bytes(summary: &Summary) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for row in summary.collectives.iter().filter(|row| row.phase != STARTUP && row.bus_bytes > 0) {
        let sum: &mut u64 = sums.entry(row.collective.clone()).or_default();
        *sum = sum.saturating_add(row.bus_bytes);
    }
    sums
}

/// A transfer counts where it is sent, and what goes past NCCL only where kernels were seen at all.
fn is_sent(call: &Call, sees_kernels: bool) -> bool {
    call.operation != Operation::Recv && (call.path == Path::Nccl || sees_kernels)
}

/// The bus bytes of a prediction by collective.
pub fn volume(prediction: &Prediction) -> Volume {
    let collectives: BTreeSet<Operation> =
        prediction.serving().map(|(_, call, _)| call.collective).collect();
    let of = |collective: Operation| {
        let total = prediction
            .totals(|call| call.collective == collective && call.operation != Operation::Recv);
        (collective.name().to_owned(), total.bus_bytes)
    };
    Volume {
        layout: prediction.deployment.layout.to_string(),
        ranks: prediction.deployment.layout.ranks(),
        bus_bytes: collectives.into_iter().map(of).filter(|(_, bytes)| *bytes > 0).collect(),
        equations: prediction.equations.map(|volumes| volumes.total().round() as u64),
        seen: None,
    }
}

type Key = (usize, String, String);

fn cells(summary: &Summary, prediction: &Prediction) -> Vec<CellRow> {
    // Where the run's phases are not known, both sides are summed over phases.
    let serving = || summary.collective_rows.iter().filter(|row| row.phase != STARTUP);
    let unknown = serving().any(|row| row.phase == "unknown");
    let key = |phase: &str, collective: &str| -> Key {
        let phase = if unknown { "all" } else { phase };
        (phase_order(phase), phase.to_owned(), collective.to_owned())
    };
    let sees_kernels = summary.operation_rows.iter().any(|row| row.is_of_kernels());
    let mut cells: BTreeMap<Key, CellRow> = BTreeMap::new();
    let new = |key: &Key| CellRow {
        phase: key.1.clone(),
        collective: key.2.clone(),
        predicted_count: 0,
        seen_count: 0,
        predicted_bytes: 0,
        seen_bytes: 0,
    };
    let kinds: BTreeSet<(Phase, Operation)> = prediction
        .serving()
        .filter(|(_, call, _)| is_sent(call, sees_kernels))
        .map(|(_, call, _)| (call.phase, call.collective))
        .collect();
    for (phase, collective) in kinds {
        let totals = prediction
            .totals(|c| is_sent(c, sees_kernels) && (c.phase, c.collective) == (phase, collective));
        let key = key(phase.name(), collective.name());
        let cell = cells.entry(key.clone()).or_insert_with(|| new(&key));
        cell.predicted_count = cell.predicted_count.saturating_add(totals.operations);
        cell.predicted_bytes = cell.predicted_bytes.saturating_add(totals.message_bytes);
    }
    for row in serving().filter(|row| is_sender(row) && !row.is_copy()) {
        let key = key(&row.phase, collective(row));
        let cell = cells.entry(key.clone()).or_insert_with(|| new(&key));
        cell.seen_count = cell.seen_count.saturating_add(row.count);
        cell.seen_bytes = cell.seen_bytes.saturating_add(row.message_bytes.unwrap_or(0));
    }
    cells.into_values().collect()
}
