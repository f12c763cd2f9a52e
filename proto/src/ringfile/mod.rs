//! The ring file: what a tapped process leaves in shared memory, and a killed one leaves behind.
//!
//! The agent maps the file and writes it in place; nothing is copied on the way, so a completed
//! call survives SIGKILL. The collector reads it once the owner is dead. The owner holds a POSIX
//! record lock on the file for as long as it lives (`fcntl(F_SETLK)`): whoever can take the lock
//! knows that the owner is gone, across pid namespaces too.
//!
//! ```text
//! 0                     FileHeader                        one page
//! HEADER_BYTES          CommunicatorEntry x COMMUNICATORS
//! ...                   LibraryEntry x LIBRARIES
//! ...                   ManifestEntry x MANIFESTS
//! ...                   ManifestOperation x MANIFEST_OPERATIONS
//! page boundary         ring 0: RingHeader                one page
//!                               Record x ring_records
//!                       ring 1 ...
//! ```
//! The file is sparse: only what was used takes memory.

mod reader;

use crate::functions::Library;
use crate::record::RECORD_SIZE;
use bytemuck::{Pod, Zeroable};

pub use reader::{RingFile, RingFileError, RingView, text};

/// First eight bytes of a ring file.
pub const MAGIC: [u8; 8] = *b"NCCLTAP\x01";

/// Version of this layout. A reader refuses any other.
pub const LAYOUT_VERSION: u32 = 5;

/// File names are `nccltap-PID-INSTANCE.ring`, with INSTANCE in hexadecimal.
pub const FILE_PREFIX: &str = "nccltap-";

/// File names end so.
pub const FILE_SUFFIX: &str = ".ring";

/// Bytes of a page, the unit in which the file is laid out.
pub const PAGE: usize = 4096;

/// Bytes before the first communicator.
pub const HEADER_BYTES: usize = PAGE;

/// Communicators a process can describe in its life. Further ones are counted as a fault.
pub const COMMUNICATORS: usize = 4096;

/// Copies of one library that can be told apart in one process. Further ones pass through unrecorded.
pub const COPIES: usize = 4;

/// Copies of all libraries: in the order of [`Library::ALL`].
pub const LIBRARIES: usize = Library::ALL.len() * COPIES;

/// The number of the first copy of a library.
pub const fn first_copy(library: Library) -> usize {
    match library {
        Library::Nccl => 0,
        Library::CudaRuntime => COPIES,
        Library::CudaDriver => 2 * COPIES,
        Library::OneCcl => 3 * COPIES,
        Library::Hip => 4 * COPIES,
    }
}

/// Functions that have a place in [`LibraryEntry::doors`].
pub const FUNCTIONS: usize = 256;

/// Different graphs a process can describe in its life. What a further one carries out is not known.
pub const MANIFESTS: usize = 4096;

/// Operations that all manifests of a process can have together; what is repeated counts once.
pub const MANIFEST_OPERATIONS: usize = 32_768;

/// Operations that one manifest can have.
pub const LARGEST_MANIFEST: usize = 8192;

/// Kinds of trouble that have a counter in the header.
pub const FAULTS: usize = 32;

/// Most rings a file may have.
pub const MAX_RINGS: u32 = 1024;

/// Most records a ring may have.
pub const MAX_RING_RECORDS: u64 = 1 << 20;

/// Three clocks read at one instant, see `Anchor` in `tap.proto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AnchorEntry {
    /// The clock of the records.
    pub ticks: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub monotonic_ns: u64,
    /// CLOCK_REALTIME, nanoseconds since 1970.
    pub realtime_ns: u64,
}

/// The first page of the file.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct FileHeader {
    /// [`MAGIC`], written last.
    pub magic: [u8; 8],
    /// [`LAYOUT_VERSION`].
    pub layout_version: u32,
    /// [`RECORD_SIZE`].
    pub record_size: u32,
    /// Process id of the owner, in its own pid namespace.
    pub pid: u32,
    /// Its parent.
    pub parent_pid: u32,
    /// Field 22 of /proc/PID/stat.
    pub start_time: u64,
    /// See `Process.instance` in `tap.proto`.
    pub instance: u64,
    /// `Clock` of `tap.proto`.
    pub clock: u32,
    /// Rings the file has room for.
    pub rings: u32,
    /// Records per ring, a power of two.
    pub ring_records: u64,
    /// When the tap came to life.
    pub started: AnchorEntry,
    /// The latest anchor the drain thread took.
    pub latest: AnchorEntry,
    /// Calls that found no ring, cumulative.
    pub unrecorded: u64,
    /// Communicator entries in use.
    pub communicators: u32,
    /// Library entries in use.
    pub libraries: u32,
    /// Manifest entries in use.
    pub manifests: u32,
    _reserved: u32,
    /// Cumulative count per kind of trouble, in the order of proto/src/faults.rs.
    pub faults: [u64; FAULTS],
    /// Host name, padded with zeros.
    pub host: [u8; 64],
    /// NCCLTAP_JOB, padded with zeros.
    pub job: [u8; 64],
    /// Command line, arguments separated by a space, padded with zeros.
    pub command_line: [u8; 2048],
}

/// The first page of a ring. Each block of 64 bytes has one writer, so that the producer's cache
/// line is not taken away by the reader.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct RingHeader {
    /// Records completed: the position after the last one. Written by the producer.
    pub head: u64,
    /// Records begun: `head`, or `head + 1` while a call is inside NCCL. Written by the producer.
    pub open: u64,
    /// Calls that found the ring full. Written by the producer.
    pub dropped: u64,
    _producer: [u64; 5],
    /// Records taken by the collector for good; their room is free. Written by the drain thread.
    pub tail: u64,
    _drain: [u64; 7],
    /// One of the `RING_*` states. Changes hands rarely.
    pub state: u32,
    /// `gettid` of the thread that writes the ring, or wrote it last.
    pub thread: u32,
    _rest: [u64; 7],
}

/// No thread has used the ring yet.
pub const RING_UNUSED: u32 = 0;
/// A thread is writing the ring.
pub const RING_OWNED: u32 = 1;
/// The thread has ended; what it wrote is still there, and another may take over.
pub const RING_ORPHANED: u32 = 2;

/// One communicator, see `Communicator` in `tap.proto`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct CommunicatorEntry {
    /// The `ncclComm_t`.
    pub handle: u64,
    /// Same on all ranks of the group, 0 when not known.
    pub group: u64,
    /// Group of the communicator it came from, 0 when none.
    pub parent_group: u64,
    /// Ticks when it came to be.
    pub created: u64,
    /// Ticks when its destroy was called, 0 while it lives.
    pub destroyed: u64,
    /// Size of the group, 0 when not known.
    pub ranks: u32,
    /// Rank in the group, -1 when not known.
    pub rank: i32,
    /// CUDA device, -1 when not known.
    pub device: i32,
    /// Copy of NCCL.
    pub library: u32,
    /// Function that made it.
    pub created_by: u32,
    /// 1 once the entry is in use. It is counted in [`FileHeader::communicators`] after it is written.
    pub ready: u32,
    /// Name given by the application, padded with zeros.
    pub name: [u8; 64],
}

/// What one launch of a graph carries out, see `Manifest` in `tap.proto`. Manifest 1 is the first entry:
/// they never change, and graphs that carry out the same share one.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ManifestEntry {
    /// Its first operation, among those of all manifests.
    pub first: u32,
    /// How many operations it has.
    pub operations: u32,
    /// 1 when the GPU can launch the graph by itself, so that the host sees only some of the launches.
    pub device_launch: u32,
    /// 1 once the entry is in use. It is counted in [`FileHeader::manifests`] after it is written.
    pub ready: u32,
}

/// One operation of a manifest, see `ManifestOperation` in `tap.proto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ManifestOperation {
    /// NCCL's count argument.
    pub count: u64,
    /// Entry of the communicator, [`NO_COMMUNICATOR`] when it has none.
    pub communicator: u32,
    /// How often one launch carries it out, or its group.
    pub times: u32,
    /// Function that was captured.
    pub function: u16,
    /// `ncclDataType_t`, or [`NO_DATATYPE`](crate::record::NO_DATATYPE).
    pub datatype: u8,
    /// 1 inside a conditional node: how often it is carried out, only the GPU knows.
    pub conditional: u8,
    /// Peer or root, or [`NO_PEER`](crate::record::NO_PEER).
    pub peer: i32,
    /// `ncclRedOp_t`, 0 when it has none; of a communication kernel, see [`Record::reduction`].
    ///
    /// [`Record::reduction`]: crate::Record::reduction
    pub reduction: i32,
    /// The same for operations of one group, which follow each other. 0 outside of groups.
    pub group: u32,
}

/// In [`ManifestOperation::communicator`]: the communicator is not described.
pub const NO_COMMUNICATOR: u32 = u32::MAX;

/// One copy of a library, see `Library` in `tap.proto`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct LibraryEntry {
    /// As ncclGetVersion or cudaRuntimeGetVersion gives it, 0 when not known.
    pub version: u32,
    /// 1 once the entry is in use.
    pub ready: u32,
    /// Per function number: bit 0 resolved through a linkage table, bit 1 through dlsym.
    pub doors: [u8; FUNCTIONS],
    /// File it was loaded from, padded with zeros.
    pub path: [u8; 1024],
}

/// Bit in [`LibraryEntry::doors`]: a caller's procedure linkage table leads to the tap.
pub const DOOR_PLT: u8 = 1;
/// Bit in [`LibraryEntry::doors`]: a caller took the address with dlsym or dlvsym.
pub const DOOR_DLSYM: u8 = 2;

const _: () = {
    assert!(size_of::<FileHeader>() <= HEADER_BYTES);
    assert!(size_of::<RingHeader>() == 192);
    assert!(size_of::<ManifestOperation>() == 32);
    assert!(crate::Function::ALL.len() < FUNCTIONS);
};

/// Where things lie in a file with so many rings of so many records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rings the file has room for.
    pub rings: u32,
    /// Records per ring, a power of two.
    pub ring_records: u64,
}

impl Layout {
    /// Offset of communicator `index`.
    pub const fn communicator(index: usize) -> usize {
        HEADER_BYTES + index * size_of::<CommunicatorEntry>()
    }

    /// Offset of library `index`.
    pub const fn library(index: usize) -> usize {
        Self::communicator(COMMUNICATORS) + index * size_of::<LibraryEntry>()
    }

    /// Offset of the manifest entry `index`.
    pub const fn manifest(index: usize) -> usize {
        Self::library(LIBRARIES).next_multiple_of(PAGE) + index * size_of::<ManifestEntry>()
    }

    /// Offset of operation `index` of all manifests.
    pub const fn manifest_operation(index: usize) -> usize {
        Self::manifest(MANIFESTS) + index * size_of::<ManifestOperation>()
    }

    /// Bytes before the first ring.
    pub const fn prefix_bytes() -> usize {
        Self::manifest_operation(MANIFEST_OPERATIONS).next_multiple_of(PAGE)
    }

    /// Bytes of one ring, header and records.
    pub const fn ring_bytes(&self) -> usize {
        (PAGE + self.ring_records as usize * RECORD_SIZE).next_multiple_of(PAGE)
    }

    /// Offset of the header of ring `index`.
    pub const fn ring(&self, index: u32) -> usize {
        Self::prefix_bytes() + index as usize * self.ring_bytes()
    }

    /// Offset of the first record of ring `index`.
    pub const fn records(&self, index: u32) -> usize {
        self.ring(index) + PAGE
    }

    /// Length of the file.
    pub const fn file_bytes(&self) -> usize {
        self.ring(self.rings)
    }

    /// Whether the numbers are ones this layout allows.
    pub const fn is_valid(&self) -> bool {
        self.rings >= 1
            && self.rings <= MAX_RINGS
            && self.ring_records.is_power_of_two()
            && self.ring_records <= MAX_RING_RECORDS
    }
}
