//! What was seen against what was predicted.
//!
//! A report says of each process what it did, and nothing of its place in the layout. So each process
//! is given the place whose prediction its counts are nearest to; then every row of every place is
//! held against what the processes there did. Where the report knows phases, rows are compared by
//! phase; where it says `unknown`, summed over phases.
//!
//! What a kernel carries out beside NCCL counts as if NCCL had. Where a report has no such operations at all, it is of
//! a tap that could not see them, and those that are predicted past NCCL are not compared. Copies between GPUs are no
//! part of what a model must send.

use super::schedule::custom_all_reduce_takes;
use super::{Call, Path, Phase, Prediction};
use crate::outputs::rows::Row as Seen;
use nccltap_proto::{Datatype, Operation};
use serde::{Deserialize, Serialize};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most processes and places whose distances are weighed; a run has one of each per rank.
const WEIGHED: usize = 1 << 22;

/// Seen against predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// A row for each kind of operation at each place.
    pub rows: Vec<Row>,
    /// Processes that have operations but no place, because the layout has fewer ranks.
    pub without_place: Vec<String>,
    /// Ranks of the layout that no process takes.
    pub without_process: u32,
    /// Message bytes of all ranks.
    pub volume: Volume,
}

/// Message bytes of all ranks, without those known to be of start-up. They hardly depend on when requests
/// arrive, where counts do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Predicted.
    pub predicted: u64,
    /// Seen.
    pub seen: u64,
}

/// One kind of operation at the ranks that do it alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row {
    /// What holds of it.
    pub verdict: Verdict,
    /// Pipeline stage, `None` for a process without a place.
    pub stage: Option<u32>,
    /// The ranks of the layout, empty for a process without a place.
    pub ranks: Vec<u32>,
    /// `startup`, `prefill`, `decode`, `mixed`; `startup, idle` of what idle replicas do too; `all` where
    /// it was compared summed over phases.
    pub phase: String,
    /// NCCL's name without prefix.
    pub op: String,
    /// NCCL's name of the data type.
    pub dtype: String,
    /// NCCL's count argument, `None` where sizes were not kept apart.
    pub elements: Option<u64>,
    /// How many each of the ranks should have.
    pub predicted: u64,
    /// How many the ranks have: the fewest and the most.
    pub seen: (u64, u64),
}

/// How a row came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Exactly as many as predicted, at every rank.
    Equal,
    /// Seen, and predicted, but not as many.
    Off,
    /// Predicted and not seen at all.
    Missing,
    /// As `Missing`, and vLLM's custom all-reduce would have taken it if it was on.
    MissingPastNccl,
    /// Not seen, as predicted: it goes past NCCL.
    Unseen,
    /// Seen and not predicted.
    NotPredicted,
    /// Not as predicted, but at start-up, of which not all is known for this engine.
    Startup,
}

impl Verdict {
    /// Whether it contradicts the prediction.
    pub const fn differs(self) -> bool {
        matches!(self, Self::Off | Self::Missing | Self::MissingPastNccl | Self::NotPredicted)
    }

    /// The words in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Off => "off",
            Self::Missing => "missing",
            Self::MissingPastNccl => "missing, unless past NCCL",
            Self::Unseen => "unseen, past NCCL",
            Self::NotPredicted => "not predicted",
            Self::Startup => "start-up, not all known",
        }
    }
}

/// A kind of operation, as both sides name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Kind {
    op: String,
    dtype: String,
    elements: Option<u64>,
    /// Size of the group. A transfer has its own communicator of two, so there it says nothing.
    group: Option<u32>,
}

impl Kind {
    fn of_call(call: &Call) -> Self {
        Self {
            op: call.operation.name().to_owned(),
            dtype: call.datatype.name().to_owned(),
            elements: Some(call.elements),
            group: (!transfer(call.operation.name())).then_some(call.group),
        }
    }

    fn of_seen(row: &Seen) -> Self {
        let op = row.op.clone().or_else(|| row.collective.clone()).unwrap_or_default();
        Self {
            group: row.ranks_in_group.filter(|_| !transfer(&op)),
            dtype: row.dtype.clone().unwrap_or_else(|| "?".to_owned()),
            elements: row.elements,
            op,
        }
    }
}

fn transfer(op: &str) -> bool {
    op == Operation::Send.name() || op == Operation::Recv.name()
}

/// Kinds by phase; `all` for those that are summed.
type Counts = BTreeMap<(Kind, &'static str), u64>;

const ALL: &str = "all";

/// A report calls passes that serve nobody start-up, those of an idle replica too.
const NOBODY: &str = "startup, idle";

fn serves_nobody(phase: &str) -> bool {
    phase == Phase::Startup.name() || phase == Phase::Idle.name()
}

/// The kinds that idle replicas have.
fn idle(prediction: &Prediction) -> BTreeSet<Kind> {
    let calls = prediction.schedule.calls().filter(|(_, call, _)| call.phase == Phase::Idle);
    calls.map(|(_, call, _)| Kind::of_call(call)).collect()
}

/// Ranks that do the same.
#[derive(Clone, Debug)]
struct Class {
    stage: u32,
    ranks: Vec<u32>,
    counts: Counts,
    /// Kinds of which some or all go past NCCL.
    past_nccl: BTreeSet<(Kind, &'static str)>,
    /// Kinds that the custom all-reduce would take.
    takeable: BTreeSet<(Kind, &'static str)>,
}

/// Holds the rows of `nccltap report --view operations` against the prediction.
pub fn compare(prediction: &Prediction, seen: &[Seen]) -> Comparison {
    let seen: Vec<&Seen> = seen.iter().filter(|row| !row.is_copy()).collect();
    let summed: BTreeSet<Kind> =
        seen.iter().copied().filter(|row| phase(row).is_none()).map(Kind::of_seen).collect();
    let idle = idle(prediction);
    let name = |kind: &Kind, phase: &'static str| match phase {
        _ if summed.contains(kind) => ALL,
        _ if idle.contains(kind) && serves_nobody(phase) => NOBODY,
        _ => phase,
    };
    let sees_kernels = seen.iter().any(|row| row.is_of_kernels());
    let classes = classes(prediction, sees_kernels, name);
    let processes = processes(&seen, name);
    let places = places(&classes, &processes);

    let startup_is_known = prediction.deployment.engine.startup_is_known();
    let mut rows = Vec::new();
    for (at, class) in classes.iter().enumerate() {
        let here: Vec<_> =
            processes.iter().zip(&places).filter(|(_, place)| **place == Some(at)).collect();
        let mut kinds: BTreeSet<_> = class.counts.keys().collect();
        kinds.extend(&class.past_nccl);
        kinds.extend(here.iter().flat_map(|(process, _)| process.1.keys()));
        for key in kinds {
            let counts: Vec<u64> =
                here.iter().map(|((_, counts), _)| *counts.get(key).unwrap_or(&0)).collect();
            let predicted = class.counts.get(key).copied().unwrap_or(0);
            let fewest = counts.iter().min().copied().unwrap_or(0);
            let most = counts.iter().max().copied().unwrap_or(0);
            let equal = fewest == predicted && most == predicted;
            let verdict = match (predicted, most) {
                (0, 0) => Verdict::Unseen,
                _ if equal => Verdict::Equal,
                _ if key.1 == Phase::Startup.name() && !startup_is_known => Verdict::Startup,
                (0, _) => Verdict::NotPredicted,
                (_, 0) if class.takeable.contains(key) => Verdict::MissingPastNccl,
                (_, 0) => Verdict::Missing,
                _ => Verdict::Off,
            };
            let row = row(verdict, key, predicted, (fewest, most));
            rows.push(Row { stage: Some(class.stage), ranks: class.ranks.clone(), ..row });
        }
    }
    let mut rows = joined(rows);
    let mut without_place = Vec::new();
    for ((who, counts), _) in processes.iter().zip(&places).filter(|(_, place)| place.is_none()) {
        without_place.push(who.clone());
        for (key, count) in counts {
            rows.push(row(Verdict::NotPredicted, key, 0, (*count, *count)));
        }
    }
    let taken = places.iter().flatten().count() as u32;
    let ranks: u32 = classes.iter().map(|class| class.ranks.len() as u32).sum();
    let predicted = classes.iter().map(|class| bytes(&class.counts) * class.ranks.len() as u128);
    let seen = processes.iter().map(|(_, counts)| bytes(counts));
    let saturated = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
    let volume = Volume { predicted: saturated(predicted.sum()), seen: saturated(seen.sum()) };
    Comparison { rows, without_place, without_process: ranks - taken, volume }
}

fn bytes(counts: &Counts) -> u128 {
    let size = |kind: &Kind| {
        let datatype = Datatype::ALL.iter().find(|datatype| datatype.name() == kind.dtype);
        let size = datatype.map_or(0, |datatype| datatype.size());
        u128::from(size) * u128::from(kind.elements.unwrap_or(0))
    };
    let serving = counts.iter().filter(|((_, phase), _)| *phase != Phase::Startup.name());
    serving.map(|((kind, _), count)| size(kind) * u128::from(*count)).sum()
}

impl Comparison {
    /// Whether nothing contradicts the prediction.
    pub fn agrees(&self) -> bool {
        self.without_process == 0 && !self.rows.iter().any(|row| row.verdict.differs())
    }

    /// How many rows came out so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }
}

/// Rows that differ in their ranks alone, as one.
fn joined(rows: Vec<Row>) -> Vec<Row> {
    let mut joined: Vec<Row> = Vec::new();
    let mut at = HashMap::new();
    for row in rows {
        let alone = Row { ranks: Vec::new(), ..row.clone() };
        match at.entry(alone) {
            Entry::Occupied(same) => {
                let same: &usize = same.get();
                if let Some(same) = joined.get_mut(*same) {
                    same.ranks.extend(&row.ranks);
                    same.ranks.sort_unstable();
                }
            }
            Entry::Vacant(new) => {
                new.insert(joined.len());
                joined.push(row);
            }
        }
    }
    joined.sort_by_key(|row| row.stage);
    joined
}

fn row(verdict: Verdict, key: &(Kind, &'static str), predicted: u64, seen: (u64, u64)) -> Row {
    let (kind, phase) = key;
    Row {
        verdict,
        stage: None,
        ranks: Vec::new(),
        phase: (*phase).to_owned(),
        op: kind.op.clone(),
        dtype: kind.dtype.clone(),
        elements: kind.elements,
        predicted,
        seen,
    }
}

/// The phase of a row of a report, `None` if it is not known.
fn phase(row: &Seen) -> Option<&'static str> {
    let known = [Phase::Startup, Phase::Prefill, Phase::Mixed, Phase::Decode, Phase::Idle];
    known.iter().map(|phase| phase.name()).find(|name| *name == row.phase)
}

fn classes(
    prediction: &Prediction,
    sees_kernels: bool,
    name: impl Fn(&Kind, &'static str) -> &'static str,
) -> Vec<Class> {
    let layout = prediction.deployment.layout;
    let mut places: BTreeMap<u32, Class> = layout
        .places()
        .map(|place| {
            let rank = layout.rank(place);
            let class = Class {
                stage: place.stage,
                ranks: vec![rank],
                counts: Counts::new(),
                past_nccl: BTreeSet::new(),
                takeable: BTreeSet::new(),
            };
            (rank, class)
        })
        .collect();
    for (ranks, call, count) in prediction.schedule.calls() {
        let kind = Kind::of_call(call);
        let phase = name(&kind, call.phase.name());
        let key = (kind, phase);
        for rank in ranks.list(&layout) {
            let Some(class) = places.get_mut(&rank) else { continue };
            if call.path != Path::Nccl && !sees_kernels {
                class.past_nccl.insert(key.clone());
                continue;
            }
            let takeable = call.operation == Operation::AllReduce && custom_all_reduce_takes(call);
            if takeable && !sees_kernels {
                class.takeable.insert(key.clone());
            }
            *class.counts.entry(key.clone()).or_default() += count;
        }
    }
    let mut classes: Vec<Class> = Vec::new();
    for class in places.into_values() {
        let same = classes.iter_mut().find(|other| {
            other.stage == class.stage
                && other.counts == class.counts
                && other.past_nccl == class.past_nccl
        });
        match same {
            Some(other) => other.ranks.extend(class.ranks),
            None => classes.push(class),
        }
    }
    classes
}

/// Each process that has operations, by host and pid.
fn processes(
    seen: &[&Seen],
    name: impl Fn(&Kind, &'static str) -> &'static str,
) -> Vec<(String, Counts)> {
    let mut processes: BTreeMap<(&str, u32), Counts> = BTreeMap::new();
    for row in seen {
        let kind = Kind::of_seen(row);
        let phase = phase(row).map_or(ALL, |phase| name(&kind, phase));
        let counts = processes.entry((&row.host, row.pid)).or_default();
        *counts.entry((kind, phase)).or_default() += row.count;
    }
    let named = |((host, pid), counts)| (format!("{host} pid {pid}"), counts);
    processes.into_iter().map(named).collect()
}

/// The class of each process: the nearest pairs first, each class as often as it has ranks.
fn places(classes: &[Class], processes: &[(String, Counts)]) -> Vec<Option<usize>> {
    let mut places = vec![None; processes.len()];
    if classes.len().saturating_mul(processes.len()) > WEIGHED {
        return places;
    }
    let mut pairs = Vec::new();
    for (process, (_, counts)) in processes.iter().enumerate() {
        for (class, wanted) in classes.iter().enumerate() {
            pairs.push((distance(counts, &wanted.counts), process, class));
        }
    }
    pairs.sort_unstable();
    let mut room: Vec<usize> = classes.iter().map(|class| class.ranks.len()).collect();
    for (_, process, class) in pairs {
        if places[process].is_none() && room[class] > 0 {
            places[process] = Some(class);
            room[class] -= 1;
        }
    }
    places
}

/// How many calls would have to be added or taken away.
fn distance(a: &Counts, b: &Counts) -> u64 {
    let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let of = |counts: &Counts, key| counts.get(key).copied().unwrap_or(0);
    keys.into_iter().map(|key| of(a, key).abs_diff(of(b, key))).fold(0, u64::saturating_add)
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
