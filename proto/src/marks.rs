//! Marks: what an engine itself says of its steps, of its layout and of its all-reduce backends, as records among those of its calls.
//!
//! A mark is a [`Record`] that opens and closes at once. Its number stands where that of a function would,
//! above all of them, so that a reader which does not know marks counts them as functions it does not know.
//!
//! A step:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | `communicator` | requests in prefill | requests in decode |
//! | `stream` | tokens in prefill | tokens in decode |
//! | `count` | speculative tokens | flags |
//!
//! Where a worker stands, rank and size of 16 bits each:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | `communicator` | tensor parallel | pipeline parallel |
//! | `stream` | data parallel | expert parallel |
//!
//! All-reduces given to a backend:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | `communicator` | backend | [`MORE_FOLLOW`] |
//! | `stream` | message bytes of each, 64 bits | |
//! | `count` | how many, 64 bits | |

use crate::record::Record;

/// Numbers of marks begin here; numbers of functions stay below.
const FIRST: u16 = 0x8000;

/// In the flags of a record: nothing is said of the step. What a caller sets here is masked out.
const NOT_DESCRIBED: u32 = 1 << 31;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum MarkKind {
    /// A step begins.
    Begin = FIRST,
    /// What the step under way is.
    Describe = FIRST + 1,
    /// The step is over.
    End = FIRST + 2,
    /// Where this worker stands in the engine's layout.
    Place = FIRST + 3,
    /// All-reduces that were given to a backend.
    Chosen = FIRST + 4,
}

impl MarkKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Begin, Self::Describe, Self::End, Self::Place, Self::Chosen];

    /// The kind with this number, or `None`.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            id if id == Self::Begin as u16 => Some(Self::Begin),
            id if id == Self::Describe as u16 => Some(Self::Describe),
            id if id == Self::End as u16 => Some(Self::End),
            id if id == Self::Place as u16 => Some(Self::Place),
            id if id == Self::Chosen as u16 => Some(Self::Chosen),
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
            Self::Place => "nccltap_place",
            Self::Chosen => "nccltap_chosen",
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

/// A worker's rank among those of one kind of parallelism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RankOf {
    /// From 0.
    pub rank: u16,
    /// How many ranks there are; 0 where nothing is said.
    pub size: u16,
}

impl RankOf {
    /// `None` for a rank that cannot be, and for sizes past 65,535.
    pub fn new(rank: u32, size: u32) -> Option<Self> {
        let (rank, size) = (u16::try_from(rank).ok()?, u16::try_from(size).ok()?);
        (rank < size).then_some(Self { rank, size })
    }

    const fn half(self) -> u32 {
        self.rank as u32 | (self.size as u32) << 16
    }

    fn of_half(half: u32) -> Self {
        Self::new(half & 0xffff, half >> 16).unwrap_or_default()
    }
}

/// Where a worker stands in its engine's layout, as the engine says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkedPlace {
    /// Tensor parallel.
    pub tensor: RankOf,
    /// Pipeline parallel.
    pub pipeline: RankOf,
    /// Data parallel.
    pub data: RankOf,
    /// Expert parallel: among the ranks that share the experts.
    pub expert: RankOf,
}

/// Of a [`Choice`]: the engine says more at once, and has not said all until the last of it.
pub const MORE_FOLLOW: u32 = 1;

/// All-reduces of one size that an engine gave to one of its backends since it said so last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The number of the [`Backend`](crate::Backend).
    pub backend: u32,
    /// How many calls: one that went to a graph under capture counts once, launches of the graph do not.
    pub calls: u64,
    /// Message bytes of each.
    pub message_bytes: u64,
    /// Whether it is followed by another that was said at once.
    pub more_follow: bool,
}

impl Choice {
    /// All-reduces since the last time are not spoken of.
    pub const NOT_SPOKEN_OF: Self =
        Self { backend: 0, calls: 0, message_bytes: 0, more_follow: false };
}

/// One mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A step begins; what it is, where the engine knows already.
    Begin(Option<MarkedStep>),
    /// What the step under way is, where anything is said.
    Describe(Option<MarkedStep>),
    /// The step is over.
    End,
    /// Where this worker stands.
    Place(MarkedPlace),
    /// All-reduces that were given to a backend.
    Chosen(Choice),
}

impl Mark {
    /// What kind of mark it is.
    pub const fn kind(&self) -> MarkKind {
        match self {
            Self::Begin(_) => MarkKind::Begin,
            Self::Describe(_) => MarkKind::Describe,
            Self::End => MarkKind::End,
            Self::Place(_) => MarkKind::Place,
            Self::Chosen(_) => MarkKind::Chosen,
        }
    }

    /// The mark that a record is, or `None` for a record of something else.
    pub fn of(record: &Record) -> Option<Self> {
        Some(match MarkKind::from_id(record.function)? {
            MarkKind::Begin => Self::Begin(step_of(record)),
            MarkKind::Describe => Self::Describe(step_of(record)),
            MarkKind::End => Self::End,
            MarkKind::Place => {
                let [tensor, pipeline] = ranks(record.communicator);
                let [data, expert] = ranks(record.stream);
                Self::Place(MarkedPlace { tensor, pipeline, data, expert })
            }
            MarkKind::Chosen => {
                let (backend, flags) = halves(record.communicator);
                Self::Chosen(Choice {
                    backend,
                    calls: record.count,
                    message_bytes: record.stream,
                    more_follow: flags & MORE_FOLLOW != 0,
                })
            }
        })
    }

    /// The words `communicator`, `stream` and `count` of its record.
    pub fn words(&self) -> [u64; 3] {
        match self {
            Self::Begin(None) | Self::Describe(None) | Self::End => [0, 0, word(0, NOT_DESCRIBED)],
            Self::Begin(Some(step)) | Self::Describe(Some(step)) => [
                word(step.prefill_requests, step.decode_requests),
                word(step.prefill_tokens, step.decode_tokens),
                word(step.speculative_tokens, step.flags & !NOT_DESCRIBED),
            ],
            Self::Place(place) => [
                word(place.tensor.half(), place.pipeline.half()),
                word(place.data.half(), place.expert.half()),
                0,
            ],
            Self::Chosen(choice) => [
                word(choice.backend, if choice.more_follow { MORE_FOLLOW } else { 0 }),
                choice.message_bytes,
                choice.calls,
            ],
        }
    }
}

fn step_of(record: &Record) -> Option<MarkedStep> {
    let (prefill_requests, decode_requests) = halves(record.communicator);
    let (prefill_tokens, decode_tokens) = halves(record.stream);
    let (speculative_tokens, flags) = halves(record.count);
    (flags & NOT_DESCRIBED == 0).then_some(MarkedStep {
        prefill_requests,
        decode_requests,
        prefill_tokens,
        decode_tokens,
        speculative_tokens,
        flags,
    })
}

fn ranks(word: u64) -> [RankOf; 2] {
    let (low, high) = halves(word);
    [RankOf::of_half(low), RankOf::of_half(high)]
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

    fn any_rank() -> impl Strategy<Value = RankOf> {
        (0u32..1 << 16, 0u32..1 << 16).prop_map(|(r, s)| RankOf::new(r, s).unwrap_or_default())
    }

    fn any_step() -> impl Strategy<Value = MarkedStep> {
        any::<[u32; 6]>().prop_map(|numbers| {
            let [
                prefill_requests,
                decode_requests,
                prefill_tokens,
                decode_tokens,
                speculative_tokens,
                flags,
            ] = numbers;
            MarkedStep {
                prefill_requests,
                decode_requests,
                prefill_tokens,
                decode_tokens,
                speculative_tokens,
                flags: flags & !NOT_DESCRIBED,
            }
        })
    }

    fn any_mark() -> impl Strategy<Value = Mark> {
        prop_oneof![
            proptest::option::of(any_step()).prop_map(Mark::Begin),
            proptest::option::of(any_step()).prop_map(Mark::Describe),
            Just(Mark::End),
            [any_rank(), any_rank(), any_rank(), any_rank()].prop_map(
                |[tensor, pipeline, data, expert]| {
                    Mark::Place(MarkedPlace { tensor, pipeline, data, expert })
                }
            ),
            any::<(u32, u64, u64, bool)>().prop_map(
                |(backend, calls, message_bytes, more_follow)| {
                    Mark::Chosen(Choice { backend, calls, message_bytes, more_follow })
                }
            ),
        ]
    }

    #[test]
    fn a_rank_past_its_size_is_none() {
        assert_eq!(RankOf::new(1, 1), None);
        assert_eq!(RankOf::new(0, 1 << 16), None);
        assert_eq!(RankOf::new(0, 1), Some(RankOf { rank: 0, size: 1 }));
    }

    proptest! {
        #[test]
        fn a_mark_comes_back_from_its_record(mark in any_mark()) {
            let [communicator, stream, count] = mark.words();
            let function = mark.kind().id();
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
