//! What stages of a pipeline tell each other through the collector.
//!
//! Only the last stage sees logits. A step passes from stage to stage in transfers, and both ends of a link count
//! them alike, so a step has the same number at both ends: the number of the first transfer it makes there. A stage
//! that knows a step's phase says so under that number; the stage before it asks for it.

use super::phase::{Label, Phase, Source, Tokens};
use crate::timeline::CommunicatorId;
use std::collections::VecDeque;

/// Links of one process that are counted. A worker has two, or four when the link goes both ways.
const LINKS: usize = 64;

/// Steps of one process that wait for another stage to know their phase. Past it, the oldest stays unknown.
pub const WAITING_STEPS: usize = 4096;

/// A step at one end of a link: the transfer that it begins with there, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) communicator: CommunicatorId,
    pub(crate) peer: i32,
    pub(crate) sends: bool,
    pub(crate) number: u64,
    pub(crate) elements: u64,
}

/// What a step is for, for the stage at the other end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) passage: Passage,
    pub(crate) label: Label,
    pub(crate) tokens: Tokens,
}

/// A step whose phase the next stage knows, or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// Number of the step in this process: its operations are held under it.
    pub(crate) step: u64,
    /// To the next stage.
    pub(crate) downstream: Passage,
    /// From the stage before.
    pub(crate) upstream: Option<Passage>,
}

/// A step that is over, and can wait for what the next stage says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) downstream: Passage,
    pub(super) upstream: Option<Passage>,
}

/// What a recogniser has for other stages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    /// The step before is over, and the next stage knows its phase.
    Over(Over),
    /// The phase of this step is known.
    Known(Told),
}

/// Counts the transfers of one process, per link.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    counts: Vec<((CommunicatorId, i32, bool), u64)>,
    /// Calls were missing: no count is that of the other end any more.
    broken: bool,
}

impl Links {
    /// Counts a transfer. `None` where its number cannot be known.
    pub(super) fn pass(
        &mut self,
        communicator: CommunicatorId,
        peer: i32,
        sends: bool,
        elements: u64,
    ) -> Option<Passage> {
        if self.broken {
            return None;
        }
        let link = (communicator, peer, sends);
        let at = match self.counts.iter().position(|(known, _)| *known == link) {
            Some(at) => at,
            None if self.counts.len() < LINKS => {
                self.counts.push((link, 0));
                self.counts.len() - 1
            }
            None => return None,
        };
        let (_, count) = self.counts.get_mut(at)?;
        let number = *count;
        *count += 1;
        Some(Passage { communicator, peer, sends, number, elements })
    }

    /// The communicators that links are in.
    pub(super) fn communicators(&self) -> impl Iterator<Item = CommunicatorId> {
        self.counts.iter().map(|((communicator, ..), _)| *communicator)
    }

    pub(super) fn gap(&mut self) {
        self.counts.clear();
        self.broken = true;
    }
}

/// The steps that wait, and what is to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    awaited: VecDeque<Awaited>,
    told: VecDeque<Told>,
}

impl Exchange {
    /// Lets a step wait. Gives the step that has to make room.
    pub(super) fn wait(&mut self, awaited: Awaited) -> Option<Awaited> {
        self.awaited.push_back(awaited);
        if self.awaited.len() > WAITING_STEPS { self.awaited.pop_front() } else { None }
    }

    pub(super) fn tell(&mut self, told: Told) {
        if self.told.len() >= WAITING_STEPS {
            self.told.pop_front();
        }
        self.told.push_back(told);
    }

    pub(super) fn told(&mut self) -> impl Iterator<Item = Told> {
        self.told.drain(..)
    }

    /// Steps that wait.
    pub(super) fn waiting(&self) -> usize {
        self.awaited.len()
    }

    /// Asks for each step that waits, and gives those with an answer. What follows from it for the stage before is
    /// told.
    pub(super) fn ask(
        &mut self,
        answer: impl Fn(&Passage) -> Option<(Label, Tokens)>,
    ) -> Vec<(Awaited, Label, Tokens)> {
        let mut settled = Vec::new();
        self.awaited.retain(|awaited| match answer(&awaited.downstream) {
            Some((label, tokens)) => {
                settled.push((*awaited, from_next_stage(label), tokens));
                false
            }
            None => true,
        });
        for (awaited, label, tokens) in &settled {
            if let Some(passage) = awaited.upstream {
                self.tell(Told { passage, label: *label, tokens: *tokens });
            }
        }
        settled
    }
}

fn from_next_stage(label: Label) -> Label {
    match label.phase {
        Phase::Unknown => Label::UNKNOWN,
        phase => Label::known(phase, Source::Pipeline),
    }
}
