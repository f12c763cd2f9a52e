//! Steps of vLLM's V1 engine in a tensor-parallel group.
//!
//! A step is a forward pass, every AllReduce of which has (tokens x hidden) elements, and then one
//! AllGather of the logits with (rows x part of the vocabulary) elements. Neither hidden size nor
//! vocabulary are known, but their ratio is: the engine's last act before it serves is a dummy run with
//! one row per token (`compile_or_warm_up_model` in `v1/worker/gpu_worker.py` of 0.8.5). So
//!
//! - one row per token: decode, unless a sequence is new or a prompt may be half computed;
//! - more tokens than rows: some sequence is a prompt. All are when none can be running yet.
//!
//! Rows are one per sequence, of half computed prompts too, so a new sequence shows as one more row. A
//! prompt is cut only where a step is as large as the engine allows, which its profiling run shows.

use super::event::Event;
use super::phase::{Label, Phase, Source, Tokens};
use super::turn::{Settled, Turn};
use crate::timeline::CommunicatorId;

/// A forward pass: how often and how much is reduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Forward {
    communicator: Option<CommunicatorId>,
    elements: u64,
    reduces: u64,
    /// Something else came in between.
    irregular: bool,
}

impl Forward {
    fn add(&mut self, communicator: CommunicatorId, elements: u64) {
        if self.reduces == 0 {
            self.communicator = Some(communicator);
            self.elements = elements;
        }
        let same = self.communicator == Some(communicator) && self.elements == elements;
        self.irregular |= !same;
        self.reduces += 1;
    }
}

/// A forward pass with its logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    reduces: u64,
    reduced: u64,
    gathered: u64,
}

/// What the runs before the first request show.
#[derive(Clone, Debug, Default)]
pub(super) struct WarmUp {
    forward: Forward,
    profile: Option<Run>,
    /// What came after the profiling run was not the run that this engine is known to make.
    strange: bool,
}

impl WarmUp {
    /// Takes the next event. Gives the engine when the last dummy run is over.
    pub(super) fn event(&mut self, event: Event) -> Option<V1> {
        match event {
            Event::AllReduce { communicator, elements, .. } => {
                let forward = &mut self.forward;
                if forward.communicator != Some(communicator) || forward.elements != elements {
                    *forward = Forward::default();
                }
                forward.add(communicator, elements);
                None
            }
            Event::AllGather { elements, .. } => self.logits(elements),
            _ => {
                self.forward = Forward::default();
                None
            }
        }
    }

    /// Whether the engine is none that is known, and may be serving already.
    pub(super) fn is_strange(&self) -> bool {
        self.strange
    }

    fn logits(&mut self, gathered: u64) -> Option<V1> {
        let forward = std::mem::take(&mut self.forward);
        let run = Run { reduces: forward.reduces, reduced: forward.elements, gathered };
        if run.reduces == 0 || run.gathered == 0 {
            return None;
        }
        let Some(profile) = self.profile else {
            self.profile = Some(run);
            return None;
        };
        // Both runs are for as many sequences as the engine allows.
        let is_last = run.gathered == profile.gathered
            && run.reduces == profile.reduces
            && run.reduced <= profile.reduced;
        self.strange |= !is_last;
        is_last.then(|| V1 {
            profile,
            dummy: run,
            forward: Forward::default(),
            lost: false,
            rows_before: 0,
            may_be_cut: false,
        })
    }
}

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
    /// Rows of the step before, times the part of the vocabulary: 0 when none can be running.
    rows_before: u64,
    /// A prompt may be half computed.
    may_be_cut: bool,
}

impl V1 {
    #[inline]
    pub(super) fn event(&mut self, event: Event) -> Turn {
        match event {
            Event::AllReduce { communicator, elements, .. } => {
                self.forward.add(communicator, elements);
                if self.lost {
                    return Turn::unknown();
                }
                if self.forward.reduces > self.dummy.reduces {
                    self.lost = true;
                    return Turn::unknown().settling(Settled::UNKNOWN);
                }
                Turn::HOLD
            }
            Event::AllGather { elements, .. } if self.forward.reduces > 0 => self.logits(elements),
            _ if self.forward.reduces > 0 && !self.lost => {
                self.forward.irregular = true;
                Turn::HOLD
            }
            _ => Turn::unknown(),
        }
    }

    /// Calls may be missing here.
    pub(super) fn gap(&mut self) {
        self.forward = Forward::default();
        self.lost = false;
        self.rows_before = u64::MAX;
        self.may_be_cut = true;
    }

    fn logits(&mut self, gathered: u64) -> Turn {
        let forward = std::mem::take(&mut self.forward);
        let lost = std::mem::take(&mut self.lost);
        let whole = !lost && !forward.irregular && forward.reduces == self.dummy.reduces;
        let label = match whole {
            true => self.classify(forward.elements, gathered),
            false => {
                self.rows_before = u64::MAX;
                self.may_be_cut = true;
                Label::UNKNOWN
            }
        };
        match lost {
            true => Turn::unknown().unknown_steps(1),
            false => {
                let tokens = Tokens::default();
                Turn::HOLD.then(Settled(label, tokens)).step(label, tokens)
            }
        }
    }

    fn classify(&mut self, reduced: u64, gathered: u64) -> Label {
        let tokens = u128::from(reduced) * u128::from(self.dummy.gathered);
        let rows = u128::from(self.dummy.reduced) * u128::from(gathered);
        let phase = if tokens < rows || reduced > self.profile.reduced {
            Phase::Unknown
        } else if self.rows_before == 0 && gathered == self.dummy.gathered {
            // One more dummy run, for all that can be seen.
            Phase::Unknown
        } else if self.rows_before == 0 {
            Phase::Prefill
        } else if tokens == rows && gathered <= self.rows_before && !self.may_be_cut {
            Phase::Decode
        } else {
            Phase::Unknown
        };
        self.rows_before = gathered;
        self.may_be_cut = tokens > rows && reduced == self.profile.reduced;
        match phase {
            Phase::Unknown => Label::UNKNOWN,
            _ => Label::known(phase, Source::Rows),
        }
    }
}
