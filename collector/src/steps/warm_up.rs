//! What an engine's worker does before its first step, and which engine that shows.
//!
//! vLLM's V1 engine makes dummy runs (`v1/worker/gpu_worker.py`): a profiling run of the largest step there can
//! be, then forward passes without logits for compilation and for the capture of graphs, and on the last pipeline
//! stage a last run with one row of logits per token. Stages before the last one show themselves by their
//! first transfer of hidden states.

use super::event::Event;
use super::forward::{Forward, Run};
use super::phase::Label;
use super::pipeline_only::PipelineOnly;
use super::stage::Stage;
use super::turn::{Settled, Turn};
use super::v1::V1;
use super::{Engine, Tokens};

/// A worker that has not begun its first step.
#[derive(Clone, Debug, Default)]
pub(super) struct WarmUp {
    forward: Forward,
    profile: Option<Run>,
    /// Forward passes that are over, and the fewest AllReduce that one of them had.
    passes: u64,
    fewest: u64,
    /// A transfer that may be the first one of a step.
    transfer: Option<Event>,
}

/// What an event shows.
pub(super) enum Shown {
    /// Nothing: start-up goes on.
    Nothing,
    /// The engine that serves from here on.
    Engine(Engine),
    /// An engine that warms up in no known way, and may be serving already.
    Strange,
}

const STARTUP: Settled = Settled::Now(Label::STARTUP, Tokens::NONE);

impl WarmUp {
    pub(super) fn event(&mut self, event: Event) -> (Turn, Shown) {
        match event {
            Event::AllReduce { communicator, elements, graph, .. } if !event.is_warm_up() => {
                let goes_on = self.forward.goes_on(communicator, elements);
                if goes_on && self.transfer.is_none() {
                    self.forward.add(communicator, elements, graph);
                    return (Turn::HOLD, Shown::Nothing);
                }
                self.over();
                self.forward.add(communicator, elements, graph);
                (Turn::HOLD.settling(STARTUP), Shown::Nothing)
            }
            Event::AllGather { elements, .. } => match self.transfer {
                Some(Event::Transfer { elements: received, sends: false, .. })
                    if received == elements =>
                {
                    self.stage(event)
                }
                _ => self.logits(elements),
            },
            Event::Transfer { .. } => self.transfer(event),
            _ => {
                self.over();
                (Turn::now(Label::STARTUP, Tokens::NONE).settling(STARTUP), Shown::Nothing)
            }
        }
    }

    /// What is held was part of start-up, and is over.
    fn over(&mut self) {
        let reduces = std::mem::take(&mut self.forward).reduces;
        self.transfer = None;
        if reduces > 0 {
            self.fewest = if self.passes == 0 { reduces } else { self.fewest.min(reduces) };
            self.passes += 1;
        }
    }

    fn logits(&mut self, gathered: u64) -> (Turn, Shown) {
        let forward = self.forward;
        self.over();
        let turn = Turn::HOLD.then(STARTUP);
        // Passes of one size that came one after the other look like one.
        let reduces = match self.fewest {
            0 => 0,
            fewest if forward.reduces.is_multiple_of(fewest) => fewest,
            _ => forward.reduces,
        };
        let run = Run { reduces, reduced: forward.elements, gathered };
        if run.reduces == 0 {
            // Logits of a forward pass that NCCL sees nothing of (vLLM's custom all-reduce). If this was not the last
            // dummy run, it may be a step already.
            return match self.profile {
                Some(profile) if profile.gathered == gathered => (turn, Shown::Strange),
                _ => (Turn::HOLD.then(Settled::UNKNOWN), Shown::Strange),
            };
        }
        if run.gathered == 0 {
            return (turn, Shown::Nothing);
        }
        let Some(profile) = self.profile else {
            self.profile = Some(run);
            return (turn, Shown::Nothing);
        };
        // Both runs are for as many sequences as the engine allows.
        let is_last = run.gathered == profile.gathered
            && run.reduces == profile.reduces
            && run.reduced <= profile.reduced;
        match is_last {
            true => (turn, Shown::Engine(Engine::V1(Box::new(V1::new(profile, run))))),
            // It may be a step already.
            false => (Turn::HOLD.then(Settled::UNKNOWN), Shown::Strange),
        }
    }

    fn transfer(&mut self, event: Event) -> (Turn, Shown) {
        let Event::Transfer { communicator, elements, sends, .. } = event else {
            return (Turn::unknown(), Shown::Nothing);
        };
        if self.passes == 0 && self.forward.is_empty() {
            let mut engine = PipelineOnly::default();
            let turn = engine.event(event);
            return (turn, Shown::Engine(Engine::PipelineOnly(engine)));
        }
        match self.transfer {
            // Hidden states and residual: two of one size.
            Some(Event::Transfer { communicator: on, elements: before, sends: way, .. })
                if (on, before, way) == (communicator, elements, sends) =>
            {
                self.stage(event)
            }
            None if sends => {
                self.transfer = Some(event);
                (Turn::HOLD, Shown::Nothing)
            }
            // A stage receives before its forward pass: what was held before is no part of it.
            _ => {
                self.over();
                self.transfer = Some(event);
                (Turn::HOLD.settling(STARTUP), Shown::Nothing)
            }
        }
    }

    /// The first step of a stage that is not the last one: what is held is its begin.
    fn stage(&mut self, event: Event) -> (Turn, Shown) {
        let forward = std::mem::take(&mut self.forward);
        // A pass of start-up of the same size may be in there.
        let blurred = self.passes == 0 || forward.reduces > self.fewest;
        let mut stage = Stage::new(forward, blurred && !forward.is_empty());
        if let Some(transfer) = self.transfer.take() {
            stage.event(transfer);
        }
        let (turn, _) = stage.event(event);
        (turn, Shown::Engine(Engine::Stage(Box::new(stage))))
    }
}
