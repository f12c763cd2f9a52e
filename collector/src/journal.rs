//! Single operations of one process, each told once its phase is known.
//!
//! Pure. Kept only where somebody takes what it tells, as exports do. What waits for its phase is bounded: past
//! [`WAITING_OPERATIONS`] everything that waits is told as of unknown phase, and counted.

use crate::steps::{Label, WAITING_STEPS};
use crate::timeline::{Launch, OperationCall};
use std::collections::VecDeque;

/// Operations that may wait for the phase of their step.
pub const WAITING_OPERATIONS: usize = 262_144;

/// An operation, and what it served. One of a graph ends when its launch did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// What NCCL was told.
    pub call: OperationCall,
    /// What it served.
    pub label: Label,
}

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    told: Vec<Entry>,
    held: Vec<OperationCall>,
    put_off: VecDeque<(u64, Vec<OperationCall>)>,
    waiting: usize,
    launched: u64,
    given_up: u64,
}

impl Journal {
    /// The operations that are told since this was asked last.
    pub fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.told)
    }

    /// Operations told as of unknown phase because too many waited: reports may know their phase.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// No message follows: what waits is told as of unknown phase.
    pub fn finish(&mut self) {
        for (_, calls) in std::mem::take(&mut self.put_off) {
            self.tell(calls, Label::UNKNOWN);
        }
        self.settle(Label::UNKNOWN);
    }

    /// The operations that follow are of a graph whose launch ended at `end`.
    pub(crate) fn launched(&mut self, end: u64) {
        self.launched = end;
    }

    pub(crate) fn count(&mut self, call: &OperationCall, label: Label) {
        let call = self.timed(call);
        self.told.push(Entry { call, label });
    }

    pub(crate) fn hold(&mut self, call: &OperationCall) {
        let call = self.timed(call);
        self.held.push(call);
        self.waiting += 1;
        if self.waiting > WAITING_OPERATIONS {
            self.given_up += self.waiting as u64;
            self.finish();
        }
    }

    pub(crate) fn settle(&mut self, label: Label) {
        let held = std::mem::take(&mut self.held);
        self.tell(held, label);
    }

    pub(crate) fn put_off(&mut self, step: u64) {
        self.put_off.push_back((step, std::mem::take(&mut self.held)));
        if self.put_off.len() > WAITING_STEPS
            && let Some((_, oldest)) = self.put_off.pop_front()
        {
            self.tell(oldest, Label::UNKNOWN);
        }
    }

    pub(crate) fn settle_step(&mut self, step: u64, label: Label) {
        if let Ok(at) = self.put_off.binary_search_by_key(&step, |(known, _)| *known)
            && let Some((_, calls)) = self.put_off.remove(at)
        {
            self.tell(calls, label);
        }
    }

    fn tell(&mut self, calls: Vec<OperationCall>, label: Label) {
        self.waiting = self.waiting.saturating_sub(calls.len());
        self.told.extend(calls.into_iter().map(|call| Entry { call, label }));
    }

    fn timed(&self, call: &OperationCall) -> OperationCall {
        match call.launch {
            Launch::Eager => *call,
            Launch::Graph => OperationCall { end: self.launched, ..*call },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::Phase;
    use nccltap_proto::{Function, Operation};

    fn call(elements: u64, launch: Launch) -> OperationCall {
        OperationCall {
            function: Function::ncclAllReduce,
            operation: Operation::AllReduce,
            communicator: None,
            elements,
            path: nccltap_proto::Path::Nccl,
            datatype: None,
            peer: None,
            launch,
            end: if launch == Launch::Eager { elements } else { 0 },
            duration_ns: None,
        }
    }

    fn told(journal: &mut Journal) -> Vec<(u64, Phase)> {
        journal.take().iter().map(|entry| (entry.call.elements, entry.label.phase)).collect()
    }

    const DECODE: Label = Label { phase: Phase::Decode, source: None };

    #[test]
    fn each_operation_is_told_once_when_its_phase_is_known() {
        let mut journal = Journal::default();
        journal.count(&call(1, Launch::Eager), DECODE);
        journal.hold(&call(2, Launch::Eager));
        assert_eq!(told(&mut journal), [(1, Phase::Decode)]);
        journal.put_off(7);
        journal.hold(&call(3, Launch::Eager));
        journal.settle(DECODE);
        assert_eq!(told(&mut journal), [(3, Phase::Decode)]);
        journal.settle_step(7, DECODE);
        assert_eq!(told(&mut journal), [(2, Phase::Decode)]);
        journal.hold(&call(4, Launch::Eager));
        journal.finish();
        assert_eq!(told(&mut journal), [(4, Phase::Unknown)]);
        assert_eq!((journal.given_up(), journal.waiting), (0, 0));
    }

    #[test]
    fn an_operation_of_a_graph_ends_when_its_launch_did() {
        let mut journal = Journal::default();
        journal.launched(42);
        journal.count(&call(1, Launch::Graph), DECODE);
        assert_eq!(journal.take()[0].call.end, 42);
    }

    #[test]
    fn past_the_bound_what_waits_is_told_as_unknown_and_counted() {
        let mut journal = Journal::default();
        for number in 0..=WAITING_OPERATIONS as u64 {
            journal.hold(&call(number, Launch::Eager));
        }
        assert_eq!(journal.given_up(), WAITING_OPERATIONS as u64 + 1);
        assert_eq!(journal.take().len(), WAITING_OPERATIONS + 1);
        assert_eq!(journal.waiting, 0);
    }
}
