//! What an operation, or a group of them, can mean to a step.

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
        peer: i32,
    },
    /// Anything else.
    Other,
}

impl Event {
    #[inline]
    pub(super) fn of(call: &OperationCall) -> Self {
        let (Some(communicator), Some(datatype)) = (call.communicator, call.datatype) else {
            return Self::Other;
        };
        let elements = call.elements;
        match call.operation {
            Operation::AllReduce => {
                let graph = call.launch == Launch::Graph;
                Self::AllReduce { communicator, datatype, elements, graph }
            }
            Operation::AllGather => Self::AllGather { communicator, elements },
            Operation::Broadcast => Self::Broadcast { communicator, datatype, elements },
            Operation::Send | Operation::Recv => {
                let sends = call.operation == Operation::Send;
                match call.peer {
                    Some(peer) => Self::Transfer { communicator, elements, sends, peer },
                    None => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }

    /// What operations that were launched together mean.
    pub(super) fn of_group(calls: &[OperationCall]) -> Self {
        let Some(first) = calls.first() else { return Self::Other };
        let alike = |call: &OperationCall| {
            (call.operation, call.communicator, call.elements, call.datatype)
                == (first.operation, first.communicator, first.elements, first.datatype)
        };
        match Self::of(first) {
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
