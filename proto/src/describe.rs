//! What stands in a ring file, as messages: said alike by the agent that writes the file and by the
//! collector that reads what a dead process has left.

use crate::functions::Library;
use crate::ringfile::{
    AnchorEntry, CommunicatorEntry, ManifestEntry, ManifestOperation, NO_COMMUNICATOR, text,
};
use crate::v1;

impl From<AnchorEntry> for v1::Anchor {
    fn from(entry: AnchorEntry) -> Self {
        Self {
            ticks: entry.ticks,
            monotonic_ns: entry.monotonic_ns,
            realtime_ns: entry.realtime_ns,
        }
    }
}

impl CommunicatorEntry {
    /// The entry with number `id` as a message.
    pub fn message(&self, id: u32) -> v1::Communicator {
        v1::Communicator {
            id,
            handle: self.handle,
            group: self.group,
            ranks: self.ranks,
            rank: self.rank,
            device: self.device,
            library: self.library,
            created_by: self.created_by,
            created: self.created,
            destroyed: self.destroyed,
            name: text(&self.name),
            parent_group: self.parent_group,
        }
    }
}

impl ManifestEntry {
    /// Manifest `id` with its operations as a message.
    pub fn message(&self, id: u32, operations: &[ManifestOperation]) -> v1::Manifest {
        v1::Manifest {
            id,
            operations: operations.iter().map(v1::ManifestOperation::from).collect(),
            device_launch: self.device_launch != 0,
        }
    }
}

impl From<&ManifestOperation> for v1::ManifestOperation {
    fn from(entry: &ManifestOperation) -> Self {
        let known = entry.communicator != NO_COMMUNICATOR;
        Self {
            function: entry.function.into(),
            count: entry.count,
            datatype: entry.datatype.into(),
            communicator: known.then_some(entry.communicator),
            peer: entry.peer,
            reduction: entry.reduction,
            group: entry.group,
            times: entry.times,
            conditional: entry.conditional != 0,
        }
    }
}

impl From<Library> for v1::LibraryKind {
    fn from(library: Library) -> Self {
        match library {
            Library::Nccl => Self::Nccl,
            Library::CudaRuntime => Self::CudaRuntime,
            Library::CudaDriver => Self::CudaDriver,
            Library::OneCcl => Self::Oneccl,
            Library::Hip => Self::Hip,
        }
    }
}
