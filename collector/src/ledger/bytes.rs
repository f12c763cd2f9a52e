//! Bytes of an operation: what a rank states, and what crosses the wires.
//!
//! *Message bytes* are elements x element size, as one rank states the operation. *Bus bytes* are
//! message bytes x the correction factor of nccl-tests (doc/PERFORMANCE.md there): what each rank
//! must send through its link when the algorithm wastes nothing. Both are per rank, never summed
//! over ranks.
//!
//! With d ranks:
//!
//! | operation | NCCL's count | bus bytes |
//! |---|---|---|
//! | AllReduce | of the whole buffer | 2 (d-1)/d x message bytes |
//! | AllGather | of one rank's part | (d-1) x message bytes: (d-1)/d of the whole buffer |
//! | ReduceScatter | of one rank's part | (d-1) x message bytes |
//! | AlltoAll | of the part for one peer | (d-1) x message bytes |
//! | Broadcast, Reduce, Gather, Scatter, Send, Recv, PutSignal, Copy | | message bytes |

use nccltap_proto::{Datatype, Operation};

/// Message bytes of operations that have `elements` elements in all. `None` when the data type is
/// not known.
pub fn message_bytes(elements: u128, datatype: Option<Datatype>) -> Option<u128> {
    Some(elements.saturating_mul(datatype?.size().into()))
}

/// Bus bytes of operations that have `message_bytes` in all, in a group of `ranks`, rounded to the
/// nearest byte. `None` when the size of the group is needed and not known.
pub fn bus_bytes(operation: Operation, message_bytes: u128, ranks: Option<u32>) -> Option<u128> {
    let others = |ranks: u32| u128::from(ranks.saturating_sub(1));
    match operation {
        Operation::AllReduce => {
            let d = ranks.filter(|d| *d > 0)?;
            // Half of d is added so that the division rounds to the nearest.
            let doubled = message_bytes.saturating_mul(2 * others(d));
            Some(doubled.saturating_add(u128::from(d / 2)) / u128::from(d))
        }
        Operation::AllGather | Operation::ReduceScatter | Operation::AlltoAll => {
            let d = ranks.filter(|d| *d > 0)?;
            Some(message_bytes.saturating_mul(others(d)))
        }
        // Never asked: its message bytes are not known.
        Operation::AlltoAllv
        | Operation::Broadcast
        | Operation::Reduce
        | Operation::Gather
        | Operation::Scatter
        | Operation::Send
        | Operation::Recv
        | Operation::PutSignal
        | Operation::Copy => Some(message_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_operation_has_the_factor_of_nccl_tests() {
        for (operation, ranks, message, bus) in [
            (Operation::AllReduce, 2, 8192, 8192),
            (Operation::AllReduce, 4, 8192, 12288),
            (Operation::AllReduce, 3, 2, 3),
            (Operation::AllGather, 4, 1024, 3072),
            (Operation::ReduceScatter, 4, 1024, 3072),
            (Operation::AlltoAll, 8, 10, 70),
            (Operation::Broadcast, 4, 64, 64),
            (Operation::Reduce, 4, 64, 64),
            (Operation::Gather, 4, 64, 64),
            (Operation::Scatter, 4, 64, 64),
            (Operation::Send, 2, 64, 64),
            (Operation::Recv, 2, 64, 64),
            (Operation::AllReduce, 1, 64, 0),
        ] {
            assert_eq!(bus_bytes(operation, message, Some(ranks)), Some(bus), "{operation:?}");
        }
    }

    #[test]
    fn what_needs_an_unknown_size_is_not_known() {
        assert_eq!(bus_bytes(Operation::AllReduce, 64, None), None);
        assert_eq!(bus_bytes(Operation::AllGather, 64, Some(0)), None);
        assert_eq!(bus_bytes(Operation::Send, 64, None), Some(64));
        assert_eq!(message_bytes(64, None), None);
        assert_eq!(message_bytes(64, Some(Datatype::Bfloat16)), Some(128));
    }

    proptest! {
        /// Rounding a sum once is never further from the truth than half a byte.
        #[test]
        fn the_bus_bytes_of_an_all_reduce_are_the_nearest_whole(message in 0u64.., ranks in 1u32..4096) {
            let message = u128::from(message);
            let bus = bus_bytes(Operation::AllReduce, message, Some(ranks)).unwrap();
            let exact = message * 2 * u128::from(ranks - 1);
            prop_assert!((bus * u128::from(ranks)).abs_diff(exact) * 2 <= u128::from(ranks));
        }
    }
}
