//! Steps of vLLM's V0 engine in a tensor-parallel group.
//!
//! Each step begins with a [burst](super::burst) of metadata, which says how many tokens and how many
//! sequences the step has. So the phase is known before the forward pass begins, on every pipeline
//! stage:
//!
//! - without block tables, every sequence is a fresh prompt, and chunked prefill is off: with it,
//!   prompts have block tables too;
//! - more tokens than sequences: some sequence is a prompt. All of them are when chunked prefill is
//!   off, when there is one sequence, or when none can be running yet;
//! - as many tokens as sequences: decode, if as many sequences can be running and no prompt is half
//!   computed. What is left of a prompt may be a single token.
//!
//! Everything else is not known here. What a stage cannot tell that sees no rows, a later one may
//! ([`super::pipeline`]).

use super::burst::{Burst, Metadata};
use super::event::Event;
use super::phase::{Label, Phase, Source, Tokens};
use super::pipeline::{Notice, Over, Passage, Told};
use super::turn::{Settled, Turn};
use crate::timeline::CommunicatorId;
use nccltap_proto::Datatype;

/// With several virtual engines, a prompt that is half computed may not go on at once: after so many
/// steps without one, there is none.
const STEPS_OF_OTHERS: u32 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No step is under way.
    #[default]
    Between,
    /// Metadata is coming.
    Burst,
    /// What came was no metadata, and more of it may come.
    Broken,
    /// The forward pass and what follows it, counted as it comes.
    Step,
}

#[derive(Clone, Debug, Default)]
pub(super) struct V0 {
    state: State,
    /// Communicator that the metadata comes on.
    metadata_on: Option<CommunicatorId>,
    burst: Burst,
    step: Option<Metadata>,
    label: Option<(Label, Tokens)>,
    /// Communicator and size of the AllReduce that came last.
    reduced: Option<(CommunicatorId, u64)>,
    sequences: Running,
    /// Where the step came from, in a pipeline.
    upstream: Option<Passage>,
    /// Where it went.
    downstream: Option<Passage>,
    /// Its phase is for the next stage to say, and it is held until it is over.
    left: bool,
}

/// What is known of the sequences the engine works on.
#[derive(Clone, Debug, Default)]
struct Running {
    /// At most so many can be decoding.
    most: u64,
    chunked_prefill_is_off: bool,
    /// So many steps from now on, a prompt may be half computed.
    half_computed: u32,
    /// This stage is told rows of logits: it is the last one.
    last_stage: bool,
    /// There are pipeline stages, and so several virtual engines.
    pipelined: bool,
}

impl V0 {
    pub(super) fn event(&mut self, event: Event) -> (Turn, Option<Notice>) {
        match event {
            Event::AllReduce { communicator, elements, .. }
                if self.state == State::Step && self.reduced == Some((communicator, elements)) =>
            {
                (self.here(), None)
            }
            Event::Broadcast { communicator, datatype, elements }
                if self.metadata_on.is_none_or(|known| known == communicator) =>
            {
                let over = self.over();
                let turn = self.broadcast(communicator, datatype, elements);
                (turn, over)
            }
            Event::Transfer { communicator, sends, passage, .. }
                if self.metadata_on != Some(communicator) =>
            {
                let turn = self.other(event);
                (turn, self.pass(sends, passage))
            }
            _ => (self.other(event), None),
        }
    }

    /// Nothing follows. Gives the step that was under way, if the next stage can say what it was.
    pub(super) fn finish(&mut self) -> Option<Over> {
        match self.over() {
            Some(Notice::Over(over)) => Some(over),
            _ => None,
        }
    }

    /// The step under way is over when metadata comes.
    fn over(&mut self) -> Option<Notice> {
        let left = self.left && self.state == State::Step;
        let downstream = self.downstream.filter(|_| left)?;
        self.left = false;
        Some(Notice::Over(Over { downstream, upstream: self.upstream }))
    }

    /// The step comes from another stage, or goes to one.
    fn pass(&mut self, sends: bool, passage: Option<Passage>) -> Option<Notice> {
        if self.state != State::Step {
            return None;
        }
        let end = if sends { &mut self.downstream } else { &mut self.upstream };
        let is_first = end.is_none();
        *end = end.or(passage);
        let (label, tokens) = self.label?;
        let told = passage.filter(|_| is_first && !sends && !self.left);
        told.map(|passage| Notice::Known(Told { passage, label, tokens }))
    }

    /// Calls may be missing here.
    pub(super) fn gap(&mut self) {
        self.state = State::Between;
        self.left = false;
        self.sequences.most = u64::MAX;
        self.sequences.half_computed = STEPS_OF_OTHERS;
    }

    fn here(&self) -> Turn {
        if self.left {
            return Turn::HOLD;
        }
        let (label, tokens) = self.label.unwrap_or((Label::UNKNOWN, Tokens::default()));
        Turn::now(label, tokens)
    }

    fn broadcast(
        &mut self,
        communicator: CommunicatorId,
        datatype: Datatype,
        elements: u64,
    ) -> Turn {
        match self.state {
            State::Burst if self.burst.push(datatype, elements) => Turn::HOLD,
            State::Burst => {
                self.state = State::Broken;
                self.missed();
                Turn::unknown().settling(Settled::UNKNOWN).unknown_steps(1)
            }
            State::Broken => Turn::unknown(),
            State::Between | State::Step => {
                // Left to a stage that it never went to.
                let lost = std::mem::take(&mut self.left);
                self.burst.clear();
                let turn = if self.burst.push(datatype, elements) {
                    self.state = State::Burst;
                    self.metadata_on = Some(communicator);
                    Turn::HOLD
                } else {
                    self.state = State::Between;
                    Turn::unknown()
                };
                match lost {
                    true => turn.settling(Settled::UNKNOWN).unknown_steps(1),
                    false => turn,
                }
            }
        }
    }

    fn other(&mut self, event: Event) -> Turn {
        let mut turn = match self.state {
            State::Between | State::Broken => {
                self.state = State::Between;
                return Turn::unknown();
            }
            State::Burst => {
                let whole = self.burst.metadata().filter(|meta| self.fits(event, meta));
                let Some(metadata) = whole else {
                    self.state = State::Between;
                    self.missed();
                    return Turn::unknown().settling(Settled::UNKNOWN).unknown_steps(1);
                };
                let graph = matches!(event, Event::AllReduce { graph: true, .. });
                self.begin(metadata, graph)
            }
            State::Step => self.here(),
        };
        match event {
            Event::AllReduce { communicator, elements, .. } => {
                let fits = self.step.is_some_and(|step| elements.is_multiple_of(step.tokens));
                if !fits {
                    return self.leave(turn);
                }
                self.reduced = Some((communicator, elements));
            }
            Event::Transfer { communicator, sends, .. }
                if Some(communicator) == self.metadata_on =>
            {
                // The logits are gathered, and the step is over.
                self.state = State::Between;
                turn.gathers = !sends;
            }
            Event::Transfer { .. } => {
                self.sequences.pipelined = true;
            }
            _ => {}
        }
        turn
    }

    /// What comes does not belong to the step that is under way.
    fn leave(&mut self, turn: Turn) -> Turn {
        self.state = State::Between;
        match std::mem::take(&mut self.left) {
            true => Turn::unknown().settling(Settled::UNKNOWN).unknown_steps(1),
            false => Turn { before: turn.before, steps: turn.steps, ..Turn::unknown() },
        }
    }

    /// Whether the first operation after the burst can follow such a burst.
    fn fits(&self, event: Event, metadata: &Metadata) -> bool {
        match event {
            Event::AllReduce { elements, .. } => elements.is_multiple_of(metadata.tokens),
            Event::Transfer { communicator, elements, .. }
                if Some(communicator) == self.metadata_on =>
            {
                // No forward pass on NCCL at all: the logits come next.
                metadata.rows.is_some_and(|rows| rows > 0 && elements.is_multiple_of(rows))
            }
            _ => true,
        }
    }

    fn begin(&mut self, metadata: Metadata, graph: bool) -> Turn {
        self.step = Some(metadata);
        self.reduced = None;
        let (label, tokens) = self.sequences.classify(&metadata, graph);
        self.label = Some((label, tokens));
        self.state = State::Step;
        self.upstream = None;
        self.downstream = None;
        let another_knows = self.sequences.pipelined && !self.sequences.last_stage;
        self.left = label == Label::UNKNOWN && another_knows;
        if self.left {
            return Turn::HOLD;
        }
        let settled = Settled::Now(label, tokens);
        Turn::now(label, tokens).settling(settled).step(label, tokens)
    }

    /// A step was not understood: any sequence may be running now.
    fn missed(&mut self) {
        if self.step.is_none() {
            self.metadata_on = None;
        }
        self.sequences.most = u64::MAX;
        self.sequences.half_computed = STEPS_OF_OTHERS;
    }
}

impl Running {
    fn classify(&mut self, step: &Metadata, graph: bool) -> (Label, Tokens) {
        self.last_stage |= step.rows.is_some();
        let half_computed = self.half_computed > 0 && !self.chunked_prefill_is_off;
        let phase = if graph {
            // V0 captures nothing else. Sequences and tokens are padded alike.
            match step.tokens == step.sequences {
                true => Phase::Decode,
                false => Phase::Unknown,
            }
        } else if !step.block_tables {
            self.chunked_prefill_is_off = true;
            Phase::Prefill
        } else if step.tokens > step.sequences {
            // A sequence that decodes has a row of logits.
            let no_rows = self.last_stage && step.rows.is_none();
            let certain = self.chunked_prefill_is_off || step.sequences == 1 || self.most == 0;
            if certain || no_rows { Phase::Prefill } else { Phase::Unknown }
        } else if self.most == 0 {
            Phase::Prefill
        } else if step.sequences <= self.most && !half_computed {
            Phase::Decode
        } else {
            Phase::Unknown
        };
        self.update(step, phase, graph);
        match phase {
            Phase::Unknown => (Label::UNKNOWN, Tokens::default()),
            _ => {
                // Decodes may be padded to the size of a CUDA graph; rows are not.
                let tokens = match phase {
                    Phase::Decode => step.rows.unwrap_or(step.tokens),
                    _ => step.tokens,
                };
                let source = if graph { Source::Graph } else { Source::Metadata };
                (Label::known(phase, source), Tokens::all(phase, tokens))
            }
        }
    }

    fn update(&mut self, step: &Metadata, phase: Phase, graph: bool) {
        match phase {
            // All that run are decoded together; those of other virtual engines are not in here.
            Phase::Decode if self.pipelined => {}
            Phase::Decode => self.most = step.sequences,
            _ => self.most = self.most.saturating_add(step.sequences),
        }
        let rows = if self.last_stage { step.rows.unwrap_or(0) } else { 0 };
        if graph {
            // Rows are fewer than sequences because of the padding.
            return;
        }
        let some_left = rows < step.sequences && (self.last_stage || step.tokens > step.sequences);
        self.half_computed = match (some_left, self.pipelined) {
            (true, false) => 1,
            (true, true) => STEPS_OF_OTHERS,
            // Only the stage that sees rows can tell that nothing is left.
            (false, _) if self.last_stage => self.half_computed.saturating_sub(1),
            (false, _) => self.half_computed,
        };
    }
}
