//! What pipeline stages send each other, numbered so that both sides give a transfer the same number.

use super::event::Event;
use crate::timeline::{CommunicatorId, Communicators};
use rustc_hash::FxHashMap;

/// Pairs of ranks a process can transfer with, counting each direction.
const CHANNELS: usize = 256;

/// One transfer, by the same name at both ends: NCCL matches the n-th Send of a pair of ranks with
/// the n-th Recv.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransferKey {
    /// Names the group.
    pub group: u64,
    /// Rank that sends.
    pub from: i32,
    /// Rank that receives.
    pub to: i32,
    /// How many there were before it.
    pub number: u64,
}

/// Numbers the transfers of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Transfers {
    counted: FxHashMap<(CommunicatorId, i32, bool), u64>,
    /// A transfer may have been missed, so numbers are of no use from here on.
    misaligned: bool,
}

impl Transfers {
    /// The name of a transfer, and whether this process sends it. `None` when it cannot be told.
    pub(super) fn name(
        &mut self,
        event: Event,
        communicators: &Communicators,
    ) -> Option<(TransferKey, bool)> {
        let Event::Transfer { communicator, sends, peer, .. } = event else { return None };
        let channel = (communicator, peer, sends);
        if self.counted.len() >= CHANNELS && !self.counted.contains_key(&channel) {
            return None;
        }
        let counted = self.counted.entry(channel).or_default();
        let number = *counted;
        *counted += 1;
        let facts = communicators.get(communicator)?;
        if self.misaligned || facts.group == 0 || facts.rank < 0 {
            return None;
        }
        let (from, to) = if sends { (facts.rank, peer) } else { (peer, facts.rank) };
        Some((TransferKey { group: facts.group, from, to, number }, sends))
    }

    pub(super) fn gap(&mut self) {
        self.misaligned = true;
    }
}
