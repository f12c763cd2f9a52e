//! What operations that were grouped mean together.
//!
//! PyTorch's gather is a group of Recv at the root and one Send at each other rank; vLLM's
//! all_gatherv is a group of Broadcast, one per root. Here a group is given the name of the
//! collective that it is, when nothing else it could be has the same form. What is not certain stays
//! what NCCL was told: one Recv in a group of two ranks may be a gather or a plain transfer, unless the step it
//! is in tells.

use crate::timeline::{CommunicatorId, Communicators, Launch, OperationCall};
use nccltap_proto::{Datatype, Operation};

/// A collective that is made of several operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collective {
    /// The root receives from every other rank.
    Gather,
    /// The root sends to every other rank.
    Scatter,
    /// Every rank sends to and receives from every rank.
    AlltoAll,
    /// One Broadcast from each rank, all of one size.
    AllGather,
    /// One Broadcast from each rank, of different sizes.
    AllGatherV,
    /// One Reduce to each rank, all of one size.
    ReduceScatter,
    /// One Reduce to each rank, of different sizes.
    ReduceScatterV,
}

impl Collective {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gather => "Gather",
            Self::Scatter => "Scatter",
            Self::AlltoAll => "AlltoAll",
            Self::AllGather => "AllGather",
            Self::AllGatherV => "AllGatherV",
            Self::ReduceScatter => "ReduceScatter",
            Self::ReduceScatterV => "ReduceScatterV",
        }
    }

    /// Bus bytes of `message_bytes` in a group of `ranks`, see [`bytes`](super::bytes). The forms
    /// with different sizes count the whole buffer, so theirs are (d-1)/d of it.
    pub fn bus_bytes(self, message_bytes: u128, ranks: u32) -> Option<u128> {
        let like = |operation| super::bytes::bus_bytes(operation, message_bytes, Some(ranks));
        match self {
            Self::Gather => like(Operation::Gather),
            Self::Scatter => like(Operation::Scatter),
            Self::AlltoAll => like(Operation::AlltoAll),
            Self::AllGather => like(Operation::AllGather),
            Self::ReduceScatter => like(Operation::ReduceScatter),
            Self::AllGatherV | Self::ReduceScatterV => {
                let d = u128::from(ranks).max(1);
                Some((message_bytes.saturating_mul(d - 1).saturating_add(d / 2)) / d)
            }
        }
    }
}

/// Collectives that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Merged {
    /// What it is.
    pub collective: Collective,
    /// The data type of all its operations.
    pub datatype: Datatype,
    /// As NCCL's function of that name counts: per peer or rank, and for the forms with different
    /// sizes the sum over ranks.
    pub elements: u64,
    /// The communicator.
    pub communicator: CommunicatorId,
    /// The root, for a collective that has one.
    pub root: Option<i32>,
    /// How it was launched.
    pub launch: Launch,
}

/// The collectives that a group of calls is made of, with their communicators.
pub(super) fn of_group(
    calls: &[OperationCall],
    communicators: &Communicators,
) -> Vec<(Merged, CommunicatorId)> {
    let mut seen: Vec<CommunicatorId> = calls.iter().filter_map(|call| call.communicator).collect();
    seen.sort_unstable();
    seen.dedup();
    let merged = seen.into_iter().filter_map(|communicator| {
        let facts = communicators.get(communicator)?;
        let here: Vec<&OperationCall> =
            calls.iter().filter(|call| call.communicator == Some(communicator)).collect();
        Some((recognise(&here, facts.ranks, facts.rank)?, communicator))
    });
    merged.collect()
}

/// The gather that a lone Recv is in a group of two ranks, when it is known to be one.
pub(super) fn gather_of_two(call: &OperationCall, communicators: &Communicators) -> Option<Merged> {
    let facts = communicators.get(call.communicator?)?;
    let two = facts.ranks == 2 && call.operation == Operation::Recv && facts.rank >= 0;
    two.then_some(Merged {
        collective: Collective::Gather,
        datatype: call.datatype?,
        elements: call.elements,
        communicator: call.communicator?,
        root: Some(facts.rank),
        launch: call.launch,
    })
}

/// The collective that `calls` are: all operations of one group on one communicator of `ranks`
/// ranks, of which this process is `rank`.
fn recognise(calls: &[&OperationCall], ranks: u32, rank: i32) -> Option<Merged> {
    let first = *calls.first()?;
    let datatype = first.datatype?;
    let same_type = calls.iter().all(|c| c.datatype == Some(datatype));
    if !same_type || ranks < 2 || rank < 0 || rank.unsigned_abs() >= ranks {
        return None;
    }
    let even = calls.iter().all(|c| c.elements == first.elements);
    let of = |operation: Operation| calls.iter().filter(move |c| c.operation == operation);
    let peers = |operation: Operation| Peers::of(of(operation).map(|c| c.peer), ranks, rank);
    let only = |operation: Operation| calls.iter().all(|c| c.operation == operation);

    let (collective, elements, root) = match first.operation {
        Operation::Broadcast | Operation::Reduce if only(first.operation) => {
            let total = calls.iter().try_fold(0u64, |sum, c| sum.checked_add(c.elements))?;
            if peers(first.operation) != Peers::EveryRank {
                return None;
            }
            match (first.operation, even) {
                (Operation::Broadcast, true) => (Collective::AllGather, first.elements, None),
                (Operation::Broadcast, false) => (Collective::AllGatherV, total, None),
                (_, true) => (Collective::ReduceScatter, first.elements, None),
                (_, false) => (Collective::ReduceScatterV, total, None),
            }
        }
        // With two ranks a fan of one is a plain transfer as well: not certain.
        Operation::Recv if only(Operation::Recv) && even && ranks > 2 => matches!(
            peers(Operation::Recv),
            Peers::EveryOther
        )
        .then_some((Collective::Gather, first.elements, Some(rank)))?,
        Operation::Send if only(Operation::Send) && even && ranks > 2 => matches!(
            peers(Operation::Send),
            Peers::EveryOther
        )
        .then_some((Collective::Scatter, first.elements, Some(rank)))?,
        Operation::Send | Operation::Recv if even => {
            let sends = peers(Operation::Send);
            let both = of(Operation::Send).count() + of(Operation::Recv).count() == calls.len();
            let certain = match sends {
                Peers::EveryRank => true,
                Peers::EveryOther => ranks > 2,
                Peers::Some => false,
            };
            (both && certain && peers(Operation::Recv) == sends).then_some((
                Collective::AlltoAll,
                first.elements,
                None,
            ))?
        }
        _ => return None,
    };
    let (communicator, launch) = (first.communicator?, first.launch);
    Some(Merged { collective, datatype, elements, communicator, root, launch })
}

/// Whom a group's operations of one kind name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peers {
    /// Each rank of the communicator once.
    EveryRank,
    /// Each rank but this process' own once.
    EveryOther,
    /// Anything else.
    Some,
}

impl Peers {
    fn of(peers: impl Iterator<Item = Option<i32>>, ranks: u32, rank: i32) -> Self {
        let mut named: Vec<i32> = peers.flatten().collect();
        named.sort_unstable();
        let every = |without: Option<i32>| {
            (0..ranks.cast_signed()).filter(|r| Some(*r) != without).eq(named.iter().copied())
        };
        if every(None) {
            Self::EveryRank
        } else if every(Some(rank)) {
            Self::EveryOther
        } else {
            Self::Some
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_proto::Function;

    fn call(function: Function, elements: u64, peer: i32) -> OperationCall {
        OperationCall {
            function,
            operation: function.operation().unwrap(),
            communicator: Some(3),
            elements,
            path: nccltap_proto::Path::Nccl,
            datatype: Some(Datatype::Bfloat16),
            peer: Some(peer),
            launch: Launch::Eager,
            end: 0,
            duration_ns: None,
        }
    }

    fn of(
        calls: &[OperationCall],
        ranks: u32,
        rank: i32,
    ) -> Option<(Collective, u64, Option<i32>)> {
        let calls: Vec<_> = calls.iter().collect();
        recognise(&calls, ranks, rank).map(|m| (m.collective, m.elements, m.root))
    }

    use Function::ncclSend as send;
    use Function::{ncclBroadcast as broadcast, ncclRecv as recv, ncclReduce as reduce};

    #[test]
    fn a_fan_of_equal_recvs_is_a_gather_at_this_root() {
        let group = [call(recv, 8, 0), call(recv, 8, 3), call(recv, 8, 1)];
        assert_eq!(of(&group, 4, 2), Some((Collective::Gather, 8, Some(2))));
        assert_eq!(of(&group[..2], 4, 2), None, "one rank is missing");
        let uneven = [call(recv, 8, 0), call(recv, 8, 3), call(recv, 9, 1)];
        assert_eq!(of(&uneven, 4, 2), None);
    }

    #[test]
    fn a_fan_of_equal_sends_is_a_scatter() {
        let group = [call(send, 8, 1), call(send, 8, 2)];
        assert_eq!(of(&group, 3, 0), Some((Collective::Scatter, 8, Some(0))));
    }

    #[test]
    fn with_two_ranks_a_fan_is_a_plain_transfer_as_well_and_stays_one() {
        assert_eq!(of(&[call(recv, 8, 1)], 2, 0), None);
        assert_eq!(of(&[call(send, 8, 1), call(recv, 8, 1)], 2, 0), None);
    }

    #[test]
    fn sends_and_recvs_with_every_rank_are_an_all_to_all() {
        let group: Vec<_> = (0..2).flat_map(|p| [call(send, 8, p), call(recv, 8, p)]).collect();
        assert_eq!(of(&group, 2, 0), Some((Collective::AlltoAll, 8, None)));
        let others: Vec<_> =
            [0, 2].into_iter().flat_map(|p| [call(send, 8, p), call(recv, 8, p)]).collect();
        assert_eq!(of(&others, 3, 1), Some((Collective::AlltoAll, 8, None)));
    }

    #[test]
    fn a_broadcast_from_every_rank_is_an_all_gather() {
        let even: Vec<_> = (0..3).map(|root| call(broadcast, 8, root)).collect();
        assert_eq!(of(&even, 3, 1), Some((Collective::AllGather, 8, None)));
        let uneven: Vec<_> = (0..3).map(|root| call(broadcast, 8 + root as u64, root)).collect();
        assert_eq!(of(&uneven, 3, 1), Some((Collective::AllGatherV, 27, None)));
        assert_eq!(of(&uneven[1..], 3, 1), None, "one root is missing");
    }

    #[test]
    fn a_reduce_to_every_rank_is_a_reduce_scatter() {
        let even: Vec<_> = (0..2).map(|root| call(reduce, 8, root)).collect();
        assert_eq!(of(&even, 2, 1), Some((Collective::ReduceScatter, 8, None)));
        let twice = [call(reduce, 8, 0), call(reduce, 8, 0)];
        assert_eq!(of(&twice, 2, 1), None);
    }

    #[test]
    fn operations_of_different_kinds_stay_what_they_are() {
        assert_eq!(of(&[call(broadcast, 8, 0), call(reduce, 8, 1)], 2, 0), None);
    }
}
