//! The record: one call of NCCL, one launch of a CUDA graph or of a communication kernel, or one [mark](crate::marks), in 64 bytes.
//!
//! The same layout stands in the rings, in the ring file, on the wire and in recordings.

use crate::kernels::Kernel;
use bytemuck::{Pod, Zeroable};

/// Bytes per record.
pub const RECORD_SIZE: usize = 64;

/// 64-bit words per record.
pub const RECORD_WORDS: usize = RECORD_SIZE / 8;

/// `datatype` of a call that has none.
pub const NO_DATATYPE: u8 = u8::MAX;

/// `peer` of a call that has none.
pub const NO_PEER: i32 = -1;

/// `result` of a call that did not return: an exception, or the end of its thread, went through it.
/// No `ncclResult_t` is negative.
pub const UNWOUND: i32 = -1;

/// In [`Record::depth`]: the call went to a graph under capture, and nothing was carried out.
pub const CAPTURED: u8 = 0x80;

/// In `count` of a graph launch: the graph holds no operation of NCCL.
pub const NO_MANIFEST: u64 = 0;

/// In `count` of a graph launch: what the graph holds is not known.
pub const UNKNOWN_MANIFEST: u64 = u32::MAX as u64;

/// In `count` of the launch of a communication kernel, or of a copy: how much it moves is not known.
pub const UNKNOWN_COUNT: u64 = u64::MAX;

/// What [`Record::reduction`] says of a communication kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCall {
    /// Which it is, `None` for one that a later release has on its list.
    pub kernel: Option<Kernel>,
    /// How many ranks take part, 0 when not known.
    pub ranks: u16,
}

impl KernelCall {
    /// As a record has it.
    pub fn to_word(self) -> i32 {
        let id = self.kernel.map_or(0, Kernel::id);
        i32::from(id) << 16 | i32::from(self.ranks)
    }

    /// The kernel of a record's word.
    pub fn from_word(word: i32) -> Self {
        let id = u8::try_from(word >> 16).unwrap_or(0);
        Self { kernel: Kernel::from_id(id), ranks: word as u16 }
    }
}

/// One call of a wrapped function, as the caller stated it.
///
/// Little endian. The producer writes it in two steps: everything but `end` and `result` before the
/// call, these two after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// When the call entered the tap, in ticks of the record clock.
    pub start: u64,
    /// When NCCL returned, in ticks. 0 while the call is inside NCCL.
    pub end: u64,
    /// `ncclComm_t` of the call. Of a graph launch, the number of the executable within the process,
    /// which is never given to another. 0 when it has neither.
    pub communicator: u64,
    /// `cudaStream_t` of the call, 0 for the default stream or when it has none.
    pub stream: u64,
    /// NCCL's count argument, in elements: total for AllReduce, Broadcast and Reduce, per rank for
    /// AllGather and ReduceScatter, per peer for AlltoAll, Gather and Scatter. Of a graph launch, the
    /// number of the manifest that says what it carries out, [`NO_MANIFEST`] or [`UNKNOWN_MANIFEST`]. Of a
    /// communication kernel, what NCCL's function would be told, and of a copy between GPUs its bytes, or
    /// [`UNKNOWN_COUNT`].
    pub count: u64,
    /// Number of the function, see [`Function`](crate::functions::Function), or of a
    /// [`MarkKind`](crate::marks::MarkKind), which gives three of the words another meaning.
    pub function: u16,
    /// `ncclDataType_t`, or [`NO_DATATYPE`].
    pub datatype: u8,
    /// How many groups were open around the call, at most 127; and [`CAPTURED`].
    pub depth: u8,
    /// Peer of a point-to-point call or root of a rooted one, as a rank of the communicator, or
    /// [`NO_PEER`]. Of a communication kernel, the calling rank, and of a copy between GPUs the device that it goes to,
    /// or [`NO_PEER`].
    pub peer: i32,
    /// `ncclRedOp_t` of a reduction, 0 when the call has none. Of the launch of a communication kernel, which
    /// one it is and how many ranks take part: a [`KernelCall`]. Of a copy between GPUs, the device that it comes from,
    /// or [`NO_PEER`].
    pub reduction: i32,
    /// `ncclResult_t` that NCCL returned, `cudaError_t` of a graph launch, or [`UNWOUND`].
    pub result: i32,
    /// Number of the outermost group around the call within its process, 0 when there is none.
    pub group: u32,
    /// Low 32 bits of the record's position in its ring: shows a torn or misplaced record.
    pub sequence: u32,
}

const _: () = assert!(size_of::<Record>() == RECORD_SIZE && align_of::<Record>() == 8);

impl Record {
    /// The record as eight words, the form in which it is stored.
    pub fn to_words(self) -> [u64; RECORD_WORDS] {
        bytemuck::cast(self)
    }

    /// The record of these eight words.
    pub fn from_words(words: [u64; RECORD_WORDS]) -> Self {
        bytemuck::cast(words)
    }

    /// How many groups were open around the call.
    pub fn groups(&self) -> u8 {
        self.depth & !CAPTURED
    }

    /// Whether the call went to a graph under capture.
    pub fn is_captured(&self) -> bool {
        self.depth & CAPTURED != 0
    }

    /// The record of these 64 bytes, wherever they lie.
    pub fn from_bytes(bytes: &[u8; RECORD_SIZE]) -> Self {
        bytemuck::pod_read_unaligned(bytes)
    }
}

/// The records that a batch of raw bytes holds.
///
/// Bytes behind the last whole record are left out: check the length first.
pub fn records(bytes: &[u8]) -> impl ExactSizeIterator<Item = Record> {
    bytes.as_chunks::<RECORD_SIZE>().0.iter().map(Record::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_and_bytes_lead_back_to_the_record(words: [u64; RECORD_WORDS]) {
            let record = Record::from_words(words);
            prop_assert_eq!(record.to_words(), words);
            let bytes: [u8; RECORD_SIZE] = bytemuck::cast(record);
            prop_assert_eq!(Record::from_bytes(&bytes), record);
        }
    }

    #[test]
    fn the_word_of_a_kernel_leads_back_to_it() {
        for kernel in Kernel::all() {
            let call = KernelCall { kernel: Some(kernel), ranks: 8 };
            assert_eq!(KernelCall::from_word(call.to_word()), call);
        }
        assert_eq!(KernelCall::from_word(0), KernelCall { kernel: None, ranks: 0 });
        assert_eq!(KernelCall::from_word(-1).kernel, None);
    }

    #[test]
    fn end_and_result_have_a_word_that_nothing_written_earlier_needs() {
        let record = Record { end: u64::MAX, reduction: 7, result: 3, ..Record::default() };
        let words = record.to_words();
        assert_eq!(words[1], u64::MAX);
        assert_eq!(words[6], 7 | 3 << 32);
    }
}
