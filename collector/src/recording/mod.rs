//! Recordings: every message as it was taken, so that each later view can be computed anew.
//!
//! A recording is [`RECORDING_MAGIC`](nccltap_proto::RECORDING_MAGIC) and then entries
//! (`RecordingEntry` of tap.proto), each preceded by its length as a varint.

mod reader;
mod writer;

pub use reader::{ReadError, Reader, Tail};
pub use writer::{DEFAULT_LIMIT, OpenError, Recorder, RecordingState};
