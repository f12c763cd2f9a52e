//! What one launch carries out: the operations of NCCL in a graph, what is repeated stated once. Pure.

use nccltap_proto::ringfile::{LARGEST_MANIFEST, ManifestOperation};
use std::collections::HashMap;

/// Operations that NCCL takes together: one that was issued alone, or those of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Block {
    /// As they were issued; `times`, `group` and `conditional` are said for the whole block.
    operations: Vec<ManifestOperation>,
    /// Inside a conditional node.
    conditional: bool,
}

/// The operations of a graph.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest {
    /// In order of first appearance, each with how often it stands there.
    blocks: Vec<(Block, u32)>,
    places: HashMap<Block, usize>,
    operations: usize,
    incomplete: bool,
}

impl Manifest {
    /// Adds operations that NCCL takes together.
    pub(crate) fn add(&mut self, operations: Vec<ManifestOperation>) {
        self.add_block(Block { operations, conditional: false }, 1);
    }

    /// Adds everything that `other` holds, once more; `conditional` where only the GPU knows how often.
    pub(crate) fn extend(&mut self, other: &Self, conditional: bool) {
        self.incomplete |= other.incomplete;
        for (block, times) in &other.blocks {
            let conditional = conditional || block.conditional;
            let operations = block.operations.clone();
            self.add_block(Block { operations, conditional }, *times);
        }
    }

    /// Something is missing that cannot be found out any more, so that nothing may be said of it.
    pub(crate) fn spoil(&mut self) {
        self.incomplete = true;
    }

    /// Whether everything is there.
    pub(crate) fn is_complete(&self) -> bool {
        !self.incomplete
    }

    /// Whether it holds no operation.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The operations, those of a group under one number.
    pub(crate) fn entries(&self) -> Vec<ManifestOperation> {
        let mut groups = 0;
        let mut entries = Vec::with_capacity(self.operations);
        for (Block { operations, conditional }, times) in &self.blocks {
            let group = match operations.len() {
                0 | 1 => 0,
                _ => {
                    groups += 1;
                    groups
                }
            };
            let (times, conditional) = (*times, u8::from(*conditional));
            entries.extend(operations.iter().map(|operation| ManifestOperation {
                times,
                conditional,
                group,
                ..*operation
            }));
        }
        entries
    }

    fn add_block(&mut self, block: Block, times: u32) {
        if block.operations.is_empty() {
            return;
        }
        if let Some(place) = self.places.get(&block)
            && let Some((_, known)) = self.blocks.get_mut(*place)
        {
            match known.checked_add(times) {
                Some(sum) => *known = sum,
                None => self.incomplete = true,
            }
            return;
        }
        if self.operations + block.operations.len() > LARGEST_MANIFEST {
            self.incomplete = true;
            return;
        }
        self.operations += block.operations.len();
        self.places.insert(block.clone(), self.blocks.len());
        self.blocks.push((block, times));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use nccltap_proto::Function;
    use proptest::prelude::*;

    /// An AllReduce of so many elements.
    pub(crate) fn all_reduce(count: u64) -> ManifestOperation {
        let function = Function::ncclAllReduce.id();
        ManifestOperation { count, function, peer: -1, ..Default::default() }
    }

    /// How often each count stands in the manifest, in conditional nodes and out of them.
    fn tally(manifest: &Manifest) -> HashMap<(u64, bool), u64> {
        let mut tally = HashMap::new();
        for entry in manifest.entries() {
            *tally.entry((entry.count, entry.conditional != 0)).or_default() +=
                u64::from(entry.times);
        }
        tally
    }

    #[test]
    fn what_is_repeated_is_stated_once_whatever_stands_between() {
        let mut manifest = Manifest::default();
        for _ in 0..32 {
            manifest.add(vec![all_reduce(4096)]);
            manifest.add(vec![all_reduce(8192)]);
        }
        let entries: Vec<_> = manifest.entries().iter().map(|e| (e.count, e.times)).collect();
        assert_eq!(entries, [(4096, 32), (8192, 32)]);
    }

    #[test]
    fn a_group_is_repeated_as_a_whole() {
        let mut manifest = Manifest::default();
        manifest.add(vec![all_reduce(1), all_reduce(2)]);
        manifest.add(vec![all_reduce(1)]);
        manifest.add(vec![all_reduce(1), all_reduce(2)]);
        manifest.add(vec![all_reduce(2), all_reduce(1)]);
        let entries: Vec<_> =
            manifest.entries().iter().map(|e| (e.count, e.times, e.group)).collect();
        assert_eq!(entries, [(1, 2, 1), (2, 2, 1), (1, 1, 0), (2, 1, 2), (1, 1, 2)]);
    }

    #[test]
    fn a_manifest_that_is_too_large_is_not_complete_and_says_so_of_all_it_becomes_part_of() {
        let mut manifest = Manifest::default();
        for count in 0..=LARGEST_MANIFEST as u64 {
            assert!(manifest.is_complete());
            manifest.add(vec![all_reduce(count)]);
        }
        assert!(!manifest.is_complete());
        assert_eq!(manifest.entries().len(), LARGEST_MANIFEST);
        let mut parent = Manifest::default();
        parent.extend(&manifest, false);
        assert!(!parent.is_complete());
    }

    proptest! {
        /// Adding is addition: nothing is lost or doubled, and no order of it makes a difference.
        #[test]
        fn the_whole_is_the_sum_of_its_parts(
            parts in prop::collection::vec((prop::collection::vec(0u64..5, 0..20), any::<bool>()), 0..8)
        ) {
            let mut whole = Manifest::default();
            let mut expected: HashMap<(u64, bool), u64> = HashMap::new();
            for (counts, conditional) in &parts {
                let mut part = Manifest::default();
                for count in counts {
                    part.add(vec![all_reduce(*count)]);
                    *expected.entry((*count, *conditional)).or_default() += 1;
                }
                whole.extend(&part, *conditional);
            }
            prop_assert_eq!(tally(&whole), expected.clone());
            let mut again = Manifest::default();
            again.extend(&whole, false);
            again.extend(&whole, true);
            let doubled: u64 = tally(&again).values().sum();
            prop_assert_eq!(doubled, 2 * expected.values().sum::<u64>());
            prop_assert!(again.entries().iter().all(|entry| entry.times > 0));
        }
    }
}
