//! What stands in a ring file, as messages: said alike by the agent that writes the file and by the
//! collector that reads what a dead process has left.

use crate::ringfile::{AnchorEntry, CommunicatorEntry, text};
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
