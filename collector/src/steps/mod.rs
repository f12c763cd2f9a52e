//! Engine steps: which operations belong together, and what they are for.
//!
//! Pure. One process at a time: [`Steps`] takes its operations in order and says of each one under
//! which [`Label`] it counts, or that it is to be held until that is known. What no recogniser
//! understands is [`Phase::Unknown`], never a guess.
//!
//! | recogniser | engine | a step begins | its phase shows |
//! |---|---|---|---|
//! | `v0` | vLLM V0, tensor parallel | with a burst of metadata | in the metadata |
//! | `v1` | vLLM V1, tensor parallel | with the forward pass | at the logits |
//! | `pipeline_only` | vLLM V0, one rank per stage | with a transfer | in its size |
//!
//! An engine that says itself what its steps are is followed by `marked`, and what it says counts. The recognisers
//! go on beside it, and `disagreement` counts where they would have said something else.
//!
//! A process is a worker of an engine when pynccl shows itself: an AllReduce of one float32 right after a
//! communicator was made. Until its first step, everything is start-up.

mod burst;
mod disagreement;
mod event;
mod marked;
mod phase;
mod pipeline_only;
mod turn;
mod v0;
mod v1;

pub use phase::{Label, Phase, Source, Tokens};
pub(crate) use turn::{Place, Settled, Turn};

use crate::timeline::OperationCall;
use disagreement::Disagreement;
use event::Event;
use marked::Marked;
use nccltap_proto::{Datatype, Mark};
use pipeline_only::PipelineOnly;
use std::collections::BTreeMap;
use v0::V0;
use v1::{V1, WarmUp};

/// How the steps of a process are recognised.
#[derive(Clone, Debug, Default)]
enum Engine {
    /// Nothing has shown that there is one.
    #[default]
    None,
    /// A worker that has not begun its first step.
    Starting {
        warm_up: WarmUp,
        reduced: bool,
    },
    V0(Box<V0>),
    V1(Box<V1>),
    PipelineOnly(PipelineOnly),
}

/// Steps of one label, and their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCount {
    /// How many.
    pub steps: u64,
    /// Their tokens, as far as they are known.
    pub tokens: Tokens,
    /// Requests that computed tokens of their prompt, where the engine says so: a request counts in each of
    /// its steps.
    pub prefill_requests: u64,
    /// Requests that generated.
    pub decode_requests: u64,
    /// Of the tokens: guesses of a draft.
    pub speculative_tokens: u64,
}

impl StepCount {
    fn add(&mut self, more: Self) {
        let sum = |mine: &mut u64, theirs: u64| *mine = mine.saturating_add(theirs);
        sum(&mut self.steps, more.steps);
        sum(&mut self.tokens.prefill, more.tokens.prefill);
        sum(&mut self.tokens.decode, more.tokens.decode);
        sum(&mut self.prefill_requests, more.prefill_requests);
        sum(&mut self.decode_requests, more.decode_requests);
        sum(&mut self.speculative_tokens, more.speculative_tokens);
    }
}

/// The steps of one process.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    engine: Engine,
    /// Calls were missing before an engine was recognised.
    joined_late: bool,
    /// The engine marks its steps.
    marked: Option<Marked>,
    disagreement: Disagreement,
    counts: BTreeMap<Label, StepCount>,
}

impl Steps {
    /// Whether the process has shown that it is a worker of an engine.
    pub fn is_engine(&self) -> bool {
        self.is_marked() || !matches!(self.engine, Engine::None)
    }

    /// Whether the engine says itself what its steps are.
    pub fn is_marked(&self) -> bool {
        self.marked.is_some()
    }

    /// Operations of which the sizes show another phase than the engine says. The engine's counts.
    pub fn differing(&self) -> u64 {
        self.disagreement.differing()
    }

    /// How many steps there were, and their tokens, by label.
    pub fn counts(&self) -> &BTreeMap<Label, StepCount> {
        &self.counts
    }

    /// Takes an operation.
    #[inline]
    pub(crate) fn operation(&mut self, call: &OperationCall) -> Turn {
        self.event(Event::of(call), 1)
    }

    /// Takes operations that were launched together.
    pub(crate) fn group(&mut self, calls: &[OperationCall]) -> Turn {
        self.event(Event::of_group(calls), calls.len() as u64)
    }

    /// Takes what the engine says of its steps. Says what the operations serve that are held.
    pub(crate) fn mark(&mut self, mark: &Mark) -> Option<Settled> {
        let Self { marked, counts, disagreement, .. } = self;
        let marked = marked.get_or_insert_default();
        let silent = marked.is_silent();
        let count = |label, more| counts.entry(label).or_default().add(more);
        let settled = marked.mark(mark, count);
        if let Some(settled) = settled {
            disagreement.marks_settle(settled);
        }
        // What a recogniser holds belongs to no step that is marked.
        settled.or(silent.then_some(Settled::UNKNOWN))
    }

    /// Calls may be missing here. What is held is settled so.
    pub(crate) fn gap(&mut self) -> Settled {
        match &mut self.engine {
            Engine::None => self.joined_late = true,
            Engine::Starting { .. } => {
                self.engine = Engine::None;
                self.joined_late = true;
            }
            Engine::V0(engine) => engine.gap(),
            Engine::V1(engine) => engine.gap(),
            Engine::PipelineOnly(engine) => engine.gap(),
        }
        if let Some(marked) = &mut self.marked {
            marked.gap();
            self.disagreement.sizes_settle(Settled::UNKNOWN);
            self.disagreement.marks_settle(Settled::UNKNOWN);
        }
        Settled::UNKNOWN
    }

    #[inline]
    fn event(&mut self, event: Event, operations: u64) -> Turn {
        let inferred = self.infer(event);
        match self.marked.as_mut().and_then(Marked::operation) {
            None => {
                if let Some((steps, label, tokens)) = inferred.steps {
                    let more = StepCount { steps, tokens, ..StepCount::default() };
                    self.counts.entry(label).or_default().add(more);
                }
                inferred
            }
            Some(turn) => {
                self.disagreement.operations(operations, &inferred, &turn);
                turn
            }
        }
    }

    #[inline]
    fn infer(&mut self, event: Event) -> Turn {
        match &mut self.engine {
            Engine::V0(engine) => engine.event(event),
            Engine::V1(engine) => engine.event(event),
            Engine::PipelineOnly(engine) => engine.event(event),
            Engine::None | Engine::Starting { .. } => self.before_first_step(event),
        }
    }

    fn before_first_step(&mut self, event: Event) -> Turn {
        if event.is_warm_up() {
            if !self.joined_late && matches!(self.engine, Engine::None) {
                self.engine = Engine::Starting { warm_up: WarmUp::default(), reduced: false };
            }
            return self.outside_steps();
        }
        match event {
            // Metadata of a V0 step. Of a process that was met late, this may be the first thing seen.
            Event::Broadcast { datatype: Datatype::Int64, .. }
                if self.joined_late || matches!(self.engine, Engine::Starting { .. }) =>
            {
                let mut engine = Box::<V0>::default();
                if self.joined_late {
                    engine.gap();
                }
                let turn = engine.event(event);
                self.engine = Engine::V0(engine);
                return turn;
            }
            Event::Transfer { .. } => {
                if let Engine::Starting { reduced: false, .. } = self.engine {
                    let mut engine = PipelineOnly::default();
                    let turn = engine.event(event);
                    self.engine = Engine::PipelineOnly(engine);
                    return turn;
                }
            }
            _ => {}
        }
        let mut turn = self.outside_steps();
        if let Engine::Starting { warm_up, reduced } = &mut self.engine {
            *reduced |= matches!(event, Event::AllReduce { .. });
            if let Some(engine) = warm_up.event(event) {
                self.engine = Engine::V1(Box::new(engine));
            } else if warm_up.is_strange() {
                self.engine = Engine::None;
                self.joined_late = true;
                turn = Turn::unknown();
            }
        }
        turn
    }

    fn outside_steps(&self) -> Turn {
        match self.engine {
            Engine::Starting { .. } => Turn::now(Label::STARTUP, Tokens::default()),
            _ => Turn::unknown(),
        }
    }
}

#[cfg(test)]
mod tests;
