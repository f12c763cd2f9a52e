//! What is held until the phase of its step is known, and counted then.

use super::{Elements, Entry, Ledger, Merged, Tally, collectives, key, prefill_part};
use crate::steps::{Label, Tokens, WAITING_STEPS};
use crate::timeline::{Communicators, OperationCall};

impl Ledger {
    /// Operations that are held until the phase of their step is known, as entries of phase unknown.
    pub fn unsettled(&self) -> impl Iterator<Item = Entry> {
        let lines = self.held().flat_map(|tally| &tally.lines);
        lines.map(|line| {
            let each = Elements::summed(line.shape.elements, line.shape.path, line.shape.operation);
            Entry {
                key: key(line.shape, Label::UNKNOWN),
                count: line.count,
                elements: each * u128::from(line.count),
                merged: line.merged,
                merged_elements: each * u128::from(line.merged),
                prefill_elements: 0,
                at_least: false,
                series: 0,
            }
        })
    }

    /// The collectives among them.
    pub fn unsettled_merged(&self) -> impl Iterator<Item = (&Merged, u64)> {
        self.held().flat_map(|tally| &tally.merged).map(|(merged, count)| (merged, *count))
    }

    fn held(&self) -> impl Iterator<Item = &Tally> {
        self.put_off.iter().map(|(_, tally)| tally).chain([&self.open])
    }

    /// Holds an operation of a step whose phase is not known yet. One of a kind that there is no room
    /// for is counted as unknown.
    #[inline]
    pub fn hold(&mut self, call: &OperationCall) {
        match self.open.count(call) {
            Some(_) => self.took(call),
            None => self.operation(call, Label::UNKNOWN, Tokens::default()),
        }
    }

    /// Holds operations that were launched together.
    pub fn hold_group(&mut self, calls: &[OperationCall], communicators: &Communicators) {
        let lines: Vec<Option<usize>> = calls
            .iter()
            .map(|call| {
                let line = self.open.count(call);
                match line {
                    Some(_) => self.took(call),
                    None => self.operation(call, Label::UNKNOWN, Tokens::default()),
                }
                line
            })
            .collect();
        for (merged, communicator) in collectives::of_group(calls, communicators) {
            let here = calls.iter().zip(&lines);
            let here = here.filter(|(call, _)| call.communicator == Some(communicator));
            if here.clone().all(|(_, line)| line.is_some()) {
                self.open.merge(merged, here.filter_map(|(_, line)| *line));
            }
        }
    }

    /// Counts what is held, now that it is known what it serves.
    pub fn settle(&mut self, label: Label, tokens: Tokens) {
        if self.open.is_empty() {
            return;
        }
        let mut tally = std::mem::take(&mut self.open);
        self.settle_tally(&tally, label, tokens);
        tally.clear();
        self.open = tally;
    }

    /// Puts what is held aside under the number of its step, until [`Ledger::settle_step`] says what it serves.
    /// Past [`WAITING_STEPS`] steps, the oldest is counted as unknown.
    pub fn put_off(&mut self, step: u64) {
        let mut tally = std::mem::take(&mut self.open);
        tally.shrink();
        self.put_off.push_back((step, tally));
        if self.put_off.len() > WAITING_STEPS
            && let Some((_, oldest)) = self.put_off.pop_front()
        {
            self.settle_tally(&oldest, Label::UNKNOWN, Tokens::NONE);
        }
    }

    /// Counts what was put off of a step, now that it is known what it serves.
    pub fn settle_step(&mut self, step: u64, label: Label, tokens: Tokens) {
        if let Ok(at) = self.put_off.binary_search_by_key(&step, |(known, _)| *known)
            && let Some((_, tally)) = self.put_off.remove(at)
        {
            self.settle_tally(&tally, label, tokens);
        }
    }

    fn settle_tally(&mut self, tally: &Tally, label: Label, tokens: Tokens) {
        for line in &tally.lines {
            let at = self.entry(line.shape, label);
            let elements =
                Elements::summed(line.shape.elements, line.shape.path, line.shape.operation);
            let entry = &mut self.entries[at];
            entry.count += line.count;
            entry.elements += elements * u128::from(line.count);
            entry.prefill_elements +=
                prefill_part(elements, label, tokens) * u128::from(line.count);
            self.series[entry.series].1.merge(&line.durations);
        }
        let mut left_out = Vec::new();
        for (merged, count) in &tally.merged {
            if !self.count_merged(*merged, label, *count) {
                left_out.push(merged.communicator);
            }
        }
        for line in &tally.lines {
            let elements =
                Elements::summed(line.shape.elements, line.shape.path, line.shape.operation);
            if line.merged > 0 && !left_out.iter().any(|c| Some(*c) == line.shape.communicator) {
                let at = self.entry(line.shape, label);
                self.entries[at].merged += line.merged;
                self.entries[at].merged_elements += elements * u128::from(line.merged);
            }
        }
    }
}
