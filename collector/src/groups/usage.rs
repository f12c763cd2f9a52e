//! What runs on a communicator.

use crate::ledger::{Elements, Ledger};
use crate::timeline::CommunicatorId;
use nccltap_proto::{Datatype, Operation};
use rustc_hash::FxHashMap;

/// How often it did what shows a role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// AllReduce of more than one number that is no integer.
    pub reduces: u64,
    /// Send and Recv.
    pub transfers: u64,
    /// AllGather, ReduceScatter and AlltoAll.
    pub exchanges: u64,
    /// Anything else but the warm-up.
    pub others: u64,
}

impl Usage {
    pub(super) fn add(&mut self, more: Self) {
        self.reduces = self.reduces.saturating_add(more.reduces);
        self.transfers = self.transfers.saturating_add(more.transfers);
        self.exchanges = self.exchanges.saturating_add(more.exchanges);
        self.others = self.others.saturating_add(more.others);
    }
}

/// What a process did on each of its communicators.
pub(super) fn by_communicator(ledger: &Ledger) -> FxHashMap<CommunicatorId, Usage> {
    let mut all: FxHashMap<CommunicatorId, Usage> = FxHashMap::default();
    for entry in ledger.entries().iter().copied().chain(ledger.unsettled()) {
        let Some(communicator) = entry.key.communicator else { continue };
        let usage = all.entry(communicator).or_default();
        let several = entry.key.elements != Elements::Exactly(1);
        let count = match entry.key.operation {
            Operation::AllReduce if is_float(entry.key.datatype) && several => &mut usage.reduces,
            Operation::AllReduce if !several => continue,
            Operation::Send | Operation::Recv => &mut usage.transfers,
            Operation::AllGather | Operation::ReduceScatter | Operation::AlltoAll => {
                &mut usage.exchanges
            }
            _ => &mut usage.others,
        };
        *count = count.saturating_add(entry.count);
    }
    all
}

fn is_float(datatype: Option<Datatype>) -> bool {
    matches!(
        datatype,
        Some(Datatype::Float16 | Datatype::Bfloat16 | Datatype::Float32 | Datatype::Float64)
    )
}
