//! Who sends to whom.
//!
//! A Send names its peer, and so do Gather and Scatter by their root. What a collective sends to whom is
//! NCCL's to decide, and changes with its algorithm. Here it is told by one convention, that of the ring,
//! the same for every algorithm, whose sums are the bus bytes of nccl-tests:
//!
//! | operation | a rank sends |
//! |---|---|
//! | AllReduce, AllGather, ReduceScatter | its bus bytes to the next rank of the group |
//! | Broadcast | its message to the next rank, but for the rank before the root |
//! | Reduce | its message to the next rank, but for the root |
//! | AlltoAll | its message to each other rank |
//! | Send, PutSignal | to its peer |
//! | Gather | to the root |
//! | Scatter | the root to each other rank |
//! | AlltoAllv | nobody: how much goes to whom is not known |
//! | Copy | nobody: it names devices, and which worker has one is not known |
//! | Recv | nothing: it counts where it is sent, and where that is not tapped, as from a rank not seen |

use crate::ledger::bytes::{bus_bytes, message_bytes};
use crate::ledger::{Entry, Ledger};
use crate::outputs::rows::Place;
use crate::process::{Identity, Process};
use crate::steps::Phase;
use crate::{groups::Groups, timeline::CommunicatorId};
use nccltap_proto::Operation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Bytes from one worker to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The sender, as its number among the workers; null when it is not tapped.
    pub from: Option<u32>,
    /// The receiver, likewise.
    pub to: Option<u32>,
    /// By Send and other operations that name their peer.
    pub named_bytes: u64,
    /// By collectives, by the convention of the ring.
    pub ring_bytes: u64,
}

impl Cell {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.named_bytes.saturating_add(self.ring_bytes)
    }
}

/// The matrix, without empty cells and without start-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfers {
    /// The cells, by sender and receiver.
    pub cells: Vec<Cell>,
    /// Operations of unknown group, rank or data type: what they send to whom is not known.
    pub operations_without_place: u64,
}

/// What one rank sends of `message` bytes, to which ranks of its group. `named` says whether the
/// operation itself names them.
pub(in crate::outputs) fn sends(
    operation: Operation,
    message: u128,
    rank: u32,
    ranks: u32,
    peer: Option<u32>,
) -> (bool, Vec<(u32, u128)>) {
    let next = (rank + 1) % ranks.max(1);
    let others = || (0..ranks).filter(|other| *other != rank).map(|other| (other, message));
    let to = |rank: u32, bytes: u128| vec![(rank, bytes)];
    let root = peer == Some(rank);
    match operation {
        _ if ranks < 2 => (false, Vec::new()),
        Operation::AllReduce | Operation::AllGather | Operation::ReduceScatter => {
            (false, to(next, bus_bytes(operation, message, Some(ranks)).unwrap_or(0)))
        }
        Operation::Broadcast if peer == Some(next) => (false, Vec::new()),
        Operation::Reduce if root => (false, Vec::new()),
        Operation::Broadcast | Operation::Reduce => (false, to(next, message)),
        Operation::AlltoAll => (false, others().collect()),
        Operation::Gather if root => (true, Vec::new()),
        Operation::Scatter if root => (true, others().collect()),
        Operation::AlltoAllv => (false, Vec::new()),
        Operation::Scatter | Operation::Recv | Operation::Copy => (true, Vec::new()),
        Operation::Send | Operation::PutSignal | Operation::Gather => {
            (true, peer.map(|peer| (peer, message)).into_iter().collect())
        }
    }
}

/// Sums as they grow, process by process.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    cells: BTreeMap<(Option<u32>, Option<u32>), (u128, u128)>,
    without_place: u64,
}

impl Matrix {
    /// Adds what `process` sends, the workers numbered by `numbers`.
    pub(super) fn add(
        &mut self,
        process: &Process,
        groups: &Groups,
        numbers: &HashMap<Identity, u32>,
    ) {
        let from = numbers.get(&process.identity()).copied();
        let ledger: &Ledger = process.ledger();
        let entries = ledger.entries().iter().copied().chain(ledger.unsettled());
        for entry in entries.filter(|entry| entry.key.label.phase != Phase::Startup) {
            if self.entry(process, groups, numbers, from, &entry).is_none() {
                self.without_place = self.without_place.saturating_add(entry.count);
            }
        }
    }

    fn entry(
        &mut self,
        process: &Process,
        groups: &Groups,
        numbers: &HashMap<Identity, u32>,
        from: Option<u32>,
        entry: &Entry,
    ) -> Option<()> {
        let id: Option<CommunicatorId> = entry.key.communicator;
        let place = Place::of(process, id);
        let members = &groups.all().get(&place.group?)?.members;
        let worker = |rank: u32| {
            let rank = i32::try_from(rank).ok()?;
            numbers.get(members.get(&rank)?).copied()
        };
        let (rank, ranks) = (u32::try_from(place.rank?).ok()?, place.ranks?);
        let message = message_bytes(entry.elements, entry.key.datatype)?;
        let peer = entry.key.peer.and_then(|peer| u32::try_from(peer).ok());
        if entry.key.operation == Operation::Recv {
            let sender = worker(peer?);
            if sender.is_none() {
                self.cells.entry((None, from)).or_default().0 += message;
            }
            return Some(());
        }
        let (named, sent) = sends(entry.key.operation, message, rank, ranks, peer);
        for (to, bytes) in sent {
            let cell = self.cells.entry((from, worker(to))).or_default();
            let sum = if named { &mut cell.0 } else { &mut cell.1 };
            *sum = sum.saturating_add(bytes);
        }
        Some(())
    }

    pub(super) fn done(self) -> Transfers {
        let saturated = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
        let cells = self.cells.into_iter().map(|((from, to), (named, ring))| Cell {
            from,
            to,
            named_bytes: saturated(named),
            ring_bytes: saturated(ring),
        });
        Transfers {
            cells: cells.filter(|cell| cell.bytes() > 0).collect(),
            operations_without_place: self.without_place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(operation: Operation, message: u128, ranks: u32, root: u32) -> u128 {
        let of = |rank| sends(operation, message, rank, ranks, Some(root)).1;
        (0..ranks).flat_map(of).map(|(_, bytes)| bytes).sum()
    }

    proptest! {
        #[test]
        fn what_all_ranks_send_in_rings_is_what_nccl_tests_count(
            message in 0u128..1 << 40, ranks in 2u32..64,
        ) {
            for operation in [
                Operation::AllReduce, Operation::AllGather, Operation::ReduceScatter, Operation::AlltoAll,
            ] {
                let bus = bus_bytes(operation, message, Some(ranks)).unwrap();
                prop_assert_eq!(sum(operation, message, ranks, 0), bus * u128::from(ranks));
            }
        }

        #[test]
        fn every_rank_but_the_root_gets_or_gives_one_message(
            message in 0u128..1 << 40, ranks in 2u32..64, root in 0u32..64,
        ) {
            let root = root % ranks;
            for operation in
                [Operation::Broadcast, Operation::Reduce, Operation::Gather, Operation::Scatter]
            {
                prop_assert_eq!(sum(operation, message, ranks, root), message * u128::from(ranks - 1));
            }
        }

        #[test]
        fn nobody_sends_to_itself_or_outside_its_group(
            rank in 0u32..8, ranks in 1u32..8, root in 0u32..8,
        ) {
            let (rank, root) = (rank % ranks, root % ranks);
            for operation in Operation::ALL {
                // A transfer to oneself is the caller's own wish.
                if matches!(operation, Operation::Send | Operation::PutSignal) && root == rank { continue; }
                let (_, sent) = sends(operation, 8, rank, ranks, Some(root));
                prop_assert!(sent.iter().all(|(to, _)| *to < ranks && *to != rank));
            }
        }
    }
}
