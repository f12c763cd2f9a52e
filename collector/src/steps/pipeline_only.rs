//! Steps of a pipeline without tensor parallelism: all that is seen is what stages send each other,
//! (tokens x hidden) elements a transfer.
//!
//! That says little. What is said here:
//!
//! - the first step is prefill: nothing can be decoding before it;
//! - steps of one token are decode. Which size that is shows when the smallest size so far comes several
//!   times in a row and can be a hidden size. A prompt of a dozen tokens or fewer, again and again, with
//!   one token of output, would look the same.
//!
//! Everything else, which is every other step of more than one token, is not known.

use super::event::Event;
use super::phase::{Label, Phase, Source, Tokens};
use super::turn::{Settled, Turn};

/// Largest hidden size of a model that is taken for one.
const LARGEST_HIDDEN: u64 = 20_480;

/// Every hidden size is a multiple of this.
const HIDDEN_MULTIPLE: u64 = 64;

/// Transfers of one size in a row that show it is the size of one token.
const CONFIRMING: u64 = 8;

/// Transfers per step and direction: hidden states and residual.
const PER_STEP: u64 = 2;

const PREFILL: Label = Label::known(Phase::Prefill, Source::Sizes);
const DECODE: Label = Label::known(Phase::Decode, Source::Sizes);

#[derive(Clone, Debug, Default)]
pub(super) struct PipelineOnly {
    /// Size of the transfers of the first step.
    first: u64,
    first_step_is_over: bool,
    /// Largest number of which every size so far is a multiple.
    unit: u64,
    /// The unit is the size of one token.
    confirmed: bool,
    /// A size contradicted it.
    broken: bool,
    /// Size of the latest transfers, and how many there were in a row.
    size: u64,
    in_a_row: u64,
    /// Of the step under way: transfers per direction.
    in_step: [u64; 2],
    /// Steps whose transfers are held, because they may be of one token.
    held: u64,
}

/// What a transfer is part of.
enum Verdict {
    Known(Label),
    Unknown,
    /// A step of one token, if more like it follow.
    Candidate,
}

impl PipelineOnly {
    pub(super) fn event(&mut self, event: Event) -> Turn {
        let Event::Transfer { elements, sends, .. } = event else {
            return Turn::unknown();
        };
        let begins = u64::from(self.begins_step(elements, sends));
        let mut refuted = 0;
        if elements == self.size {
            self.in_a_row += 1;
        } else {
            refuted = std::mem::take(&mut self.held);
            self.size = elements;
            self.in_a_row = 1;
        }
        let turn = match self.verdict(elements, begins > 0) {
            Verdict::Known(label) => {
                let tokens = Tokens::all(label.phase, u64::from(label == DECODE));
                match begins {
                    0 => Turn::now(label, tokens),
                    _ => Turn::now(label, tokens).step(label, tokens),
                }
            }
            Verdict::Unknown if begins + refuted > 0 => {
                Turn::unknown().unknown_steps(begins + refuted)
            }
            Verdict::Unknown => Turn::unknown(),
            Verdict::Candidate => {
                self.held += begins;
                let turn = match refuted {
                    0 => Turn::HOLD,
                    _ => Turn::HOLD.unknown_steps(refuted),
                };
                match self.in_a_row < CONFIRMING {
                    true => turn,
                    false => self.confirm(),
                }
            }
        };
        match refuted {
            0 => turn,
            _ => turn.settling(Settled::UNKNOWN),
        }
    }

    /// Calls may be missing here.
    pub(super) fn gap(&mut self) {
        self.first_step_is_over = true;
        self.size = 0;
        self.in_a_row = 0;
        self.in_step = [0; 2];
        self.held = 0;
    }

    fn confirm(&mut self) -> Turn {
        self.confirmed = true;
        let steps = std::mem::take(&mut self.held);
        let tokens = Tokens::all(Phase::Decode, steps);
        Turn::HOLD.then(Settled::Now(DECODE, tokens)).steps(steps, DECODE, tokens)
    }

    fn begins_step(&mut self, elements: u64, sends: bool) -> bool {
        let [received, sent] = self.in_step;
        // A stage receives all of a step before it sends any of it.
        let begins = elements != self.size
            || match sends {
                true => sent >= PER_STEP,
                false => received >= PER_STEP || sent > 0,
            };
        if begins {
            self.in_step = [0; 2];
        }
        self.in_step[usize::from(sends)] += 1;
        begins
    }

    fn verdict(&mut self, elements: u64, begins: bool) -> Verdict {
        if elements == 0 {
            return Verdict::Unknown;
        }
        if self.unit == 0 {
            self.first = elements;
        } else {
            self.first_step_is_over |= begins;
        }
        let before = self.unit;
        self.unit = gcd(before, elements);
        if self.confirmed && self.unit != before {
            self.broken = true;
        }
        if self.broken {
            return Verdict::Unknown;
        }
        if !self.first_step_is_over {
            return Verdict::Known(PREFILL);
        }
        if elements != self.unit {
            return Verdict::Unknown;
        }
        if self.confirmed {
            return Verdict::Known(DECODE);
        }
        let can_be_one_token = self.unit < self.first
            && self.unit <= LARGEST_HIDDEN
            && self.unit.is_multiple_of(HIDDEN_MULTIPLE);
        if can_be_one_token { Verdict::Candidate } else { Verdict::Unknown }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
