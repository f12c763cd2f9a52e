//! What an operation, or a group of them, can mean to a step.

use super::pipeline::{Links, Passage};
use crate::timeline::{CommunicatorId, Launch, OperationCall};
use nccltap_proto::{Datatype, Operation};

/// An operation as the recognisers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Broadcast {
        communicator: CommunicatorId,
        datatype: Datatype,
        elements: u64,
    },
    AllReduce {
        communicator: CommunicatorId,
        datatype: Datatype,
        elements: u64,
        graph: bool,
    },
    AllGather {
        communicator: CommunicatorId,
        elements: u64,
    },
    /// Transfers of one kind and size: one alone, or all of a group.
    Transfer {
        communicator: CommunicatorId,
        elements: u64,
        sends: bool,
        /// Its number on its link.
        passage: Option<Passage>,
    },
    /// Anything else.
    Other,
}

impl Event {
    #[inline]
    pub(super) fn of(call: &OperationCall, links: &mut Links) -> Self {
        let (Some(communicator), Some(datatype)) = (call.communicator, call.datatype) else {
            return Self::Other;
        };
        let elements = call.elements;
        match call.operation {
            // Copies of the model agree on sizes with integers.
            Operation::AllReduce if is_integer(datatype) => Self::Other,
            Operation::AllReduce => {
                let graph = call.launch == Launch::Graph;
                Self::AllReduce { communicator, datatype, elements, graph }
            }
            Operation::AllGather => Self::AllGather { communicator, elements },
            Operation::Broadcast => Self::Broadcast { communicator, datatype, elements },
            Operation::Send | Operation::Recv => {
                let sends = call.operation == Operation::Send;
                match call.peer {
                    Some(peer) => {
                        let passage = links.pass(communicator, peer, sends, elements);
                        Self::Transfer { communicator, elements, sends, passage }
                    }
                    None => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }

    /// What operations that were launched together mean.
    pub(super) fn of_group(calls: &[OperationCall], links: &mut Links) -> Self {
        // Each counts on its link, whatever it is part of.
        let mut events = calls.iter().map(|call| Self::of(call, links));
        let Some((first, event)) = calls.first().zip(events.next()) else { return Self::Other };
        events.for_each(drop);
        let alike = |call: &OperationCall| {
            (call.operation, call.communicator, call.elements, call.datatype)
                == (first.operation, first.communicator, first.elements, first.datatype)
        };
        match event {
            transfer @ Self::Transfer { .. } if calls.iter().all(alike) => transfer,
            _ => Self::Other,
        }
    }

    /// What pynccl does first with each communicator: an AllReduce of one float32.
    pub(super) fn is_warm_up(self) -> bool {
        matches!(
            self,
            Self::AllReduce { datatype: Datatype::Float32, elements: 1, graph: false, .. }
        )
    }
}

const fn is_integer(datatype: Datatype) -> bool {
    use Datatype::{Int8, Int32, Int64, Uint8, Uint32, Uint64};
    matches!(datatype, Int8 | Uint8 | Int32 | Uint32 | Int64 | Uint64)
}
