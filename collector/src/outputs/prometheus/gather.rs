//! From ledgers to samples, at the moment of a scrape.

use super::continuity::{Admitted, Combination, Continuity, SERIES, Standing};
use super::expected::Expected;
use super::prediction;
use super::samples::{Samples, Value, Values};
use super::table::Metric;
use crate::backends::Testimony;
use crate::collector::{Collector, Followed};
use crate::groups::{Groups, plain_name};
use crate::ledger::bytes::{bus_bytes, message_bytes};
use crate::ledger::{Durations, Elements, Key, Series, Sizes};
use crate::outputs::processes::result_of;
use crate::outputs::rows::{Place, groups};
use crate::process::{Accounting, Identity, Life, Process};
use crate::steps::{Phase, Source};
use nccltap_proto::Datatype;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Job, host and kind of trouble: combinations that have series of their own.
const FAULT_SERIES: usize = 4096;

/// Everything there is to expose at `now`, held against what is `expected` of a named model.
pub fn samples(
    collector: &Collector,
    continuity: &mut Continuity,
    expected: Option<&Expected>,
    now: Instant,
) -> Samples {
    let mut samples = Samples::default();
    for state in ["connected", "disconnected", "ended", "recovered", "departed"] {
        samples.level(Metric::Processes, vec![state.to_owned()], |level| level);
    }
    samples.level(Metric::AccountingErrors, vec![], |level| level);
    let groups = groups(collector);
    let mut doubt = BTreeMap::new();
    let mut known = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for followed in collector.followed() {
        let process = followed.lock();
        let identity = process.identity();
        let state = state(&followed, &process);
        samples.level(Metric::Processes, vec![state.to_owned()], |level| level + 1.0);
        let who = Who { job: &process.facts().job, host: &process.facts().host };
        // Calls made are accounted for as long as there is a collector, see `departed` below.
        records(&mut samples, who, &process.accounting());
        known.insert(identity.clone());
        match continuity.standing(&identity, state == "connected", now) {
            Standing::Shown => {
                let admitted = &mut continuity.admitted;
                of_process(&mut samples, &process, &groups, admitted, expected);
                note_doubt(&mut doubt, &process);
                shown.insert(identity);
            }
            Standing::Retiring => {
                let mut counted = Samples::default();
                let admitted = &mut continuity.admitted;
                of_process(&mut counted, &process, &groups, admitted, expected);
                continuity.retire(identity, counted);
            }
            Standing::Retired => {}
        }
    }
    samples.level(Metric::SeriesFolded, vec![], |_| continuity.admitted.folded() as f64);
    continuity.complete(&mut samples, |identity| known.contains(identity));
    prediction::ratios(&mut samples);
    group_info(&mut samples, &groups, &shown);
    for ((job, host), (unknown, all)) in doubt {
        let share = unknown as f64 / all as f64;
        samples.level(Metric::PhaseUnknownRatio, vec![job, host], |_| share);
    }
    let departed = collector.departed();
    samples.level(Metric::Processes, vec!["departed".to_owned()], |_| departed.processes as f64);
    for ((job, host), accounting) in &departed.accounting {
        records(&mut samples, Who { job, host }, accounting);
    }
    for (refusal, count) in collector.refusals() {
        samples.count(Metric::StreamsRefused, vec![refusal.name().to_owned()], count);
    }
    if let Some(recording) = collector.recording() {
        samples.level(Metric::RecordingBytes, vec![], |_| recording.bytes as f64);
        let stopped = f64::from(u8::from(recording.stopped.is_some()));
        samples.level(Metric::RecordingStopped, vec![], |_| stopped);
    }
    samples
}

/// What one process adds.
fn of_process(
    samples: &mut Samples,
    process: &Process,
    groups: &Groups,
    admitted: &mut Admitted,
    expected: Option<&Expected>,
) {
    let who = Who { job: &process.facts().job, host: &process.facts().host };
    operations(samples, who, process, admitted);
    steps(samples, who, process, groups);
    weighted(samples, who, process, admitted);
    in_flight(samples, who, process);
    graphs(samples, who, process);
    backends(samples, who, process);
    trouble(samples, who, process);
    if let Some(expected) = expected {
        prediction::compare(samples, process, groups, expected);
    }
}

/// Names of the groups that processes which are shown are in.
fn group_info(samples: &mut Samples, groups: &Groups, shown: &BTreeSet<Identity>) {
    let named = groups.all().iter().filter_map(|(hash, group)| {
        let (role, confidence) = group.purpose?;
        let seen = group.members.values().any(|member| shown.contains(member));
        seen.then(|| {
            [
                plain_name(*hash),
                group.name.clone(),
                role.name().to_owned(),
                confidence.name().to_owned(),
            ]
        })
    });
    for labels in named.take(SERIES) {
        samples.level(Metric::GroupInfo, labels.to_vec(), |_| 1.0);
    }
}

fn state(followed: &Followed, process: &Process) -> &'static str {
    match process.life() {
        Life::Running if followed.is_connected() => "connected",
        Life::Running => "disconnected",
        Life::Ended => "ended",
        Life::Recovered => "recovered",
    }
}

#[derive(Clone, Copy)]
struct Who<'a> {
    job: &'a str,
    host: &'a str,
}

impl Who<'_> {
    fn labels<const N: usize>(self, more: [String; N]) -> Values {
        [self.job.to_owned(), self.host.to_owned()].into_iter().chain(more).collect()
    }
}

fn place_labels(place: Place) -> [String; 2] {
    [
        place.group.map(plain_name).unwrap_or_default(),
        place.rank.map(|rank| rank.to_string()).unwrap_or_default(),
    ]
}

fn full_labels(who: Who<'_>, [group, rank]: [String; 2], series: &Series) -> Combination {
    [
        who.job.to_owned(),
        who.host.to_owned(),
        group,
        rank,
        series.operation.name().to_owned(),
        series.label.phase.name().to_owned(),
        series.path.name().to_owned(),
        series.launch.name().to_owned(),
    ]
}

/// Group and rank of what is past the bound of series.
fn other() -> [String; 2] {
    ["other".to_owned(), "other".to_owned()]
}

fn operations(samples: &mut Samples, who: Who<'_>, process: &Process, admitted: &mut Admitted) {
    let mut labels_of = |series: &Series| -> Values {
        let full = full_labels(who, place_labels(Place::of(process, series.communicator)), series);
        if admitted.admit(&full) {
            return full.to_vec();
        }
        let mut folded = full.to_vec();
        folded.splice(2..4, other());
        folded
    };
    let mut by_place: BTreeMap<Values, u64> = BTreeMap::new();
    for entry in process.ledger().entries() {
        let Key { operation, datatype, elements, communicator, .. } = entry.key;
        let labels = labels_of(&entry.key.series());
        samples.count(Metric::Operations, labels.clone(), entry.count);
        if entry.count > 0 {
            let path = who.labels([entry.key.path.name().to_owned()]);
            samples.level(Metric::PathSeen, path, |_| 1.0);
        }
        if communicator.is_some() {
            *by_place.entry(labels[..4].to_vec()).or_default() += entry.count - entry.merged;
        }
        let Some(bytes) = entry.key.message_bytes(entry.elements) else { continue };
        samples.count(Metric::MessageBytes, labels.clone(), saturated(bytes));
        let place = Place::of(process, communicator);
        if let Some(bus) = bus_bytes(operation, bytes, place.ranks) {
            samples.count(Metric::BusBytes, labels.clone(), saturated(bus));
        }
        let new = || Value::Sizes(Sizes::default());
        if let Value::Sizes(sizes) = samples.at(Metric::MessageSize, labels, new) {
            sizes.observe(one_message(elements, datatype), entry.count, bytes);
        }
    }
    for entry in process.ledger().unsettled() {
        // Held until the phase of the step is known; the index does not wait for that.
        let place = place_labels(Place::of(process, entry.key.communicator));
        if entry.key.communicator.is_some() {
            *by_place.entry(who.labels(place)).or_default() += entry.count - entry.merged;
        }
    }
    let unsettled = process.ledger().unsettled_merged();
    let settled = process.ledger().merged().map(|(merged, _, count)| (merged, count));
    for (merged, count) in settled.chain(unsettled) {
        // Its operations are in the entries, so its place has series.
        let place = place_labels(Place::of(process, Some(merged.communicator)));
        let labels = who.labels(place);
        match by_place.get_mut(&labels) {
            Some(index) => *index += count,
            None => *by_place.entry(who.labels(other())).or_default() += count,
        }
    }
    for (labels, count) in by_place {
        samples.level(Metric::GroupOperationIndex, labels, |level| level + count as f64);
    }
    // No call is made for an operation of a graph alone, so it has no duration.
    let timed = process.ledger().series().iter().filter(|(_, durations)| durations.count() > 0);
    for (series, durations) in timed {
        let new = || Value::Durations(Durations::default());
        let labels = labels_of(series);
        if let Value::Durations(all) = samples.at(Metric::OperationSeconds, labels, new) {
            all.merge(durations);
        }
    }
}

fn steps(samples: &mut Samples, who: Who<'_>, process: &Process, groups: &Groups) {
    let place = groups.place(&process.identity());
    let stage = place.map(|place| place.stage.to_string()).unwrap_or_default();
    let tensor = place.map(|place| place.tensor.to_string()).unwrap_or_default();
    let labels = |more: &[&str]| -> Values {
        let more = [stage.as_str(), tensor.as_str()].into_iter().chain(more.iter().copied());
        [who.job, who.host].into_iter().chain(more).map(str::to_owned).collect()
    };
    let marked = process.steps().is_marked();
    if process.steps().is_engine() {
        let level = f64::from(u8::from(marked));
        samples.level(Metric::StepsMarked, labels(&[]), |all| all.max(level));
    }
    if marked {
        samples.count(Metric::PhaseDisagreements, who.labels([]), process.steps().differing());
    }
    for (label, count) in process.steps().counts() {
        let source = label.source.map_or("", Source::name);
        samples.count(Metric::Steps, labels(&[label.phase.name(), source]), count.steps);
        let prefill = (Phase::Prefill, count.tokens.prefill, count.prefill_requests);
        let decode = (Phase::Decode, count.tokens.decode, count.decode_requests);
        for (kind, tokens, requests) in [prefill, decode] {
            samples.count(Metric::Tokens, labels(&[kind.name()]), tokens);
            if label.source == Some(Source::Plugin) {
                samples.count(Metric::StepRequests, labels(&[kind.name()]), requests);
            }
        }
        if label.source == Some(Source::Plugin) {
            samples.count(Metric::SpeculativeTokens, labels(&[]), count.speculative_tokens);
        }
    }
}

/// Message bytes by phase, those of mixed steps divided by tokens.
fn weighted(samples: &mut Samples, who: Who<'_>, process: &Process, admitted: &Admitted) {
    for entry in process.ledger().entries() {
        let Key { operation, datatype, communicator, label, .. } = entry.key;
        let prefill = match label.phase {
            Phase::Prefill => entry.elements,
            Phase::Mixed => entry.prefill_elements,
            Phase::Decode => 0,
            Phase::Startup | Phase::Unknown => continue,
        };
        let mut place = place_labels(Place::of(process, communicator));
        if !admitted.has(&full_labels(who, place.clone(), &entry.key.series())) {
            place = other();
        }
        let parts = [(Phase::Prefill, prefill), (Phase::Decode, entry.elements - prefill)];
        for (kind, elements) in parts.into_iter().filter(|(_, elements)| *elements > 0) {
            let Some(bytes) = message_bytes(elements, datatype) else { continue };
            let [group, rank] = place.clone();
            let more = [group, rank, operation.name().to_owned(), kind.name().to_owned()];
            samples.count(Metric::PhaseWeightedBytes, who.labels(more), saturated(bytes));
        }
    }
}

/// Operations whose phase is not known and all operations, start-up left out, by job and host.
fn note_doubt(doubt: &mut BTreeMap<(String, String), (u64, u64)>, process: &Process) {
    if !process.steps().is_engine() {
        return;
    }
    for entry in process.ledger().entries() {
        let phase = entry.key.label.phase;
        if phase == Phase::Startup || entry.count == 0 {
            continue;
        }
        let key = (process.facts().job.clone(), process.facts().host.clone());
        let (unknown, all) = doubt.entry(key).or_default();
        *all += entry.count;
        *unknown += if phase == Phase::Unknown { entry.count } else { 0 };
    }
}

fn one_message(elements: Elements, datatype: Option<Datatype>) -> u128 {
    let elements = match elements {
        Elements::Exactly(elements) | Elements::UpTo(elements) => elements,
        Elements::Unknown => 0,
    };
    message_bytes(elements.into(), datatype).unwrap_or(0)
}

fn in_flight(samples: &mut Samples, who: Who<'_>, process: &Process) {
    if process.life() != Life::Running {
        return;
    }
    for call in process.calls_in_flight() {
        let (Some(function), Some(ns)) = (call.function, call.age_ns) else { continue };
        let op = function.operation().map_or(function.name(), |operation| operation.name());
        let [group, rank] = place_labels(Place::of(process, call.communicator));
        let labels = who.labels([group, rank, op.to_owned()]);
        let seconds = ns as f64 / 1e9;
        samples.level(Metric::OperationInFlightSeconds, labels, |longest| longest.max(seconds));
    }
}

fn graphs(samples: &mut Samples, who: Who<'_>, process: &Process) {
    let ledger = process.ledger();
    let launches = ledger.launches();
    samples.count(Metric::CapturedOperations, who.labels([]), ledger.captured());
    for (holds, count) in [
        ("operations", launches.with_operations),
        ("nothing", launches.without),
        ("unknown", launches.unknown),
        ("captured", launches.captured),
    ] {
        samples.count(Metric::GraphLaunches, who.labels([holds.to_owned()]), count);
    }
    for (operation, count) in ledger.conditional() {
        let labels = who.labels([operation.name().to_owned()]);
        samples.count(Metric::ConditionalOperations, labels, *count);
    }
}

fn backends(samples: &mut Samples, who: Who<'_>, process: &Process) {
    for Testimony { backend, said, seen } in process.backends().testimonies() {
        for (witness, calls) in [("engine", said.calls), ("tap", seen.calls)] {
            let labels = who.labels([backend.name().to_owned(), witness.to_owned()]);
            samples.count(Metric::BackendCalls, labels, calls);
        }
    }
}

fn records(samples: &mut Samples, who: Who<'_>, accounting: &Accounting) {
    for (fate, count) in
        [("seen", accounting.seen), ("before", accounting.before), ("lost", accounting.lost)]
    {
        samples.count(Metric::Records, who.labels([fate.to_owned()]), count);
    }
    let pending = accounting.pending as f64;
    samples.level(Metric::RecordsPending, who.labels([]), |level| level + pending);
    for (why, count) in [("ring_full", accounting.dropped), ("no_ring", accounting.unrecorded)] {
        samples.count(Metric::RecordsDropped, who.labels([why.to_owned()]), count);
    }
    samples.count(Metric::SimulatedOperations, who.labels([]), accounting.simulated_operations);
    let wrong = if accounting.balanced { 0.0 } else { 1.0 };
    samples.level(Metric::AccountingErrors, vec![], |level| level + wrong);
}

fn trouble(samples: &mut Samples, who: Who<'_>, process: &Process) {
    for ((function, result), count) in process.ledger().failures() {
        let Some(operation) = function.operation() else { continue };
        let labels = [operation.name().to_owned(), result_of(*function, *result)];
        samples.count(Metric::FailedOperations, who.labels(labels), *count);
    }
    for (fault, count) in process.faults() {
        let room = samples.of(Metric::Faults).count() < FAULT_SERIES;
        let fault = if room { fault.as_str() } else { "other" };
        samples.count(Metric::Faults, who.labels([fault.to_owned()]), *count);
    }
}

fn saturated(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
