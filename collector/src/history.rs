//! When a process did what, by phase: its life in a bounded number of equal slices of time.
//!
//! Pure. Slices begin about a millisecond wide; when they run out, each two neighbours become one. So
//! memory does not grow, and a long life is told more coarsely than a short one.

use crate::ledger::bytes::message_bytes;
use crate::steps::{Label, Phase, WAITING_STEPS};
use crate::timeline::OperationCall;
use std::collections::VecDeque;

/// Slices that a process' life is told in, at most; at least half as many once it has lasted.
pub const SLICES: usize = 256;

/// The first width is 2 to this power, in ticks: 1 ms of nanoseconds, a third of it on a TSC of 3 GHz.
const FIRST_WIDTH_BITS: u32 = 20;

const PHASES: usize = Phase::ALL.len();

/// What was done in one slice of time, by phase in the order of [`Phase::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Engine steps that ended in it.
    pub steps: [u64; PHASES],
    /// Operations.
    pub operations: [u64; PHASES],
    /// Their message bytes; those of an unknown data type are not in it.
    pub message_bytes: [u64; PHASES],
}

impl Slice {
    fn add(&mut self, more: &Self) {
        let sum = |mine: &mut [u64; PHASES], theirs: &[u64; PHASES]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, more)| *mine = mine.saturating_add(*more));
        };
        sum(&mut self.steps, &more.steps);
        sum(&mut self.operations, &more.operations);
        sum(&mut self.message_bytes, &more.message_bytes);
    }
}

/// Operations of one slice that wait for the phase of their step.
#[derive(Clone, Copy, Debug)]
struct Held {
    slice: usize,
    operations: u64,
    message_bytes: u64,
}

/// One process' life.
#[derive(Clone, Debug, Default)]
pub struct History {
    first: Option<u64>,
    wider_by: u32,
    slices: Vec<Slice>,
    held: Vec<Held>,
    put_off: VecDeque<(u64, Vec<Held>)>,
    now: u64,
}

impl History {
    /// The slices in order: when each begins and ends, in ticks of the record clock, and what was done
    /// in it. What still waits for its phase is in none.
    pub fn slices(&self) -> impl Iterator<Item = (u64, u64, &Slice)> {
        let first = self.first.unwrap_or_default();
        let width = 1u64.checked_shl(self.width_bits()).unwrap_or(u64::MAX);
        self.slices.iter().enumerate().map(move |(at, slice)| {
            let begin = first.saturating_add(width.saturating_mul(at as u64));
            (begin, begin.saturating_add(width), slice)
        })
    }

    /// Everything that is in the slices.
    pub fn total(&self) -> Slice {
        let mut total = Slice::default();
        self.slices.iter().for_each(|slice| total.add(slice));
        total
    }

    /// Takes an operation whose phase is known.
    #[inline]
    pub(crate) fn count(&mut self, call: &OperationCall, label: Label) {
        let at = self.slice_at(call.end);
        if let Some(slice) = self.slices.get_mut(at) {
            let phase = label.phase as usize;
            slice.operations[phase] += 1;
            slice.message_bytes[phase] = slice.message_bytes[phase].saturating_add(bytes(call));
        }
    }

    /// Takes an operation whose phase is not known yet.
    #[inline]
    pub(crate) fn hold(&mut self, call: &OperationCall) {
        let slice = self.slice_at(call.end);
        let more = bytes(call);
        match self.held.last_mut() {
            Some(held) if held.slice == slice => {
                held.operations += 1;
                held.message_bytes = held.message_bytes.saturating_add(more);
            }
            _ => self.held.push(Held { slice, operations: 1, message_bytes: more }),
        }
        // Calls of several threads may go back and forth between slices.
        if self.held.len() > SLICES {
            join(&mut self.held);
        }
    }

    /// What waits serves `label`.
    pub(crate) fn settle(&mut self, label: Label) {
        let mut held = std::mem::take(&mut self.held);
        self.tell(&held, label);
        held.clear();
        self.held = held;
    }

    /// What waits serves what the step with this number does, which another stage of the pipeline knows.
    pub(crate) fn put_off(&mut self, step: u64) {
        self.put_off.push_back((step, std::mem::take(&mut self.held)));
        if self.put_off.len() > WAITING_STEPS
            && let Some((_, oldest)) = self.put_off.pop_front()
        {
            self.tell(&oldest, Label::UNKNOWN);
        }
    }

    /// The step with this number served `label`.
    pub(crate) fn settle_step(&mut self, step: u64, label: Label) {
        if let Ok(at) = self.put_off.binary_search_by_key(&step, |(known, _)| *known)
            && let Some((_, held)) = self.put_off.remove(at)
        {
            self.tell(&held, label);
            if let Some(slice) = held.last().and_then(|last| self.slices.get_mut(last.slice)) {
                slice.steps[label.phase as usize] += 1;
            }
        }
    }

    fn tell(&mut self, held: &[Held], label: Label) {
        let phase = label.phase as usize;
        for held in held {
            if let Some(slice) = self.slices.get_mut(held.slice) {
                slice.operations[phase] += held.operations;
                slice.message_bytes[phase] =
                    slice.message_bytes[phase].saturating_add(held.message_bytes);
            }
        }
    }

    /// So many steps have ended, as of the operation taken last.
    pub(crate) fn steps(&mut self, steps: u64, label: Label) {
        let at = self.slice_at(self.now);
        if let Some(slice) = self.slices.get_mut(at) {
            slice.steps[label.phase as usize] += steps;
        }
    }

    const fn width_bits(&self) -> u32 {
        FIRST_WIDTH_BITS + self.wider_by
    }

    /// The slice of an instant. Operations of graphs have none of their own: theirs is that of the
    /// operation before.
    #[inline]
    fn slice_at(&mut self, ticks: u64) -> usize {
        self.now = self.now.max(ticks);
        let ticks = if ticks == 0 { self.now } else { ticks };
        let first = *self.first.get_or_insert(ticks);
        let since = ticks.saturating_sub(first);
        while since.checked_shr(self.width_bits()).unwrap_or(0) >= SLICES as u64 {
            self.widen();
        }
        let at = since.checked_shr(self.width_bits()).unwrap_or(0) as usize;
        if self.slices.len() <= at {
            self.slices.resize(at + 1, Slice::default());
        }
        at
    }

    fn widen(&mut self) {
        self.wider_by += 1;
        let joined = self.slices.chunks(2).map(|pair| {
            let mut sum = Slice::default();
            pair.iter().for_each(|slice| sum.add(slice));
            sum
        });
        self.slices = joined.collect();
        for held in self.put_off.iter_mut().map(|(_, held)| held).chain([&mut self.held]) {
            held.iter_mut().for_each(|held| held.slice /= 2);
            join(held);
        }
    }
}

/// Those of one slice become one.
fn join(held: &mut Vec<Held>) {
    held.sort_by_key(|held| held.slice);
    held.dedup_by(|later, kept| {
        let same = later.slice == kept.slice;
        if same {
            kept.operations += later.operations;
            kept.message_bytes = kept.message_bytes.saturating_add(later.message_bytes);
        }
        same
    });
}

fn bytes(call: &OperationCall) -> u64 {
    let of = |elements: u64| message_bytes(elements.into(), call.datatype);
    let bytes = call.known_elements().and_then(of).unwrap_or(0);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::Source;
    use crate::timeline::Launch;
    use nccltap_proto::{Datatype, Function, Operation};
    use proptest::prelude::*;

    const DECODE: Label = Label::known(Phase::Decode, Source::Metadata);

    fn call(end: u64) -> OperationCall {
        OperationCall {
            function: Function::ncclAllReduce,
            operation: Operation::AllReduce,
            communicator: None,
            elements: 8,
            path: nccltap_proto::Path::Nccl,
            datatype: Some(Datatype::Float16),
            peer: None,
            launch: Launch::Eager,
            end,
            duration_ns: None,
        }
    }

    fn total(history: &History, phase: Phase) -> (u64, u64) {
        let of =
            |slice: &Slice| (slice.operations[phase as usize], slice.message_bytes[phase as usize]);
        let all = history.slices().map(|(.., slice)| of(slice));
        all.fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }

    #[test]
    fn what_waits_is_told_in_the_slice_in_which_it_was_done() {
        let mut history = History::default();
        history.count(&call(1 << 20), Label::STARTUP);
        history.hold(&call(2 << 20));
        history.count(&call(9 << 20), DECODE);
        assert_eq!(total(&history, Phase::Prefill), (0, 0));
        history.settle(Label::known(Phase::Prefill, Source::Rows));
        history.steps(1, DECODE);
        let slices: Vec<_> = history.slices().collect();
        assert_eq!(slices[1].2.operations[Phase::Prefill as usize], 1);
        assert_eq!(slices[8].2.steps[Phase::Decode as usize], 1);
        assert_eq!((slices[8].0, slices[8].1), (9 << 20, 10 << 20));
    }

    #[test]
    fn an_operation_of_a_graph_is_told_when_the_call_before_it_was() {
        let mut history = History::default();
        history.count(&call(3 << 20), DECODE);
        history.count(&call(5 << 20), DECODE);
        history.count(&call(0), DECODE);
        assert_eq!(history.slices().last().unwrap().2.operations[Phase::Decode as usize], 2);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_memory_is_bounded(
            ends in prop::collection::vec((any::<u64>(), 0u32..64, any::<bool>()), 1..400),
        ) {
            let mut history = History::default();
            for (end, shift, held) in &ends {
                let call = call(end >> shift);
                if *held { history.hold(&call) } else { history.count(&call, DECODE) }
                prop_assert!(history.slices.len() <= SLICES && history.held.len() <= SLICES + 1);
            }
            history.settle(DECODE);
            let all = ends.len() as u64;
            prop_assert_eq!(total(&history, Phase::Decode), (all, all * 16));
        }
    }
}
