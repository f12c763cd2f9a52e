//! Steps of a pipeline stage of vLLM's V1 engine that sees no logits.
//!
//! A step is what comes from the stage before (Recv, and with tensor parallelism an AllGather of each rank's
//! part), a forward pass, and two Send to the next stage: hidden states and residual. Nothing in it shows how many
//! sequences it has, so its phase is what the last stage says of it ([`super::pipeline`]).

use super::event::Event;
use super::forward::Forward;
use super::pipeline::{Notice, Over, Passage};
use super::turn::{Settled, Turn};

/// Transfers to the next stage, per step: hidden states and residual.
const SENDS: u64 = 2;

/// A stage at work.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    forward: Forward,
    upstream: Option<Passage>,
    downstream: Option<Passage>,
    sent: u64,
    /// The step under way is not understood.
    lost: bool,
    /// AllReduce of a forward pass, when one is known.
    reduces: Option<u64>,
}

impl Stage {
    /// A stage that is in its first step, of which `forward` has come. `lost` if there is more in it than that
    /// step's.
    pub(super) fn new(forward: Forward, lost: bool) -> Self {
        Self { forward, upstream: None, downstream: None, sent: 0, lost, reduces: None }
    }

    /// Takes the next event. Gives the step that is over before it: its phase is for the next stage to say.
    pub(super) fn event(&mut self, event: Event) -> (Turn, Option<Notice>) {
        match event {
            Event::AllReduce { communicator, elements, graph, .. } if !event.is_warm_up() => {
                let (turn, over) = self.step_goes_on();
                self.forward.add(communicator, elements, graph);
                (turn, over)
            }
            Event::Transfer { sends: false, passage, .. } => {
                let (turn, over) = self.step_goes_on();
                // A stage receives all of a step before its forward pass.
                self.lost |= !self.forward.is_empty();
                self.upstream = self.upstream.or(passage);
                (turn, over)
            }
            Event::Transfer { sends: true, passage, .. } => {
                let (turn, over) = match self.sent {
                    SENDS => self.step_goes_on(),
                    _ => (Turn::HOLD, None),
                };
                self.lost |= self.sent == 0 && passage.is_none();
                self.downstream = self.downstream.or(passage);
                self.sent += 1;
                (turn, over)
            }
            // Parts of the hidden states before the forward pass, sampled tokens behind it.
            Event::AllGather { .. } | Event::Broadcast { .. } if self.is_in_step() => {
                (Turn::HOLD, None)
            }
            _ => (Turn::unknown(), None),
        }
    }

    /// Nothing follows. Gives the step that was under way, if all of it has come.
    pub(super) fn finish(&mut self) -> Option<Over> {
        self.end()
    }

    /// Calls may be missing here.
    pub(super) fn gap(&mut self) {
        *self = Self { lost: true, reduces: self.reduces, ..Self::new(Forward::default(), true) };
    }

    fn is_in_step(&self) -> bool {
        self.upstream.is_some() || !self.forward.is_empty() || self.sent > 0
    }

    /// The next event begins a step if the one before has been sent on.
    fn step_goes_on(&mut self) -> (Turn, Option<Notice>) {
        if self.sent == 0 {
            return (Turn::HOLD, None);
        }
        match self.end() {
            Some(over) => (Turn::HOLD, Some(Notice::Over(over))),
            None => (Turn::HOLD.settling(Settled::UNKNOWN).unknown_steps(1), None),
        }
    }

    fn end(&mut self) -> Option<Over> {
        let reduces = self.forward.reduces;
        let whole = self.sent == SENDS
            && !self.lost
            && !self.forward.irregular
            && (reduces == 0 || self.reduces.is_none_or(|known| known == reduces));
        let over = self.downstream.filter(|_| whole);
        let over = over.map(|downstream| Over { downstream, upstream: self.upstream });
        // Without any, they went beside NCCL.
        let reduces = if whole && reduces > 0 { Some(reduces) } else { self.reduces };
        *self = Self { reduces, ..Self::new(Forward::default(), false) };
        over
    }
}
