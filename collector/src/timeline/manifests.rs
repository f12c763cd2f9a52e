//! What a launch of a graph carries out.

use super::{CommunicatorId, Communicators, Launch, OperationCall, kernels};
use nccltap_proto::record::{NO_DATATYPE, NO_PEER};
use nccltap_proto::{Datatype, Function, Operation, v1};
use rustc_hash::FxHashMap;

/// Number of a manifest within its process, from 1.
pub type ManifestId = u32;

/// The manifests of one process. They never change, and graphs that carry out the same share one.
#[derive(Debug, Default)]
pub struct Manifests(FxHashMap<ManifestId, Manifest>);

/// What one launch carries out.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    blocks: Vec<Block>,
    device_launch: bool,
}

/// Operations that NCCL takes together, and how often one launch carries them out.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// One operation, or those of one group.
    pub calls: Vec<OperationCall>,
    /// How often they stand in the graph.
    pub times: u64,
    /// They are inside a conditional node: how often they are carried out, only the GPU knows.
    pub conditional: bool,
}

impl Manifests {
    /// Takes in a manifest. Gives it, if it is new.
    pub fn learn(
        &mut self,
        manifest: &v1::Manifest,
        communicators: &Communicators,
    ) -> Option<&Manifest> {
        use std::collections::hash_map::Entry;
        match self.0.entry(manifest.id) {
            Entry::Vacant(place) => Some(place.insert(Manifest::of(manifest, communicators))),
            Entry::Occupied(_) => None,
        }
    }

    /// The manifest with this number.
    #[inline]
    pub fn get(&self, id: ManifestId) -> Option<&Manifest> {
        self.0.get(&id)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Manifest {
    /// What a launch carries out.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// AllReduce that one launch carries out for certain.
    pub fn all_reduces(&self) -> u64 {
        let certain = self.blocks.iter().filter(|block| !block.conditional);
        let of = |block: &Block| {
            let calls = block.calls.iter().filter(|call| call.operation == Operation::AllReduce);
            calls.count() as u64 * block.times
        };
        certain.map(of).sum()
    }

    /// Whether the GPU can launch the graph by itself.
    pub fn device_launch(&self) -> bool {
        self.device_launch
    }
}

impl Manifest {
    /// A manifest that keeps to the [contract](crate::ingest::contract). An operation of a function this
    /// collector does not know is left out.
    fn of(manifest: &v1::Manifest, communicators: &Communicators) -> Self {
        let same_group = |a: &v1::ManifestOperation, b: &v1::ManifestOperation| {
            a.group != 0 && a.group == b.group
        };
        let block = |operations: &[v1::ManifestOperation]| {
            let first = operations.first()?;
            let calls: Vec<_> =
                operations.iter().filter_map(|one| call(one, communicators)).collect();
            let (times, conditional) = (u64::from(first.times), first.conditional);
            (!calls.is_empty()).then_some(Block { calls, times, conditional })
        };
        Self {
            blocks: manifest.operations.chunk_by(same_group).filter_map(block).collect(),
            device_launch: manifest.device_launch,
        }
    }
}

fn call(operation: &v1::ManifestOperation, communicators: &Communicators) -> Option<OperationCall> {
    let function = u16::try_from(operation.function).ok().and_then(Function::from_id)?;
    if function.launches_kernel() {
        return kernels::captured(function, operation, communicators);
    }
    let datatype = u8::try_from(operation.datatype).unwrap_or(NO_DATATYPE);
    Some(OperationCall {
        function,
        operation: function.operation()?,
        communicator: operation.communicator.map(|id| id as CommunicatorId),
        elements: operation.count,
        path: function.path(),
        datatype: Datatype::from_code(datatype),
        peer: (operation.peer != NO_PEER).then_some(operation.peer),
        launch: Launch::Graph,
        end: 0,
        duration_ns: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn operation(count: u64, group: u32, times: u32) -> v1::ManifestOperation {
        let function = Function::ncclAllReduce.id().into();
        v1::ManifestOperation { function, count, group, times, peer: -1, ..Default::default() }
    }

    fn manifest(operations: Vec<v1::ManifestOperation>) -> Manifest {
        let manifest = v1::Manifest { id: 1, operations, device_launch: false };
        Manifest::of(&manifest, &Communicators::default())
    }

    #[test]
    fn operations_of_one_group_stay_together() {
        let all = vec![
            operation(1, 0, 5),
            operation(2, 0, 1),
            operation(3, 1, 2),
            operation(4, 1, 2),
            operation(5, 2, 7),
        ];
        let manifest = manifest(all);
        let sizes: Vec<_> = manifest.blocks().iter().map(|b| (b.calls.len(), b.times)).collect();
        assert_eq!(sizes, [(1, 5), (1, 1), (2, 2), (1, 7)]);
    }

    #[test]
    fn a_manifest_never_changes() {
        let (mut manifests, communicators) = (Manifests::default(), Communicators::default());
        let one =
            v1::Manifest { id: 7, operations: vec![operation(1, 0, 5)], ..Default::default() };
        assert!(manifests.learn(&one, &communicators).is_some());
        let other = v1::Manifest { operations: vec![], ..one };
        assert!(manifests.learn(&other, &communicators).is_none());
        assert_eq!(manifests.get(7).unwrap().blocks().len(), 1);
    }

    proptest! {
        #[test]
        fn no_operation_of_a_manifest_is_lost(
            operations in prop::collection::vec((0u64..9, 0u32..4, 1u32..9), 0..40)
        ) {
            let all: Vec<_> = operations.iter().map(|(c, g, t)| operation(*c, *g, *t)).collect();
            let manifest = manifest(all);
            let calls = manifest.blocks().iter().flat_map(|block| &block.calls);
            let counts: Vec<_> = calls.map(|call| call.elements).collect();
            prop_assert_eq!(counts, operations.iter().map(|(c, ..)| *c).collect::<Vec<_>>());
        }
    }
}
