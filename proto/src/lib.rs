//! The contract between the tap in a worker process and the collector.
//!
//! - [`v1`]: the messages, generated from `proto/nccltap/v1/tap.proto`, which explains them;
//! - [`functions`]: the table of wrapped functions, of NCCL and of CUDA's graphs;
//! - [`kernels`]: the list of kernels that move data between GPUs beside NCCL;
//! - [`backends`]: what an engine may give an all-reduce to;
//! - [`record`]: one call in 64 bytes;
//! - [`marks`]: what an engine says of its steps, as records too;
//! - [`ringfile`]: the file in shared memory that outlives a killed process;
//! - [`faults`]: every reason for which the tap does less than it should;
//! - [`address`]: where a collector listens;
//! - [`uplink`]: what the two libraries in a worker say to each other.
#![forbid(unsafe_code)]

pub mod address;
pub mod backends;
pub mod datatype;
mod describe;
pub mod faults;
pub mod functions;
pub mod kernels;
pub mod marks;
mod path;
pub mod record;
pub mod ringfile;
pub mod uplink;

/// Messages and service of `nccltap.v1`, generated; `cargo test -p nccltap-proto` compares them
/// with the `.proto` and says how to write them anew.
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[rustfmt::skip]
#[path = "generated/nccltap.v1.rs"]
pub mod v1;

pub use backends::Backend;
pub use datatype::Datatype;
pub use functions::{Function, Library, Meaning, Operation};
pub use kernels::Kernel;
pub use marks::{Choice, Mark, MarkKind, MarkedPlace, MarkedStep, RankOf};
pub use path::Path;
pub use record::{RECORD_SIZE, Record};

/// Version of the contract. Raised when an older peer would misread a newer one.
pub const PROTOCOL_VERSION: u32 = 2;

/// First eight bytes of a recording.
pub const RECORDING_MAGIC: [u8; 8] = *b"NCCLREC1";

/// Largest message either side sends, and the largest it accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// FNV-1a 64 of `bytes`, going on from `state`; start from [`FNV_START`].
///
/// Names a communicator's group by its `ncclUniqueId`: all ranks of a group hash the same bytes.
pub const fn fnv1a(bytes: &[u8], state: u64) -> u64 {
    let mut hash = state;
    let mut index = 0;
    while index < bytes.len() {
        hash ^= bytes[index] as u64;
        hash = hash.wrapping_mul(0x100_0000_01b3);
        index += 1;
    }
    hash
}

/// The state FNV-1a 64 starts from.
pub const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
