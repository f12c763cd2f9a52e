//! Exact counts of what one process did, by key.
//!
//! Pure, like the [timeline](crate::timeline) that tells it what happened. Memory is bounded: up to
//! [`EXACT_KEYS`] keys are exact; past that, a new key has its elements rounded up to a power of
//! two; past twice as many, it has no communicator and no peer either. Sums of elements stay exact
//! throughout.

pub mod bytes;
mod collectives;
mod histogram;
mod key;

pub use collectives::{Collective, Merged};
pub use histogram::{DURATION_BUCKETS, Durations, SIZE_BUCKETS, Sizes};
pub use key::{Elements, Key, Path, Phase, Series};

use crate::timeline::{Communicators, Listener, OperationCall};
use nccltap_proto::Function;
use nccltap_proto::record::UNWOUND;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Keys of a process that are exact, and merged collectives that are told apart.
pub const EXACT_KEYS: usize = 8192;

/// Result codes that are told apart; any other counts as [`OTHER_RESULT`].
const RESULTS: std::ops::RangeInclusive<i32> = 0..=31;

/// Stands for every result that is neither NCCL's nor [`UNWOUND`].
pub const OTHER_RESULT: i32 = -2;

/// What is counted for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was counted.
    pub key: Key,
    /// How many operations.
    pub count: u64,
    /// Sum of their elements.
    pub elements: u128,
    /// How many of them are part of a [`Merged`] collective.
    pub merged: u64,
    /// Sum of the elements of those.
    pub merged_elements: u128,
    series: usize,
}

/// The counts of one process.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
    index: FxHashMap<Key, usize>,
    last: Option<(Shape, usize)>,
    series: Vec<(Series, Durations)>,
    series_index: FxHashMap<Series, usize>,
    merged: FxHashMap<Merged, u64>,
    groups_not_merged: u64,
    calls: [u64; FUNCTION_SLOTS],
    operations: u64,
    failed: BTreeMap<(Function, i32), u64>,
    simulated: u64,
}

/// The fields of a call that make its key: two calls in a row are often alike.
type Shape = (Function, Option<u32>, u64, Option<nccltap_proto::Datatype>, Option<i32>);

const FUNCTION_SLOTS: usize = 64;
const _: () = assert!(Function::ALL.len() < FUNCTION_SLOTS);

impl Default for Ledger {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            index: FxHashMap::default(),
            last: None,
            series: Vec::new(),
            series_index: FxHashMap::default(),
            merged: FxHashMap::default(),
            groups_not_merged: 0,
            calls: [0; FUNCTION_SLOTS],
            operations: 0,
            failed: BTreeMap::new(),
            simulated: 0,
        }
    }
}

impl Ledger {
    /// What is counted, in order of first appearance.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Host durations per series, in order of first appearance.
    pub fn series(&self) -> &[(Series, Durations)] {
        &self.series
    }

    /// Collectives that were told as several operations each.
    pub fn merged(&self) -> impl Iterator<Item = (&Merged, u64)> {
        self.merged.iter().map(|(merged, count)| (merged, *count))
    }

    /// Groups that are a collective and were not counted as one, because there were already
    /// [`EXACT_KEYS`] different ones.
    pub fn groups_not_merged(&self) -> u64 {
        self.groups_not_merged
    }

    /// Calls taken, per function.
    pub fn calls(&self) -> impl Iterator<Item = (Function, u64)> {
        Function::ALL
            .iter()
            .map(|function| (*function, self.calls[usize::from(function.id())]))
            .filter(|(_, count)| *count > 0)
    }

    /// Calls that NCCL refused or that did not return, per function and result.
    pub fn failures(&self) -> &BTreeMap<(Function, i32), u64> {
        &self.failed
    }

    /// Operations that were counted.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Operations that were in a simulated group and never launched.
    pub fn simulated(&self) -> u64 {
        self.simulated
    }

    /// Operations that NCCL refused.
    pub fn failed_operations(&self) -> u64 {
        let operations = self.failed.iter().filter(|((f, _), _)| f.operation().is_some());
        operations.map(|(_, count)| count).sum()
    }

    fn count(&mut self, call: &OperationCall) -> usize {
        let shape = (call.function, call.communicator, call.elements, call.datatype, call.peer);
        let at = match self.last {
            Some((last, at)) if last == shape => at,
            _ => {
                let at = self.entry(call);
                self.last = Some((shape, at));
                at
            }
        };
        let entry = &mut self.entries[at];
        entry.count += 1;
        entry.elements += u128::from(call.elements);
        if let Some(ns) = call.duration_ns {
            self.series[entry.series].1.observe(ns);
        }
        self.operations += 1;
        at
    }

    fn entry(&mut self, call: &OperationCall) -> usize {
        let mut key = Key {
            operation: call.operation,
            datatype: call.datatype,
            elements: Elements::Exactly(call.elements),
            communicator: call.communicator,
            peer: call.peer,
            launch: call.launch,
            phase: Phase::Unknown,
            path: Path::Nccl,
        };
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        if self.entries.len() >= EXACT_KEYS {
            key.elements = Elements::rounded(call.elements);
            if self.entries.len() >= 2 * EXACT_KEYS && !self.index.contains_key(&key) {
                key.communicator = None;
                key.peer = None;
            }
            if let Some(at) = self.index.get(&key) {
                return *at;
            }
        }
        let series = key.series();
        let next = self.series.len();
        let series = *self.series_index.entry(series).or_insert_with(|| {
            self.series.push((series, Durations::default()));
            next
        });
        let at = self.entries.len();
        let entry = Entry { key, count: 0, elements: 0, merged: 0, merged_elements: 0, series };
        self.entries.push(entry);
        self.index.insert(key, at);
        at
    }
}

impl Listener for Ledger {
    #[inline]
    fn call(&mut self, function: Function) {
        self.calls[usize::from(function.id())] += 1;
    }

    #[inline]
    fn operation(&mut self, call: &OperationCall) {
        self.count(call);
    }

    fn group(&mut self, calls: &[OperationCall], communicators: &Communicators) {
        let entries: Vec<usize> = calls.iter().map(|call| self.count(call)).collect();
        let mut seen: Vec<u32> = calls.iter().filter_map(|call| call.communicator).collect();
        seen.sort_unstable();
        seen.dedup();
        for communicator in seen {
            let Some(facts) = communicators.get(communicator) else { continue };
            let on = |call: &OperationCall| call.communicator == Some(communicator);
            let here: Vec<&OperationCall> = calls.iter().filter(|call| on(call)).collect();
            let Some(merged) = collectives::recognise(&here, facts.ranks, facts.rank) else {
                continue;
            };
            if self.merged.len() >= EXACT_KEYS && !self.merged.contains_key(&merged) {
                self.groups_not_merged += 1;
                continue;
            }
            *self.merged.entry(merged).or_default() += 1;
            for (call, at) in calls.iter().zip(&entries).filter(|(call, _)| on(call)) {
                self.entries[*at].merged += 1;
                self.entries[*at].merged_elements += u128::from(call.elements);
            }
        }
    }

    fn failed(&mut self, function: Function, result: i32) {
        let known = RESULTS.contains(&result) || result == UNWOUND;
        let result = if known { result } else { OTHER_RESULT };
        *self.failed.entry((function, result)).or_default() += 1;
    }

    fn simulated(&mut self, operations: u64) {
        self.simulated += operations;
    }
}

#[cfg(test)]
mod tests;
