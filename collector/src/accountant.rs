//! From the timeline to the ledger: every operation is counted under what its step is for.

use crate::backends::Backends;
use crate::history::History;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::steps::{Label, Place, Settled, Steps, Turn};
use crate::timeline::{Block, Communicators, Holds, Launch, Listener, Manifest, OperationCall};
use nccltap_proto::{Function, Mark};

/// Listens to the timeline of a process, asks its steps, tells its ledger, its backends, its history and its journal.
#[derive(Debug)]
pub(crate) struct Accountant<'a> {
    steps: &'a mut Steps,
    ledger: &'a mut Ledger,
    backends: &'a mut Backends,
    history: &'a mut History,
    journal: Option<&'a mut Journal>,
}

impl<'a> Accountant<'a> {
    pub(crate) fn new(
        steps: &'a mut Steps,
        ledger: &'a mut Ledger,
        backends: &'a mut Backends,
        history: &'a mut History,
        journal: Option<&'a mut Journal>,
    ) -> Self {
        Self { steps, ledger, backends, history, journal }
    }

    /// Nothing follows: what is held stays unknown, unless another stage of the pipeline knows it.
    pub(crate) fn finish(&mut self) {
        let settled = self.steps.finish();
        self.settle(settled);
    }

    #[inline]
    fn settle(&mut self, settled: Settled) {
        match settled {
            Settled::Now(label, tokens) => {
                self.ledger.settle(label, tokens);
                self.history.settle(label);
                if let Some(journal) = &mut self.journal {
                    journal.settle(label);
                }
            }
            Settled::Later(step) => {
                self.ledger.put_off(step);
                self.history.put_off(step);
                if let Some(journal) = &mut self.journal {
                    journal.put_off(step);
                }
            }
        }
    }

    #[inline]
    fn around(
        &mut self,
        turn: Turn,
        calls: &[OperationCall],
        count: impl FnOnce(&mut Ledger, Place),
    ) {
        if let Some(settled) = turn.before {
            self.settle(settled);
        }
        count(self.ledger, turn.place);
        for call in calls {
            match turn.place {
                Place::Now(label, _) => self.history.count(call, label),
                Place::Hold => self.history.hold(call),
            }
            if let Some(journal) = &mut self.journal {
                match turn.place {
                    Place::Now(label, _) => journal.count(call, label),
                    Place::Hold => journal.hold(call),
                }
            }
        }
        if let Some(settled) = turn.after {
            self.settle(settled);
        }
        if let Some((steps, label, _)) = turn.steps {
            self.history.steps(steps, label);
        }
    }
}

impl Accountant<'_> {
    fn block(&mut self, block: &Block, communicators: &Communicators) {
        if block.conditional {
            return self.ledger.conditional_block(block, Label::UNKNOWN);
        }
        for _ in 0..block.times {
            match block.calls.as_slice() {
                [call] => self.operation(call, communicators),
                calls => self.group(calls, communicators),
            }
        }
    }
}

impl Listener for Accountant<'_> {
    #[inline]
    fn call(&mut self, function: Function) {
        self.ledger.call(function);
    }

    #[inline]
    fn operation(&mut self, call: &OperationCall, communicators: &Communicators) {
        if call.launch == Launch::Eager {
            self.backends.call(call, communicators);
        }
        let turn = self.steps.operation(call);
        self.around(turn, std::slice::from_ref(call), |ledger, place| match place {
            Place::Now(label, tokens) if turn.gathers => {
                ledger.gather(call, communicators, label, tokens);
            }
            Place::Now(label, tokens) => ledger.operation(call, label, tokens),
            Place::Hold => ledger.hold(call),
        });
    }

    fn group(&mut self, calls: &[OperationCall], communicators: &Communicators) {
        for call in calls.iter().filter(|call| call.launch == Launch::Eager) {
            self.backends.call(call, communicators);
        }
        let turn = self.steps.group(calls);
        self.around(turn, calls, |ledger, place| match place {
            Place::Now(label, tokens) => ledger.group(calls, communicators, label, tokens),
            Place::Hold => ledger.hold_group(calls, communicators),
        });
    }

    fn failed(&mut self, function: Function, result: i32) {
        self.ledger.failed(function, result);
    }

    fn simulated(&mut self, operations: u64) {
        self.ledger.simulate(operations);
    }

    #[inline]
    fn captured(&mut self, call: &OperationCall, communicators: &Communicators) {
        self.backends.call(call, communicators);
        self.steps.captured(call);
        self.ledger.capture();
    }

    fn launched_by_device(&mut self, manifest: &Manifest) {
        self.ledger.launched_by_device(manifest);
    }

    /// What a launch carries out counts as if it had been called, one operation after the other.
    fn launched(&mut self, holds: Holds<'_>, end: u64, communicators: &Communicators) {
        self.ledger.launch(holds);
        let Holds::Operations(manifest) = holds else { return };
        if let Some(journal) = &mut self.journal {
            journal.launched(end);
        }
        self.steps.launch(manifest.all_reduces());
        for block in manifest.blocks() {
            self.block(block, communicators);
        }
    }

    fn mark(&mut self, mark: &Mark) {
        if let Mark::Chosen(choice) = mark {
            return self.backends.said(choice);
        }
        if let Some(settled) = self.steps.mark(mark) {
            self.settle(settled);
        }
    }

    fn gap(&mut self) {
        let settled = self.steps.gap();
        self.settle(settled);
    }
}
