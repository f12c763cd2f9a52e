//! Engine steps: which operations belong together, and what they are for.
//!
//! Pure. One process at a time: [`Steps`] takes its operations in order and says of each one under
//! which [`Label`] it counts, or that it is to be held until that is known. What no recogniser
//! understands is [`Phase::Unknown`], never a guess.
//!
//! | recogniser | engine | a step begins | its phase shows |
//! |---|---|---|---|
//! | `v0` | vLLM V0, tensor parallel | with a burst of metadata | in the metadata, or at a later stage |
//! | `v1` | vLLM V1, tensor parallel, the last or only stage | with the forward pass | at the logits |
//! | `stage` | vLLM V1, tensor parallel, other stages | with what the stage before sends | at the last stage |
//! | `pipeline_only` | one rank per stage | with a transfer | in its size |
//!
//! An engine that says itself what its steps are is followed by `marked`, and what it says counts. The recognisers
//! go on beside it, and `disagreement` counts where they would have said something else.
//!
//! A process is a worker of an engine when pynccl shows itself: an AllReduce of one float32 right after a
//! communicator was made. Until its first step, everything is start-up (`warm_up`).

mod burst;
mod captures;
mod disagreement;
mod event;
mod forward;
mod marked;
mod phase;
mod pipeline;
mod pipeline_only;
mod stage;
mod turn;
mod v0;
mod v1;
mod warm_up;

pub use phase::{Label, Phase, Source, Tokens};
pub use pipeline::WAITING_STEPS;
pub(crate) use pipeline::{Awaited, Passage, Told};
pub(crate) use turn::{Place, Settled, Turn};

use crate::timeline::{CommunicatorId, OperationCall};
use captures::Captures;
use disagreement::Disagreement;
use event::Event;
use marked::Marked;
use nccltap_proto::{Datatype, Mark, MarkedPlace, Operation};
use pipeline::{Exchange, Links, Notice, Over};
use pipeline_only::PipelineOnly;
use stage::Stage;
use std::collections::{BTreeMap, BTreeSet};
use v0::V0;
use v1::{Around, V1};
use warm_up::{Shown, WarmUp};

/// Communicators of pynccl that are told apart: a worker has one per parallel group.
const COMMUNICATORS: usize = 32;

/// How the steps of a process are recognised.
#[derive(Clone, Debug, Default)]
enum Engine {
    /// Nothing has shown that there is one.
    #[default]
    None,
    /// A worker that has not begun its first step.
    Starting(Box<WarmUp>),
    /// A worker whose steps no recogniser understands.
    Strange,
    V0(Box<V0>),
    V1(Box<V1>),
    Stage(Box<Stage>),
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
    fn of(steps: u64, tokens: Tokens) -> Self {
        Self { steps, tokens, ..Self::default() }
    }

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
    /// Where the engine says that this worker stands.
    place: Option<MarkedPlace>,
    disagreement: Disagreement,
    counts: BTreeMap<Label, StepCount>,
    captures: Captures,
    /// Elements of the AllGather that came last, of those that were no part of a capture.
    gathered: Option<u64>,
    /// One of as many elements went to a graph.
    captures_logits: bool,
    links: Links,
    exchange: Exchange,
    /// Steps that were left to another stage so far.
    left: u64,
    /// Communicators that pynccl made.
    communicators: BTreeSet<CommunicatorId>,
    /// It is known that no other copy of the model runs in step with this one.
    is_alone: bool,
}

impl Steps {
    /// Whether the process has shown that it is a worker of an engine.
    pub fn is_engine(&self) -> bool {
        self.is_marked() || self.place.is_some() || !matches!(self.engine, Engine::None)
    }

    /// Where the worker stands in the layout, where the engine says so.
    pub fn place(&self) -> Option<MarkedPlace> {
        self.place
    }

    /// Whether the engine says itself what its steps are.
    pub fn is_marked(&self) -> bool {
        self.marked.is_some()
    }

    /// Operations of which the sizes show another phase than the engine says. The engine's word counts.
    pub fn differing(&self) -> u64 {
        self.disagreement.differing()
    }

    /// How many steps there were, and their tokens, by label.
    pub fn counts(&self) -> &BTreeMap<Label, StepCount> {
        &self.counts
    }

    /// Steps that wait for what another stage of the pipeline says of them.
    pub fn waiting(&self) -> usize {
        self.exchange.waiting()
    }

    /// Takes an operation.
    #[inline]
    pub(crate) fn operation(&mut self, call: &OperationCall) -> Turn {
        let event = Event::of(call, &mut self.links);
        self.event(event, 1)
    }

    /// Takes operations that were launched together.
    pub(crate) fn group(&mut self, calls: &[OperationCall]) -> Turn {
        let event = Event::of_group(calls, &mut self.links);
        self.event(event, calls.len() as u64)
    }

    /// Takes what the engine says of its steps and its layout. Says what the operations serve that are held.
    pub(crate) fn mark(&mut self, mark: &Mark) -> Option<Settled> {
        if let Mark::Place(place) = mark {
            self.place = Some(*place);
            return None;
        }
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

    /// Takes an operation that went to a graph.
    #[inline]
    pub(crate) fn captured(&mut self, call: &OperationCall) {
        match call.operation {
            Operation::AllReduce => self.captures.add(call.elements),
            // vLLM computes logits behind its graphs, never in them as SGLang does.
            Operation::AllGather => self.captures_logits |= self.gathered == Some(call.elements),
            _ => {}
        }
    }

    /// A graph with so many AllReduce is launched: they come next.
    pub(crate) fn launch(&mut self, reduces: u64) {
        if let Engine::V1(engine) = &mut self.engine {
            engine.launch(reduces);
        }
    }

    /// Calls may be missing here. What is held is settled so.
    pub(crate) fn gap(&mut self) -> Settled {
        self.links.gap();
        match &mut self.engine {
            Engine::None | Engine::Strange => self.joined_late = true,
            Engine::Starting(_) => self.give_up(),
            Engine::V0(engine) => engine.gap(),
            Engine::V1(engine) => engine.gap(),
            Engine::Stage(engine) => engine.gap(),
            Engine::PipelineOnly(engine) => engine.gap(),
        }
        if let Some(marked) = &mut self.marked {
            marked.gap();
            self.disagreement.sizes_settle(Settled::UNKNOWN);
            self.disagreement.marks_settle(Settled::UNKNOWN);
        }
        Settled::UNKNOWN
    }

    /// Nothing follows. What is held is settled so.
    pub(crate) fn finish(&mut self) -> Settled {
        let over = match &mut self.engine {
            Engine::Stage(engine) => engine.finish(),
            Engine::V0(engine) => engine.finish(),
            _ => None,
        };
        over.map_or(Settled::UNKNOWN, |over| self.leave(over))
    }

    /// What this process knows of steps that other stages wait for.
    pub(crate) fn told(&mut self) -> impl Iterator<Item = Told> {
        self.exchange.told()
    }

    /// Asks for each step that waits for another stage, and gives those with an answer.
    pub(crate) fn ask(
        &mut self,
        answer: impl Fn(&Passage) -> Option<(Label, Tokens)>,
    ) -> Vec<(Awaited, Label, Tokens)> {
        let settled = self.exchange.ask(answer);
        for (_, label, tokens) in &settled {
            self.count(1, *label, *tokens);
        }
        settled
    }

    /// The communicators among whose members there may be other copies of the model, while that is not known.
    pub(crate) fn doubtful(&self) -> Option<&BTreeSet<CommunicatorId>> {
        let asks = matches!(self.engine, Engine::V1(_)) && !self.is_alone;
        (asks && self.communicators.len() > 1).then_some(&self.communicators)
    }

    /// The communicators that transfers between stages went over.
    pub(crate) fn links(&self) -> impl Iterator<Item = CommunicatorId> {
        self.links.communicators()
    }

    /// There are no other copies of the model.
    pub(crate) fn is_alone(&mut self) {
        self.is_alone = true;
    }

    #[inline]
    fn event(&mut self, event: Event, operations: u64) -> Turn {
        let inferred = self.infer(event);
        match self.marked.as_mut().and_then(Marked::operation) {
            None => {
                if let Some((steps, label, tokens)) = inferred.steps {
                    self.count(steps, label, tokens);
                }
                inferred
            }
            Some(turn) => {
                self.disagreement.operations(operations, &inferred, &turn);
                turn
            }
        }
    }

    /// The engine is none that is known: what follows is unknown.
    fn give_up(&mut self) {
        self.engine = Engine::Strange;
        self.joined_late = true;
    }

    #[inline]
    fn infer(&mut self, event: Event) -> Turn {
        if let Event::AllGather { elements, .. } = event {
            self.gathered = Some(elements);
        }
        if self.captures_logits && !matches!(self.engine, Engine::None | Engine::Strange) {
            self.give_up();
            return Turn::unknown().settling(Settled::UNKNOWN);
        }
        let (turn, notice) = match &mut self.engine {
            Engine::V0(engine) => engine.event(event),
            Engine::V1(engine) => {
                let has_partners = self.communicators.len() > 1 && !self.is_alone;
                engine.event(event, &Around { captures: &self.captures, has_partners })
            }
            Engine::Stage(engine) => engine.event(event),
            Engine::PipelineOnly(engine) => (engine.event(event), None),
            Engine::None | Engine::Starting(_) | Engine::Strange => {
                (self.before_first_step(event), None)
            }
        };
        match notice {
            Some(Notice::Over(over)) => turn.settling(self.leave(over)),
            Some(Notice::Known(told)) => {
                self.exchange.tell(told);
                turn
            }
            None => turn,
        }
    }

    fn count(&mut self, steps: u64, label: Label, tokens: Tokens) {
        self.counts.entry(label).or_default().add(StepCount::of(steps, tokens));
    }

    /// Leaves a step to the stage that knows its phase, unless the engine says it itself.
    fn leave(&mut self, over: Over) -> Settled {
        if self.marked.is_some_and(|marked| !marked.is_silent()) {
            return Settled::UNKNOWN;
        }
        let step = self.left;
        self.left += 1;
        let Over { downstream, upstream } = over;
        if self.exchange.wait(Awaited { step, downstream, upstream }).is_some() {
            self.count(1, Label::UNKNOWN, Tokens::NONE);
        }
        Settled::Later(step)
    }

    fn before_first_step(&mut self, event: Event) -> Turn {
        if let Event::AllReduce { communicator, .. } = event
            && event.is_warm_up()
        {
            if self.communicators.len() < COMMUNICATORS {
                self.communicators.insert(communicator);
            }
            if !self.joined_late && matches!(self.engine, Engine::None) {
                self.engine = Engine::Starting(Box::default());
            }
        }
        // Metadata of a V0 step. Of a process that was met late, this may be the first thing seen.
        if matches!(event, Event::Broadcast { datatype: Datatype::Int64, .. })
            && (self.joined_late || matches!(self.engine, Engine::Starting(_)))
        {
            let mut engine = Box::<V0>::default();
            if self.joined_late {
                engine.gap();
            }
            let (turn, _) = engine.event(event);
            self.engine = Engine::V0(engine);
            return match self.joined_late {
                true => turn,
                false => turn.settling(Settled::Now(Label::STARTUP, Tokens::NONE)),
            };
        }
        let Engine::Starting(warm_up) = &mut self.engine else { return Turn::unknown() };
        // vLLM reduces by pynccl in every pass; SGLang, which makes the same communicators, where it captures alone.
        if let Event::AllReduce { communicator, .. } = event
            && !self.communicators.contains(&communicator)
        {
            self.give_up();
            return Turn::unknown().settling(Settled::UNKNOWN);
        }
        let (turn, shown) = warm_up.event(event);
        match shown {
            Shown::Nothing => {}
            Shown::Engine(engine) => self.engine = engine,
            Shown::Strange => self.give_up(),
        }
        turn
    }
}

#[cfg(test)]
mod tests;
