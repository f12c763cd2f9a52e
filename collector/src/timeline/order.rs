//! One order for the calls of all threads of a process.
//!
//! Each ring is in order by itself. An engine may make the calls of one step on one thread and those
//! of the next on another, so what is told is put in order of the ends of the calls. That costs
//! nothing while one thread calls: a call has to wait only while another ring is known to hold
//! records that have not been received yet.

use super::{Clock, Communicators, Holds, Listener, Manifest, OperationCall};
use nccltap_proto::{Function, Mark};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Operations that can wait for records of other threads. Past it they are told out of turn, and
/// the listener is told of a gap.
pub const WAITING_OPERATIONS: usize = 262_144;

/// How long an operation waits for records of other threads, in nanoseconds of the process' clock.
const PATIENCE_NS: u64 = 2_000_000_000;

/// What waits for its turn.
#[derive(Debug)]
enum Told {
    Operation(OperationCall),
    Group(Vec<OperationCall>),
    Launched(Box<Manifest>),
    Mark(Mark),
    Gap,
}

impl Told {
    fn operations(&self) -> usize {
        match self {
            Self::Operation(_) => 1,
            Self::Group(calls) => calls.len(),
            // Counted when it is told: no call was made for these.
            Self::Launched(_) | Self::Mark(_) | Self::Gap => 0,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    /// When the call ended, which ring it is from, and how many were queued before.
    turn: (u64, u32, u64),
    told: Told,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.turn == other.turn
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.turn.cmp(&other.turn)
    }
}

/// The operations that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Order {
    waiting: BinaryHeap<Reverse<Waiting>>,
    queued: u64,
    operations: usize,
    told_until: u64,
}

impl Order {
    /// Operations that wait.
    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn push(&mut self, end: u64, ring: u32, told: Told) {
        self.operations += told.operations();
        self.waiting.push(Reverse(Waiting { turn: (end, ring, self.queued), told }));
        self.queued += 1;
    }

    /// Tells everything that ended up to `frontier`: no record that is yet to come ended earlier.
    pub(super) fn release(
        &mut self,
        frontier: u64,
        clock: &Clock,
        communicators: &Communicators,
        listener: &mut impl Listener,
    ) {
        let now = clock.latest().ticks;
        while let Some(Reverse(next)) = self.waiting.peek() {
            let (end, ..) = next.turn;
            let waited = clock.duration_ns(end, now).unwrap_or(0);
            let full = self.operations > WAITING_OPERATIONS;
            if end > frontier && waited < PATIENCE_NS && !full {
                return;
            }
            let Some(Reverse(next)) = self.waiting.pop() else { return };
            self.operations -= next.told.operations();
            self.turn(end, listener);
            match next.told {
                Told::Operation(call) => listener.operation(&call, communicators),
                Told::Group(calls) => listener.group(&calls, communicators),
                Told::Launched(manifest) => {
                    listener.launched(Holds::Operations(&manifest), end, communicators);
                }
                Told::Mark(mark) => listener.mark(&mark),
                Told::Gap => listener.gap(),
            }
        }
    }

    /// What ended at `end` is told now. If something that ended later was told before, the order is
    /// broken here.
    #[inline]
    fn turn(&mut self, end: u64, listener: &mut impl Listener) {
        if end < self.told_until {
            listener.gap();
        }
        self.told_until = end;
    }
}

/// Passes on what the records of one ring say: at once, or when it is their turn. Counts that have
/// no order are passed on at once in any case.
pub(super) struct InOrder<'a, L> {
    pub(super) order: &'a mut Order,
    pub(super) listener: &'a mut L,
    pub(super) ring: u32,
    /// End of the record that is being read.
    pub(super) end: u64,
    pub(super) at_once: bool,
}

impl<L: Listener> Listener for InOrder<'_, L> {
    #[inline]
    fn call(&mut self, function: Function) {
        self.listener.call(function);
    }

    #[inline]
    fn operation(&mut self, call: &OperationCall, communicators: &Communicators) {
        if self.at_once {
            self.order.turn(self.end, self.listener);
            self.listener.operation(call, communicators);
        } else {
            self.order.push(self.end, self.ring, Told::Operation(*call));
        }
    }

    fn group(&mut self, calls: &[OperationCall], communicators: &Communicators) {
        if self.at_once {
            self.order.turn(self.end, self.listener);
            self.listener.group(calls, communicators);
        } else {
            self.order.push(self.end, self.ring, Told::Group(calls.to_vec()));
        }
    }

    fn failed(&mut self, function: Function, result: i32) {
        self.listener.failed(function, result);
    }

    fn simulated(&mut self, operations: u64) {
        self.listener.simulated(operations);
    }

    #[inline]
    fn captured(&mut self, call: &OperationCall, communicators: &Communicators) {
        self.listener.captured(call, communicators);
    }

    fn launched_by_device(&mut self, manifest: &Manifest) {
        self.listener.launched_by_device(manifest);
    }

    fn launched(&mut self, holds: Holds<'_>, end: u64, communicators: &Communicators) {
        match holds {
            Holds::Operations(manifest) if !self.at_once => {
                let manifest = Box::new(manifest.clone());
                self.order.push(self.end, self.ring, Told::Launched(manifest));
            }
            Holds::Operations(_) => {
                self.order.turn(self.end, self.listener);
                self.listener.launched(holds, end, communicators);
            }
            _ => self.listener.launched(holds, end, communicators),
        }
    }

    fn mark(&mut self, mark: &Mark) {
        if self.at_once {
            self.order.turn(self.end, self.listener);
            self.listener.mark(mark);
        } else {
            self.order.push(self.end, self.ring, Told::Mark(*mark));
        }
    }

    fn gap(&mut self) {
        if self.at_once {
            self.listener.gap();
        } else {
            self.order.push(self.end, self.ring, Told::Gap);
        }
    }
}
