//! What a timeline tells: operations, groups and launches of graphs, and who is told.

use super::{CommunicatorId, Communicators, Manifest};
use nccltap_proto::record::UNKNOWN_COUNT;
use nccltap_proto::{Datatype, Function, Mark, Operation, Path};

/// How an operation came to be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Launch {
    /// By a call of its own.
    Eager,
    /// By the launch of a CUDA graph that it was captured into.
    Graph,
}

impl Launch {
    /// The name in reports and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Graph => "graph",
        }
    }
}

/// One operation that NCCL took, or the launch of a kernel that carries one out beside NCCL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperationCall {
    /// The function that was called.
    pub function: Function,
    /// The operation it stands for.
    pub operation: Operation,
    /// The communicator, `None` when the tap never saw it made.
    pub communicator: Option<CommunicatorId>,
    /// NCCL's count argument, in elements; [`UNKNOWN_COUNT`] for a kernel or a copy
    /// that does not say it.
    pub elements: u64,
    /// The way it takes.
    pub path: Path,
    /// `None` for a data type that is not in NCCL's list.
    pub datatype: Option<Datatype>,
    /// Peer or root, as a rank of the communicator. Of a copy, the device it goes to, as its process counts devices.
    pub peer: Option<i32>,
    /// How it was launched.
    pub launch: Launch,
    /// When the call ended, in ticks of the record clock.
    pub end: u64,
    /// How long the call took on the host, in nanoseconds. `None` where no call was made for it alone.
    pub duration_ns: Option<u64>,
}

impl OperationCall {
    /// NCCL's count argument, where it is known.
    pub fn known_elements(&self) -> Option<u64> {
        known_elements(self.elements, self.path, self.operation)
    }
}

/// The count of an operation on `path`, where it is known. NCCL says that of all operations but one, and takes every
/// number.
pub(crate) const fn known_elements(elements: u64, path: Path, operation: Operation) -> Option<u64> {
    match (path, elements) {
        _ if !operation.says_its_size() => None,
        (Path::Nccl | Path::OneCcl, _) => Some(elements),
        (_, UNKNOWN_COUNT) => None,
        _ => Some(elements),
    }
}

/// Who is told what the records say.
pub trait Listener {
    /// A call was taken from a ring: each record once, whatever becomes of it.
    fn call(&mut self, function: Function);
    /// NCCL took an operation.
    fn operation(&mut self, call: &OperationCall, communicators: &Communicators);
    /// NCCL took these operations together, at the end of their group: two or more.
    fn group(&mut self, calls: &[OperationCall], communicators: &Communicators);
    /// NCCL refused the call with this `ncclResult_t`.
    fn failed(&mut self, function: Function, result: i32);
    /// Operations of a group that was simulated and not launched.
    fn simulated(&mut self, operations: u64);
    /// Calls may be missing between what was told last and what is told next.
    fn gap(&mut self);
    /// NCCL took this operation into a graph under capture: nothing was carried out.
    fn captured(&mut self, call: &OperationCall, communicators: &Communicators);
    /// A graph became known that the GPU can launch by itself, whether or not the host ever does.
    fn launched_by_device(&mut self, manifest: &Manifest);
    /// A graph was launched, and this is in it. The launch ended at `end`, in ticks of the record clock.
    fn launched(&mut self, holds: Holds<'_>, end: u64, communicators: &Communicators);
    /// The engine said something of its step, its layout or its backends.
    fn mark(&mut self, mark: &Mark);
}

/// What is in a graph that was launched.
#[derive(Clone, Copy, Debug)]
pub enum Holds<'a> {
    /// No operation of NCCL.
    Nothing,
    /// These operations.
    Operations(&'a Manifest),
    /// It is not known.
    Unknown,
    /// Whatever it is, it became part of another graph, under capture itself.
    Captured,
}
