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

use crate::timeline::{Block, Communicators, Holds, Launch, Listener, Manifest, OperationCall};
use nccltap_proto::record::UNWOUND;
use nccltap_proto::{Function, Library};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Keys of a process that are exact, and merged collectives that are told apart.
pub const EXACT_KEYS: usize = 8192;

/// Results of NCCL that are told apart; any other counts as [`OTHER_RESULT`].
const NCCL_RESULTS: std::ops::RangeInclusive<i32> = 0..=31;

/// Results of CUDA that are told apart: it has some two hundred, up to `cudaErrorUnknown`.
const CUDA_RESULTS: std::ops::RangeInclusive<i32> = 0..=999;

/// Stands for every result that is neither the library's nor [`UNWOUND`].
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
    /// Whether there may have been more: it also stands in graphs that the GPU launches by itself, or in
    /// conditional nodes, and how often those are carried out the host cannot know.
    pub at_least: bool,
    series: usize,
}

/// Launches of CUDA graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launches {
    /// Of graphs with operations of NCCL in them.
    pub with_operations: u64,
    /// Of graphs without.
    pub without: u64,
    /// Of graphs of which it is not known what is in them: what they carried out is in no count.
    pub unknown: u64,
    /// Into graphs under capture: nothing was carried out.
    pub captured: u64,
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
    graph_operations: u64,
    captured: u64,
    launches: Launches,
    conditional: BTreeMap<nccltap_proto::Operation, u64>,
    failed: BTreeMap<(Function, i32), u64>,
    simulated: u64,
}

/// The fields of a call that make its key: two calls in a row are often alike.
type Shape = (Function, Option<u32>, u64, Option<nccltap_proto::Datatype>, Option<i32>, Launch);

const FUNCTION_SLOTS: usize = 128;
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
            graph_operations: 0,
            captured: 0,
            launches: Launches::default(),
            conditional: BTreeMap::new(),
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

    /// Of those: operations that launches of graphs carried out.
    pub fn graph_operations(&self) -> u64 {
        self.graph_operations
    }

    /// Operations that were captured into graphs: not carried out by that.
    pub fn captured(&self) -> u64 {
        self.captured
    }

    /// Launches of graphs.
    pub fn launches(&self) -> Launches {
        self.launches
    }

    /// Operations in conditional nodes of graphs that were launched, once per launch. Whether they were
    /// carried out, and how often, the host cannot know; they are in no other count.
    pub fn conditional(&self) -> &BTreeMap<nccltap_proto::Operation, u64> {
        &self.conditional
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

    fn count(&mut self, call: &OperationCall, times: u64) -> usize {
        let at = self.place(call);
        let entry = &mut self.entries[at];
        entry.count += times;
        entry.elements += u128::from(call.elements) * u128::from(times);
        if let Some(ns) = call.duration_ns {
            self.series[entry.series].1.observe(ns);
        }
        self.operations += times;
        if call.launch == Launch::Graph {
            self.graph_operations += times;
        }
        at
    }

    fn place(&mut self, call: &OperationCall) -> usize {
        let OperationCall { function, communicator, elements, datatype, peer, launch, .. } = *call;
        let shape = (function, communicator, elements, datatype, peer, launch);
        match self.last {
            Some((last, at)) if last == shape => at,
            _ => {
                let at = self.entry(call);
                self.last = Some((shape, at));
                at
            }
        }
    }

    /// Counts operations that NCCL took together, so many times.
    fn count_group(&mut self, calls: &[OperationCall], times: u64, communicators: &Communicators) {
        let entries: Vec<usize> = calls.iter().map(|call| self.count(call, times)).collect();
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
                self.groups_not_merged += times;
                continue;
            }
            *self.merged.entry(merged).or_default() += times;
            for (call, at) in calls.iter().zip(&entries).filter(|(call, _)| on(call)) {
                self.entries[*at].merged += times;
                self.entries[*at].merged_elements += u128::from(call.elements) * u128::from(times);
            }
        }
    }

    /// Counts what one launch of a graph carries out.
    fn count_block(&mut self, block: &Block, communicators: &Communicators) {
        let Block { calls, times, conditional } = block;
        match calls.as_slice() {
            calls if *conditional => {
                for call in calls {
                    self.mark_at_least(call);
                    *self.conditional.entry(call.operation).or_default() += times;
                }
            }
            [call] => {
                self.count(call, *times);
            }
            calls => self.count_group(calls, *times, communicators),
        }
    }

    fn mark_at_least(&mut self, call: &OperationCall) {
        let at = self.place(call);
        self.entries[at].at_least = true;
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
        let entry = Entry {
            key,
            count: 0,
            elements: 0,
            merged: 0,
            merged_elements: 0,
            at_least: false,
            series,
        };
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
        self.count(call, 1);
    }

    fn group(&mut self, calls: &[OperationCall], communicators: &Communicators) {
        self.count_group(calls, 1, communicators);
    }

    fn failed(&mut self, function: Function, result: i32) {
        let results = match function.library() {
            Library::Nccl => NCCL_RESULTS,
            Library::CudaRuntime => CUDA_RESULTS,
        };
        let known = results.contains(&result) || result == UNWOUND;
        let result = if known { result } else { OTHER_RESULT };
        *self.failed.entry((function, result)).or_default() += 1;
    }

    fn simulated(&mut self, operations: u64) {
        self.simulated += operations;
    }

    #[inline]
    fn captured(&mut self) {
        self.captured += 1;
    }

    fn launched_by_device(&mut self, manifest: &Manifest) {
        for call in manifest.blocks().iter().flat_map(|block| &block.calls) {
            self.mark_at_least(call);
        }
    }

    fn launched(&mut self, holds: Holds<'_>, communicators: &Communicators) {
        let launches = &mut self.launches;
        match holds {
            Holds::Nothing => launches.without += 1,
            Holds::Unknown => launches.unknown += 1,
            Holds::Captured => launches.captured += 1,
            Holds::Operations(manifest) => {
                launches.with_operations += 1;
                for block in manifest.blocks() {
                    self.count_block(block, communicators);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
