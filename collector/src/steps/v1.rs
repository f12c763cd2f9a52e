//! Steps of vLLM's V1 engine in a tensor-parallel group, where the logits are: the last pipeline stage, or the
//! only one.
//!
//! A step is a forward pass, every AllReduce of which has (tokens x hidden) elements, and then one
//! AllGather of the logits with (rows x part of the vocabulary) elements. Neither hidden size nor
//! vocabulary are known, but their ratio is: the engine's last act before it serves is a dummy run with
//! one row per token (`compile_or_warm_up_model` in `v1/worker/gpu_worker.py`). What runs from CUDA graphs is
//! padded to a size that was captured before. So
//!
//! - more tokens than the rows can be padded to: some sequence is a prompt. All are when there is one
//!   row, or when none can be running yet;
//! - one row per token, or a graph that holds such steps only: decode, unless a sequence is new or a prompt may
//!   be half computed;
//! - tokens that are the rows, padded: the same, known less well: a prompt of which fewer tokens are left than
//!   the padding has would not show.
//!
//! Rows are one per sequence, of half computed prompts too, so a new sequence shows as one more row. A
//! prompt is cut only where a step is as large as the engine allows, which its profiling run shows.

use super::captures::Captures;
use super::event::Event;
use super::forward::{Forward, Run};
use super::phase::{Label, Phase, Source, Tokens};
use super::pipeline::{Notice, Passage, Told};
use super::turn::{Settled, Turn};

/// In a pipeline, steps of other batches come in between: what was true of one of so many steps may be true of
/// the next one.
const STEPS_OF_OTHERS: usize = 16;

/// The engine at work.
#[derive(Clone, Debug)]
pub(super) struct V1 {
    /// The largest step there can be.
    profile: Run,
    /// The run with one row per token.
    dummy: Run,
    forward: Forward,
    /// The step is not understood, and nothing is held until its logits.
    lost: bool,
    /// Where the step came from, in a pipeline.
    received: Option<Passage>,
    batches: Batches,
    /// What follows a step without being a forward pass belongs to it.
    latest: Label,
}

/// What is known of the sequences that may be running.
#[derive(Clone, Debug)]
struct Batches {
    /// Per step, the latest one last: elements of its logits, and whether a prompt may have been cut.
    before: Vec<(u64, bool)>,
    /// No step was missed since the first one.
    from_the_first: bool,
    pipelined: bool,
}

/// Tokens of a step against its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    More,
    /// As many, but for padding.
    Padded,
    Same,
    /// What no step can be.
    Odd,
}

impl V1 {
    /// An engine that has made its profiling run and its last dummy run.
    pub(super) fn new(profile: Run, dummy: Run) -> Self {
        Self {
            profile,
            dummy,
            forward: Forward::default(),
            lost: false,
            received: None,
            batches: Batches { before: Vec::new(), from_the_first: true, pipelined: false },
            latest: Label::UNKNOWN,
        }
    }

    #[inline]
    pub(super) fn event(&mut self, event: Event, around: &Around<'_>) -> (Turn, Option<Notice>) {
        let turn = match event {
            Event::AllReduce { communicator, elements, graph, .. } => {
                self.forward.add(communicator, elements, graph);
                if self.lost {
                    Turn::unknown()
                } else if self.forward.reduces > self.dummy.reduces {
                    self.lost = true;
                    Turn::unknown().settling(Settled::UNKNOWN)
                } else {
                    Turn::HOLD
                }
            }
            Event::AllGather { elements, .. } if !self.forward.is_empty() => {
                return self.logits(elements, around);
            }
            Event::Transfer { passage, .. } if self.forward.is_empty() => {
                self.batches.pipelined = true;
                self.received = self.received.or(passage);
                Turn::HOLD
            }
            // Each rank got its part of the hidden states.
            Event::AllGather { .. } if self.received.is_some() => Turn::HOLD,
            // Logits of a forward pass that NCCL sees nothing of (vLLM's custom all-reduce), for all that is known.
            Event::AllGather { .. } => {
                self.batches.missed();
                self.latest = Label::UNKNOWN;
                Turn::unknown().unknown_steps(1)
            }
            _ if !self.forward.is_empty() && !self.lost => {
                self.forward.irregular = true;
                Turn::HOLD
            }
            // Tokens that were sampled, for the other stages.
            Event::Broadcast { .. } if self.received.is_none() && !self.lost => {
                Turn::now(self.latest, Tokens::NONE)
            }
            _ => Turn::unknown(),
        };
        (turn, None)
    }

    /// A graph with so many AllReduce is launched.
    #[inline]
    pub(super) fn launch(&mut self, reduces: u64) {
        self.forward.launch(reduces);
    }

    /// Calls may be missing here.
    pub(super) fn gap(&mut self) {
        self.forward = Forward::default();
        self.lost = false;
        self.received = None;
        self.latest = Label::UNKNOWN;
        self.batches.missed();
    }

    fn logits(&mut self, gathered: u64, around: &Around<'_>) -> (Turn, Option<Notice>) {
        let forward = std::mem::take(&mut self.forward);
        let lost = std::mem::take(&mut self.lost);
        let received = self.received.take();
        let whole = !lost && !forward.irregular && forward.reduces == self.dummy.reduces;
        let label = match whole {
            true => self.classify(&forward, gathered, around),
            false => {
                self.batches.missed();
                Label::UNKNOWN
            }
        };
        self.latest = label;
        let tokens = self.tokens(label.phase, &forward, gathered, around.captures);
        let turn = match lost {
            true => Turn::unknown().unknown_steps(1),
            false => Turn::HOLD.then(Settled::Now(label, tokens)).step(label, tokens),
        };
        (turn, received.map(|passage| Notice::Known(Told { passage, label, tokens })))
    }

    /// Tokens of a step, where it is known how large one is. Those of prompts may be padded; rows are not.
    fn tokens(
        &self,
        phase: Phase,
        forward: &Forward,
        gathered: u64,
        captures: &Captures,
    ) -> Tokens {
        let elements = match phase {
            Phase::Decode => self.of_rows(gathered),
            _ => Some(forward.elements),
        };
        let tokens = elements.zip(captures.one_token()).map(|(elements, one)| elements / one);
        tokens.map_or(Tokens::NONE, |tokens| Tokens::all(phase, tokens))
    }

    fn classify(&mut self, forward: &Forward, gathered: u64, around: &Around<'_>) -> Label {
        let relation = self.relation(forward, gathered, around.captures);
        let one_token = around.captures.one_token();
        let one_row = one_token.is_some() && self.of_rows(gathered) == one_token;
        let none_running = self.batches.none_running();
        let may_be_cut = self.batches.may_be_cut();
        let no_more_rows = gathered <= self.batches.most_rows();
        // With graphs, copies of the model that run in step are padded to the largest one's size.
        let padded_by_others = around.has_partners && !around.captures.is_empty();
        let phase = match relation {
            Relation::Odd => Phase::Unknown,
            Relation::More if padded_by_others => Phase::Unknown,
            // One more dummy run, for all that can be seen.
            _ if none_running && gathered == self.dummy.gathered => Phase::Unknown,
            _ if none_running => Phase::Prefill,
            Relation::More if one_row => Phase::Prefill,
            Relation::More => Phase::Unknown,
            Relation::Same | Relation::Padded if no_more_rows && !may_be_cut => Phase::Decode,
            Relation::Same | Relation::Padded => Phase::Unknown,
        };
        let cut = relation != Relation::Same && forward.elements >= self.profile.reduced;
        self.batches.add(gathered, cut);
        let source = match (phase, relation) {
            (Phase::Decode, Relation::Padded) => Source::Padding,
            (Phase::Decode, _) if forward.is_one_graph() => Source::Graph,
            _ => Source::Rows,
        };
        match phase {
            Phase::Unknown => Label::UNKNOWN,
            _ => Label::known(phase, source),
        }
    }

    /// Elements of a forward pass with as many tokens as there are rows in logits of this size.
    fn of_rows(&self, gathered: u64) -> Option<u64> {
        let elements = u128::from(self.dummy.reduced) * u128::from(gathered);
        let each = u128::from(self.dummy.gathered);
        let whole = elements.is_multiple_of(each).then(|| u64::try_from(elements / each).ok());
        whole.flatten()
    }

    fn relation(&self, forward: &Forward, gathered: u64, captures: &Captures) -> Relation {
        let Some(rows) = self.of_rows(gathered) else { return Relation::Odd };
        if !forward.from_graphs {
            return match forward.elements.cmp(&rows) {
                _ if forward.elements > self.profile.reduced => Relation::Odd,
                std::cmp::Ordering::Less => Relation::Odd,
                std::cmp::Ordering::Equal => Relation::Same,
                std::cmp::Ordering::Greater => Relation::More,
            };
        }
        let largest = captures.padded(self.profile.reduced);
        let (Some(padded), Some(largest)) = (captures.padded(rows), largest) else {
            return Relation::Odd;
        };
        match forward.elements.cmp(&padded) {
            _ if forward.elements > largest => Relation::Odd,
            std::cmp::Ordering::Less => Relation::Odd,
            std::cmp::Ordering::Greater => Relation::More,
            _ if padded == rows => Relation::Same,
            _ if forward.is_one_graph() && captures.in_two_ways(forward.reduces) => Relation::Same,
            _ => Relation::Padded,
        }
    }
}

impl Batches {
    fn add(&mut self, rows: u64, cut: bool) {
        let most = if self.pipelined { STEPS_OF_OTHERS } else { 1 };
        while self.before.len() >= most {
            self.before.remove(0);
        }
        self.before.push((rows, cut));
    }

    /// A step was not understood: any sequence may be running now.
    fn missed(&mut self) {
        self.from_the_first = false;
        self.add(u64::MAX, true);
    }

    fn none_running(&self) -> bool {
        self.before.is_empty() && self.from_the_first
    }

    fn may_be_cut(&self) -> bool {
        self.before.iter().any(|(_, cut)| *cut)
    }

    fn most_rows(&self) -> u64 {
        self.before.iter().map(|(rows, _)| *rows).max().unwrap_or(0)
    }
}

/// What is known around the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) captures: &'a Captures,
    /// There may be copies of the model that run in step with this one.
    pub(super) has_partners: bool,
}
