//! Operations seen against those expected of the engine steps that were seen.

use super::expected::{Expected, PerStep};
use super::samples::Samples;
use super::table::Metric;
use crate::groups::{Coordinates, Groups};
use crate::model;
use crate::process::Process;
use crate::steps::Phase;
use nccltap_proto::{Operation, Path};
use std::collections::BTreeMap;

/// The phases that are compared: of start-up not all is known, and of unknown steps nothing.
const COMPARED: [(Phase, model::Phase); 3] = [
    (Phase::Prefill, model::Phase::Prefill),
    (Phase::Decode, model::Phase::Decode),
    (Phase::Mixed, model::Phase::Mixed),
];

/// Operations of one phase and kind that a rank did, and those that its steps should have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outputs) struct Compared {
    pub(in crate::outputs) phase: Phase,
    pub(in crate::outputs) operation: Operation,
    pub(in crate::outputs) seen: u64,
    pub(in crate::outputs) predicted: u64,
}

/// What a rank did.
#[derive(Clone, Debug, Default)]
pub(in crate::outputs) struct Done {
    operations: BTreeMap<(Phase, Operation), u64>,
    custom_all_reduce: bool,
}

impl Done {
    /// Takes in that the rank did so many operations.
    pub(in crate::outputs) fn add(
        &mut self,
        phase: Phase,
        operation: Operation,
        path: Path,
        count: u64,
    ) {
        *self.operations.entry((phase, operation)).or_default() += count;
        self.custom_all_reduce |= path == Path::CustomAllReduce;
    }

    /// How many operations served what, in several parts.
    pub(in crate::outputs) fn by_phase(&self) -> impl Iterator<Item = (Phase, u64)> {
        self.operations.iter().map(|((phase, _), count)| (*phase, *count))
    }
}

/// What a rank at `place` did, and what its `steps` of each phase should have done.
pub(in crate::outputs) fn compared(
    place: Coordinates,
    done: &Done,
    steps: impl Fn(Phase) -> u64,
    expected: &Expected,
) -> Vec<Compared> {
    let mut all = Vec::new();
    for (phase, predicted_phase) in COMPARED {
        let steps = steps(phase);
        // No model says what is copied between GPUs.
        for operation in Operation::ALL.into_iter().filter(|it| *it != Operation::Copy) {
            let at = (place.stage, place.tensor);
            let by_nccl_alone = !done.custom_all_reduce;
            let per_step = expected.per_step(at, predicted_phase, operation, by_nccl_alone);
            let PerStep::Exactly(per_step) = per_step else { continue };
            let seen = done.operations.get(&(phase, operation)).copied().unwrap_or(0);
            let predicted = steps.saturating_mul(per_step);
            if seen > 0 || predicted > 0 {
                all.push(Compared { phase, operation, seen, predicted });
            }
        }
    }
    all
}

/// Counts what `process` did and what its steps should have done, if its place in the layout is known.
pub(super) fn compare(
    samples: &mut Samples,
    process: &Process,
    groups: &Groups,
    expected: &Expected,
) {
    let Some(place) = groups.place(&process.identity()) else { return };
    let mut done = Done::default();
    for entry in process.ledger().entries() {
        let key = &entry.key;
        done.add(key.label.phase, key.operation, key.path, entry.count);
    }
    let steps = |phase| {
        let counts = process.steps().counts().iter();
        counts.filter(|(label, _)| label.phase == phase).map(|(_, count)| count.steps).sum()
    };
    let facts = process.facts();
    for Compared { phase, operation, seen, predicted } in compared(place, &done, steps, expected) {
        let labels = vec![
            facts.job.clone(),
            facts.host.clone(),
            place.stage.to_string(),
            place.tensor.to_string(),
            phase.name().to_owned(),
            operation.name().to_owned(),
        ];
        samples.count(Metric::ComparedOperations, labels.clone(), seen);
        samples.count(Metric::PredictedOperations, labels, predicted);
    }
}

/// The ratio of both, where anything is predicted.
pub(super) fn ratios(samples: &mut Samples) {
    let compared: Vec<_> = samples
        .counts(Metric::ComparedOperations)
        .zip(samples.counts(Metric::PredictedOperations))
        .filter(|((_, _), (_, predicted))| *predicted > 0)
        .map(|((labels, seen), (_, predicted))| (labels.clone(), seen as f64 / predicted as f64))
        .collect();
    for (labels, ratio) in compared {
        samples.level(Metric::PredictionRatio, labels, |_| ratio);
    }
}
