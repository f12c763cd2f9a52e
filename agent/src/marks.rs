//! Marks of engine steps: the functions that `include/nccltap.h` declares.
//!
//! An engine, or a plugin in it, says when a step begins, what it is, when it is over, where this worker
//! stands in the layout, and what it gave its all-reduces to. Each of that is a record in the calling thread's ring, which goes where all records go.
//! Where the tap is not alive in the process, nothing happens.
#![allow(unsafe_code)]

use crate::life;
use crate::record;
use nccltap_proto::{Choice, Mark, MarkedPlace, MarkedStep, RankOf};

/// `nccltap_step` of the header.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CStep {
    size: u32,
    flags: u32,
    prefill_requests: u32,
    decode_requests: u32,
    prefill_tokens: u32,
    decode_tokens: u32,
    speculative_tokens: u32,
}

/// `nccltap_coordinates` of the header.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CCoordinates {
    size: u32,
    tensor: CRank,
    pipeline: CRank,
    data: CRank,
    expert: CRank,
}

/// A rank and how many there are.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CRank {
    rank: u32,
    size: u32,
}

/// `nccltap_choice` of the header.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CChoice {
    size: u32,
    backend: u32,
    message_bytes: u64,
    calls: u64,
}

const _: () = assert!(size_of::<CChoice>() == 24 && align_of::<CChoice>() == 8);
const _: () = assert!(size_of::<CStep>() == 28 && align_of::<CStep>() == 4);
const _: () = assert!(size_of::<CCoordinates>() == 36 && align_of::<CCoordinates>() == 4);

/// A structure of the header: its first field is the size, a `uint32_t`, and every bit pattern is one.
///
/// # Safety
/// That holds for the implementing type.
unsafe trait Sized32: Default {}

// SAFETY: `repr(C)`, and all fields are integers.
unsafe impl Sized32 for CStep {}
// SAFETY: as above.
unsafe impl Sized32 for CCoordinates {}
// SAFETY: as above.
unsafe impl Sized32 for CChoice {}

/// The size and one field more: less than that says nothing.
const SMALLEST: usize = 8;

/// What a caller says. Fields that its header did not have are 0, fields that this one does not have
/// are not read.
///
/// # Safety
/// `from` is null, or points to as many bytes as its first field says.
unsafe fn read_sized<T: Sized32>(from: *const T) -> Option<T> {
    if from.is_null() {
        return None;
    }
    let mut read = T::default();
    // SAFETY: the caller's word for it; the copy is bounded by both sizes.
    unsafe {
        let size = from.cast::<u32>().read_unaligned() as usize;
        if size < SMALLEST {
            return None;
        }
        let length = size.min(size_of::<T>());
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut read).cast::<u8>(), length);
    }
    Some(read)
}

impl CStep {
    /// What a caller says of a step.
    ///
    /// # Safety
    /// As for [`read_sized`].
    unsafe fn read(step: *const Self) -> Option<MarkedStep> {
        // SAFETY: the caller's promise.
        let read = unsafe { read_sized(step) }?;
        let Self { flags, prefill_requests, decode_requests, prefill_tokens, .. } = read;
        let Self { decode_tokens, speculative_tokens, .. } = read;
        Some(MarkedStep {
            prefill_requests,
            decode_requests,
            prefill_tokens,
            decode_tokens,
            speculative_tokens,
            flags,
        })
    }
}

impl CRank {
    /// A rank that cannot be is none.
    fn read(self) -> RankOf {
        RankOf::new(self.rank, self.size).unwrap_or_default()
    }
}

fn mark(mark: Mark) {
    if life::agent().is_some() {
        record::mark(&mark);
    }
}

/// A step begins. `step` says what it is, or is null when that is not known yet.
///
/// # Safety
/// `step` is null, or points to as many bytes as its field `size` says.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn nccltap_step_begin(step: *const CStep) {
    if life::agent().is_some() {
        // SAFETY: the caller's promise.
        mark(Mark::Begin(unsafe { CStep::read(step) }));
    }
}

/// Says what the step under way is.
///
/// # Safety
/// As for [`nccltap_step_begin`].
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn nccltap_step_describe(step: *const CStep) {
    // SAFETY: the caller's promise.
    if let Some(step) = unsafe { CStep::read(step) } {
        mark(Mark::Describe(Some(step)));
    }
}

/// The step is over.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn nccltap_step_end() {
    mark(Mark::End);
}

/// Says where this process stands in the engine's layout.
///
/// # Safety
/// `at` is null, or points to as many bytes as its field `size` says.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn nccltap_place(at: *const CCoordinates) {
    // SAFETY: the caller's promise.
    if let Some(CCoordinates { tensor, pipeline, data, expert, .. }) = unsafe { read_sized(at) } {
        let (tensor, pipeline) = (tensor.read(), pipeline.read());
        let (data, expert) = (data.read(), expert.read());
        mark(Mark::Place(MarkedPlace { tensor, pipeline, data, expert }));
    }
}

/// Says what all-reduces were given to since the last time, or with none that this is not spoken of. An element is as
/// long as the first one says.
///
/// # Safety
/// `choices` is null, or points to `number` elements, each as long as the field `size` of the first says.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn nccltap_chosen(choices: *const CChoice, number: u32) {
    if life::agent().is_none() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { each_choice(choices, number, |choice| record::mark(&Mark::Chosen(choice))) }
}

/// Tells each of the choices.
///
/// # Safety
/// As for [`nccltap_chosen`].
unsafe fn each_choice(choices: *const CChoice, number: u32, mut tell: impl FnMut(Choice)) {
    if number == 0 {
        return tell(Choice::NOT_SPOKEN_OF);
    }
    // SAFETY: the caller's promise holds for the first element.
    let Some(first) = (unsafe { read_sized(choices) }) else { return };
    let length = first.size as usize;
    for index in 0..number {
        // SAFETY: the caller's promise holds for each of them.
        let read = unsafe { read_sized(choices.byte_add(index as usize * length)) };
        let Some(CChoice { backend, message_bytes, calls, .. }) = read else { return };
        tell(Choice { backend, calls, message_bytes, more_follow: index + 1 < number });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: CStep = CStep {
        size: 28,
        flags: 1,
        prefill_requests: 2,
        decode_requests: 3,
        prefill_tokens: 4,
        decode_tokens: 5,
        speculative_tokens: 6,
    };

    fn read(step: &CStep) -> Option<MarkedStep> {
        // SAFETY: no size in these tests is larger than the structure.
        unsafe { CStep::read(step) }
    }

    #[test]
    fn a_step_is_read_as_it_was_written() {
        let expected = MarkedStep {
            prefill_requests: 2,
            decode_requests: 3,
            prefill_tokens: 4,
            decode_tokens: 5,
            speculative_tokens: 6,
            flags: 1,
        };
        assert_eq!(read(&STEP), Some(expected));
    }

    #[test]
    fn fields_that_the_callers_header_did_not_have_are_not_read() {
        let early = CStep { size: 16, ..STEP };
        let expected = MarkedStep {
            prefill_requests: 2,
            decode_requests: 3,
            flags: 1,
            ..MarkedStep::default()
        };
        assert_eq!(read(&early), Some(expected));
    }

    #[test]
    fn a_later_header_has_more_fields_than_are_read() {
        let later = [64u32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        // SAFETY: the array is as long as its first element says.
        let read = unsafe { CStep::read(later.as_ptr().cast()) };
        assert_eq!(read.map(|step| step.speculative_tokens), Some(6));
    }

    fn choices(from: *const CChoice, number: u32) -> Vec<(u32, u64, u64, bool)> {
        let mut all = Vec::new();
        // SAFETY: the arrays of these tests have so many elements of the size that they say.
        unsafe {
            each_choice(from, number, |c| {
                all.push((c.backend, c.calls, c.message_bytes, c.more_follow));
            });
        }
        all
    }

    #[test]
    fn choices_that_are_said_at_once_are_read_one_by_one() {
        let one = CChoice { size: 24, backend: 2, message_bytes: 8192, calls: 65 };
        let both = [one, CChoice { backend: 1, message_bytes: 4, calls: 1, ..one }];
        assert_eq!(choices(both.as_ptr(), 2), [(2, 65, 8192, true), (1, 1, 4, false)]);
        assert_eq!(
            choices(both.as_ptr(), 0),
            [(0, 0, 0, false)],
            "nothing is said of what was done"
        );
        assert_eq!(choices(std::ptr::null(), 0), [(0, 0, 0, false)]);
        assert_eq!(choices(std::ptr::null(), 2), []);
    }

    #[test]
    fn choices_of_a_later_header_are_as_long_as_they_say() {
        let later = [[32u64 | 2 << 32, 8192, 65, 7], [32 | 1 << 32, 4, 1, 7]];
        assert_eq!(choices(later.as_ptr().cast(), 2), [(2, 65, 8192, true), (1, 1, 4, false)]);
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        assert_eq!(read(&CStep { size: 4, ..STEP }), None);
        assert_eq!(read(&CStep { size: 0, ..STEP }), None);
        // SAFETY: null is allowed.
        assert_eq!(unsafe { CStep::read(std::ptr::null()) }, None);
    }
}
