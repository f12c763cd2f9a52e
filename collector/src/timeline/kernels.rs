//! Launches of kernels that move data between GPUs beside NCCL, as operations.
//!
//! Such a kernel names no communicator: it says its rank, and how many ranks take part, or not even that. vLLM's
//! kernels work for a group that has a communicator of pynccl's too, with the same ranks, which was made first. So an
//! operation is given the communicator of that size in which this process has that rank; where there are several,
//! one of pynccl's, which makes them with `ncclCommInitRank`, and of those the first. vLLM makes the tensor-parallel
//! group before all others, and no other has such kernels for all-reduce.

use super::{CommunicatorId, Communicators, Launch, OperationCall};
use nccltap_proto::record::{KernelCall, NO_PEER, Record};
use nccltap_proto::{Datatype, Function, v1};

/// The operation that a launch is. `None` for a kernel this collector does not know.
pub(super) fn call(
    function: Function,
    record: &Record,
    communicators: &Communicators,
) -> Option<OperationCall> {
    let said = Said {
        word: record.reduction,
        rank: record.peer,
        elements: record.count,
        datatype: record.datatype,
        launch: Launch::Eager,
    };
    let call = said.call(function, communicators)?;
    Some(OperationCall { end: record.end, ..call })
}

/// The operation that stands in a manifest.
pub(super) fn captured(
    function: Function,
    operation: &v1::ManifestOperation,
    communicators: &Communicators,
) -> Option<OperationCall> {
    let said = Said {
        word: operation.reduction,
        rank: operation.peer,
        elements: operation.count,
        datatype: u8::try_from(operation.datatype).unwrap_or(u8::MAX),
        launch: Launch::Graph,
    };
    said.call(function, communicators)
}

/// What a record or a manifest says.
struct Said {
    word: i32,
    rank: i32,
    elements: u64,
    datatype: u8,
    launch: Launch,
}

impl Said {
    fn call(&self, function: Function, communicators: &Communicators) -> Option<OperationCall> {
        let KernelCall { kernel, ranks } = KernelCall::from_word(self.word);
        let kernel = kernel?;
        Some(OperationCall {
            function,
            operation: kernel.operation(),
            communicator: communicator(communicators, ranks, self.rank),
            elements: self.elements,
            path: kernel.path(),
            datatype: Datatype::from_code(self.datatype),
            peer: None,
            launch: self.launch,
            end: 0,
            duration_ns: None,
        })
    }
}

/// The communicator of the group that a kernel works for, see the module.
fn communicator(communicators: &Communicators, ranks: u16, rank: i32) -> Option<CommunicatorId> {
    if ranks == 0 || rank == NO_PEER {
        return None;
    }
    communicators.of_place(u32::from(ranks), rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_proto::Kernel;

    const PYNCCL: Function = Function::ncclCommInitRank;
    const PYTORCH: Function = Function::ncclCommInitRankConfig;

    fn communicators(all: &[(u32, i32, Function)]) -> Communicators {
        let mut communicators = Communicators::default();
        for (id, (ranks, rank, function)) in (0u32..).zip(all) {
            communicators.learn(&v1::Communicator {
                id,
                handle: u64::from(id) + 1,
                ranks: *ranks,
                rank: *rank,
                created_by: function.id().into(),
                created: u64::from(id),
                ..Default::default()
            });
        }
        communicators
    }

    fn of(all: &[(u32, i32, Function)], ranks: u16, rank: i32) -> Option<CommunicatorId> {
        communicator(&communicators(all), ranks, rank)
    }

    #[test]
    fn a_kernel_is_given_the_first_communicator_of_pynccl_with_its_rank_and_size() {
        let stage = [(4, 1, PYTORCH), (2, 1, PYTORCH), (2, 1, PYNCCL), (2, 1, PYNCCL)];
        assert_eq!(of(&stage, 2, 1), Some(2));
        assert_eq!(of(&stage, 4, 1), Some(0));
        assert_eq!(of(&stage, 2, 0), None, "another rank");
        assert_eq!(of(&stage, 8, 1), None, "another size");
    }

    #[test]
    fn where_a_kernel_does_not_say_its_ranks_nothing_is_guessed() {
        let one = [(2, 0, PYNCCL)];
        assert_eq!((of(&one, 0, 0), of(&one, 2, NO_PEER)), (None, None));
    }

    #[test]
    fn a_kernel_that_is_not_known_is_no_operation() {
        let word = KernelCall { kernel: None, ranks: 2 }.to_word();
        let record = Record { reduction: word, ..Record::default() };
        assert_eq!(call(Function::cudaLaunchKernel, &record, &communicators(&[])), None);
        let kernel = Kernel::all().next();
        let word = KernelCall { kernel, ranks: 2 }.to_word();
        let record = Record { reduction: word, count: 8, datatype: 9, ..Record::default() };
        let call = call(Function::cudaLaunchKernel, &record, &communicators(&[])).unwrap();
        assert_eq!((call.elements, call.path), (8, kernel.unwrap().path()));
    }
}
