//! Marks: what an engine itself says of its steps, as records among those of its calls.
//!
//! A mark is a [`Record`] that opens and closes at once. Its number stands where that of a function would,
//! above all of them, so that a reader which does not know marks counts them as functions it does not know.
//!
//! | word | low half | high half |
//! |---|---|---|
//! | `communicator` | requests in prefill | requests in decode |
//! | `stream` | tokens in prefill | tokens in decode |
//! | `count` | speculative tokens | flags |

use crate::record::Record;

/// Numbers of marks begin here; numbers of functions stay below.
const FIRST: u16 = 0x8000;

/// In the flags of a record: nothing is said of the step. What a caller sets here is masked out.
const NOT_DESCRIBED: u32 = 1 << 31;

/// Where a mark stands in its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum MarkKind {
    /// A step begins.
    Begin = FIRST,
    /// What the step under way is.
    Describe = FIRST + 1,
    /// The step is over.
    End = FIRST + 2,
}

impl MarkKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Begin, Self::Describe, Self::End];

    /// The kind with this number, or `None`.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            id if id == Self::Begin as u16 => Some(Self::Begin),
            id if id == Self::Describe as u16 => Some(Self::Describe),
            id if id == Self::End as u16 => Some(Self::End),
            _ => None,
        }
    }

    /// The number that stands for it in records.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The function of `nccltap.h` that makes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "nccltap_step_begin",
            Self::Describe => "nccltap_step_describe",
            Self::End => "nccltap_step_end",
        }
    }
}

/// What an engine says of a step. `agent/include/nccltap.h` explains the fields to engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkedStep {
    /// Requests that compute tokens of their prompt.
    pub prefill_requests: u32,
    /// Requests that generate.
    pub decode_requests: u32,
    /// Tokens of prompts.
    pub prefill_tokens: u32,
    /// Tokens of requests that generate, speculative ones among them.
    pub decode_tokens: u32,
    /// Of those: guesses of a draft.
    pub speculative_tokens: u32,
    /// [`DUMMY`], [`WARM_UP`], [`CAPTURE`], [`PROFILE`], [`CONTINUED`].
    pub flags: u32,
}

/// A run for no request: an idle partner of a data-parallel group keeps in step.
pub const DUMMY: u32 = 1;
/// A run that warms the engine up.
pub const WARM_UP: u32 = 1 << 1;
/// A run whose work goes to CUDA graphs.
pub const CAPTURE: u32 = 1 << 2;
/// A run that measures how much memory a step takes.
pub const PROFILE: u32 = 1 << 3;
/// The rest of the step that was marked last, e.g. its sampling: not one more step.
pub const CONTINUED: u32 = 1 << 4;

impl MarkedStep {
    /// Whether the step serves no request.
    pub const fn is_startup(&self) -> bool {
        self.flags & (DUMMY | WARM_UP | CAPTURE | PROFILE) != 0
    }

    /// Whether it is the rest of the step that was marked last.
    pub const fn is_continued(&self) -> bool {
        self.flags & CONTINUED != 0
    }
}

/// One mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where it stands in its step.
    pub kind: MarkKind,
    /// What the step is, where the engine says so.
    pub step: Option<MarkedStep>,
}

impl Mark {
    /// The mark that a record is, or `None` for a record of something else.
    pub fn of(record: &Record) -> Option<Self> {
        let kind = MarkKind::from_id(record.function)?;
        let (prefill_requests, decode_requests) = halves(record.communicator);
        let (prefill_tokens, decode_tokens) = halves(record.stream);
        let (speculative_tokens, flags) = halves(record.count);
        let step = (flags & NOT_DESCRIBED == 0).then_some(MarkedStep {
            prefill_requests,
            decode_requests,
            prefill_tokens,
            decode_tokens,
            speculative_tokens,
            flags,
        });
        Some(Self { kind, step })
    }

    /// The words `communicator`, `stream` and `count` of its record.
    pub fn words(&self) -> [u64; 3] {
        match self.step {
            None => [0, 0, word(0, NOT_DESCRIBED)],
            Some(step) => [
                word(step.prefill_requests, step.decode_requests),
                word(step.prefill_tokens, step.decode_tokens),
                word(step.speculative_tokens, step.flags & !NOT_DESCRIBED),
            ],
        }
    }
}

fn word(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::Function;
    use proptest::prelude::*;

    #[test]
    fn no_function_has_the_number_of_a_mark() {
        for kind in MarkKind::ALL {
            assert_eq!(Function::from_id(kind.id()), None);
            assert_eq!(MarkKind::from_id(kind.id()), Some(kind));
        }
        assert!(Function::ALL.iter().all(|function| function.id() < FIRST));
    }

    proptest! {
        #[test]
        fn a_mark_comes_back_from_its_record(numbers: [u32; 6], kind in 0usize..3, described: bool) {
            let [prefill_requests, decode_requests, prefill_tokens, decode_tokens, speculative_tokens, flags] =
                numbers;
            let step = MarkedStep {
                prefill_requests,
                decode_requests,
                prefill_tokens,
                decode_tokens,
                speculative_tokens,
                flags: flags & !NOT_DESCRIBED,
            };
            let mark = Mark { kind: MarkKind::ALL[kind], step: described.then_some(step) };
            let [communicator, stream, count] = mark.words();
            let function = mark.kind.id();
            let record = Record { communicator, stream, count, function, ..Record::default() };
            prop_assert_eq!(Mark::of(&record), Some(mark));
        }

        #[test]
        fn a_record_of_a_function_is_no_mark(words: [u64; 8], function in 0u16..FIRST) {
            let record = Record { function, ..Record::from_words(words) };
            prop_assert_eq!(Mark::of(&record), None);
        }
    }
}
