//! Exact counts of what one process did, by key.
//!
//! Pure, like the [timeline](crate::timeline) that tells it what happened. Memory is bounded: up to
//! [`EXACT_KEYS`] keys are exact; past that, a new key has its elements rounded up to a power of
//! two; past twice as many, it has no communicator and no peer either. Sums of elements stay exact
//! throughout.
//!
//! What belongs to a step whose phase is not known yet is held in a [`Tally`] and counted when it is
//! [settled](Ledger::settle). Until then it is in no entry, only in [`Ledger::unsettled`].

pub mod bytes;
mod collectives;
mod held;
mod histogram;
mod key;
mod tally;

pub use collectives::{Collective, Merged};
pub use histogram::{DURATION_BUCKETS, Durations, SIZE_BUCKETS, Sizes};
pub use key::{Elements, Key, Series};
pub use nccltap_proto::Path;
pub use tally::Tally;

use crate::steps::{Label, Phase, Tokens};
use crate::timeline::{Block, Communicators, Holds, Launch, Manifest, OperationCall};
use nccltap_proto::record::UNWOUND;
use nccltap_proto::{Function, Library};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};
use tally::Shape;

/// Keys of a process that are exact, and merged collectives that are told apart.
pub const EXACT_KEYS: usize = 8192;

/// Results of NCCL and oneCCL that are told apart; any other counts as [`OTHER_RESULT`].
const NCCL_RESULTS: std::ops::RangeInclusive<i32> = 0..=31;

/// Results of CUDA and HIP that are told apart: it has some two hundred, up to `cudaErrorUnknown`.
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
    /// Of the elements of a mixed step: the part of its prefill tokens. Only under phase mixed.
    pub prefill_elements: u128,
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
    last: Option<((Shape, Label), usize)>,
    series: Vec<(Series, Durations)>,
    series_index: FxHashMap<Series, usize>,
    merged: FxHashMap<(Merged, Label), u64>,
    open: Tally,
    put_off: VecDeque<(u64, Tally)>,
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

const FUNCTION_SLOTS: usize = 256;
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
            open: Tally::default(),
            put_off: VecDeque::new(),
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

    /// Collectives that were told as several operations each, and what they served.
    pub fn merged(&self) -> impl Iterator<Item = (&Merged, Label, u64)> {
        self.merged.iter().map(|((merged, label), count)| (merged, *label, *count))
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
        let is_operation = |f: &Function| f.operation().is_some() || f.launches_kernel();
        let operations = self.failed.iter().filter(|((f, _), _)| is_operation(f));
        operations.map(|(_, count)| count).sum()
    }

    /// Counts a call of a function.
    #[inline]
    pub fn call(&mut self, function: Function) {
        self.calls[usize::from(function.id())] += 1;
    }

    /// Counts an operation that serves `label`.
    #[inline]
    pub fn operation(&mut self, call: &OperationCall, label: Label, tokens: Tokens) {
        self.count(call, label, tokens);
    }

    /// Counts a Recv that its step shows to be a gather, in a group of two ranks.
    pub fn gather(
        &mut self,
        call: &OperationCall,
        communicators: &Communicators,
        label: Label,
        tokens: Tokens,
    ) {
        let at = self.count(call, label, tokens);
        if let Some(merged) = collectives::gather_of_two(call, communicators)
            && self.count_merged(merged, label, 1)
        {
            self.entries[at].merged += 1;
            self.entries[at].merged_elements +=
                Elements::summed(call.elements, call.path, call.operation);
        }
    }

    /// Counts operations that were launched together.
    pub fn group(
        &mut self,
        calls: &[OperationCall],
        communicators: &Communicators,
        label: Label,
        tokens: Tokens,
    ) {
        let entries: Vec<usize> =
            calls.iter().map(|call| self.count(call, label, tokens)).collect();
        for (merged, communicator) in collectives::of_group(calls, communicators) {
            if !self.count_merged(merged, label, 1) {
                continue;
            }
            for (call, at) in calls.iter().zip(&entries) {
                if call.communicator == Some(communicator) {
                    self.entries[*at].merged += 1;
                    self.entries[*at].merged_elements +=
                        Elements::summed(call.elements, call.path, call.operation);
                }
            }
        }
    }

    /// Counts collectives, unless there are too many different ones.
    fn count_merged(&mut self, merged: Merged, label: Label, count: u64) -> bool {
        let key = (merged, label);
        if self.merged.len() >= EXACT_KEYS && !self.merged.contains_key(&key) {
            self.groups_not_merged += count;
            return false;
        }
        *self.merged.entry(key).or_default() += count;
        true
    }

    /// Counts an operation that NCCL refused, or that did not return.
    pub fn failed(&mut self, function: Function, result: i32) {
        let results = match function.library() {
            Library::Nccl | Library::OneCcl => NCCL_RESULTS,
            Library::CudaRuntime | Library::CudaDriver | Library::Hip => CUDA_RESULTS,
        };
        let known = results.contains(&result) || result == UNWOUND;
        let result = if known { result } else { OTHER_RESULT };
        *self.failed.entry((function, result)).or_default() += 1;
    }

    /// Counts operations of a group that was not launched.
    pub fn simulate(&mut self, operations: u64) {
        self.simulated += operations;
    }

    /// Counts an operation that went to a graph under capture.
    #[inline]
    pub fn capture(&mut self) {
        self.captured += 1;
    }

    /// Counts a launch of a graph. What it carries out is counted apart, as operations.
    pub fn launch(&mut self, holds: Holds<'_>) {
        let launches = &mut self.launches;
        match holds {
            Holds::Nothing => launches.without += 1,
            Holds::Unknown => launches.unknown += 1,
            Holds::Captured => launches.captured += 1,
            Holds::Operations(_) => launches.with_operations += 1,
        }
    }

    /// Notes what stands in a conditional node of a graph that was launched.
    pub fn conditional_block(&mut self, block: &Block, label: Label) {
        for call in &block.calls {
            self.mark_at_least(call, label);
            *self.conditional.entry(call.operation).or_default() += block.times;
        }
    }

    /// Notes what the GPU may launch by itself.
    pub fn launched_by_device(&mut self, manifest: &Manifest) {
        for call in manifest.blocks().iter().flat_map(|block| &block.calls) {
            self.mark_at_least(call, Label::UNKNOWN);
        }
    }

    fn mark_at_least(&mut self, call: &OperationCall, label: Label) {
        let at = self.entry(Shape::of(call), label);
        self.entries[at].at_least = true;
    }

    fn count(&mut self, call: &OperationCall, label: Label, tokens: Tokens) -> usize {
        let shape = (Shape::of(call), label);
        let at = match self.last {
            Some((last, at)) if last == shape => at,
            _ => {
                let at = self.entry(shape.0, label);
                self.last = Some((shape, at));
                at
            }
        };
        let entry = &mut self.entries[at];
        entry.count += 1;
        let elements = Elements::summed(call.elements, call.path, call.operation);
        entry.elements += elements;
        if label.phase == Phase::Mixed {
            entry.prefill_elements += prefill_part(elements, label, tokens);
        }
        if let Some(ns) = call.duration_ns {
            self.series[entry.series].1.observe(ns);
        }
        self.took(call);
        at
    }

    #[inline]
    fn took(&mut self, call: &OperationCall) {
        self.operations += 1;
        if call.launch == Launch::Graph {
            self.graph_operations += 1;
        }
    }

    fn entry(&mut self, shape: Shape, label: Label) -> usize {
        let mut key = key(shape, label);
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        if self.entries.len() >= EXACT_KEYS {
            key.elements = Elements::rounded(shape.elements, shape.path, shape.operation);
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
        self.entries.push(Entry {
            key,
            count: 0,
            elements: 0,
            merged: 0,
            merged_elements: 0,
            prefill_elements: 0,
            at_least: false,
            series,
        });
        self.index.insert(key, at);
        at
    }
}

fn key(shape: Shape, label: Label) -> Key {
    Key {
        operation: shape.operation,
        datatype: shape.datatype,
        elements: Elements::of(shape.elements, shape.path, shape.operation),
        communicator: shape.communicator,
        peer: shape.peer,
        launch: shape.launch,
        label,
        path: shape.path,
    }
}

/// The part of an operation's elements that its step's prefill tokens have in a mixed step.
fn prefill_part(elements: u128, label: Label, tokens: Tokens) -> u128 {
    let all = u128::from(tokens.prefill) + u128::from(tokens.decode);
    match label.phase {
        Phase::Mixed if all > 0 => elements * u128::from(tokens.prefill) / all,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
