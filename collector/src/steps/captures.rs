//! Sizes that an engine captured into CUDA graphs.
//!
//! A step that runs from a graph is padded to the next of these sizes.

use std::collections::BTreeMap;

/// Sizes that are told apart. vLLM captures some seventy.
const SIZES: usize = 1024;

/// How often an AllReduce of so many elements was captured.
#[derive(Clone, Debug, Default)]
pub(super) struct Captures {
    sizes: BTreeMap<u64, u64>,
    overflown: bool,
}

impl Captures {
    /// Takes in an AllReduce that went to a graph.
    pub(super) fn add(&mut self, elements: u64) {
        match self.sizes.len() < SIZES || self.sizes.contains_key(&elements) {
            true => *self.sizes.entry(elements).or_default() += 1,
            false => self.overflown = true,
        }
    }

    /// The size that a step of `elements` is padded to when it runs from a graph: `elements` themselves
    /// when there is none so large. `None` when not every size is known.
    pub(super) fn padded(&self, elements: u64) -> Option<u64> {
        let next = self.sizes.range(elements..).next().map(|(size, _)| *size);
        (!self.overflown).then(|| next.unwrap_or(elements))
    }

    /// Whether nothing was captured.
    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// The size of a forward pass of one token, when the sizes are those that vLLM captures by default: 1, 2, 4,
    /// and from 8 on multiples of 8.
    pub(super) fn one_token(&self) -> Option<u64> {
        let one = *self.sizes.first_key_value()?.0;
        let has = |tokens: u64| {
            one.checked_mul(tokens).is_some_and(|size| self.sizes.contains_key(&size))
        };
        let default = [2, 4, 8, 16, 24].into_iter().all(has) && !has(3) && !has(12);
        (default && !self.overflown).then_some(one)
    }

    /// Whether each forward pass of `reduces` AllReduce was captured in two ways, as a whole and in pieces.
    /// Then what runs from a whole graph has one token per sequence: vLLM captures such decode apart
    /// (`FULL_AND_PIECEWISE`). The smallest size tells; larger ones may have been captured once more to see
    /// what memory it takes.
    pub(super) fn in_two_ways(&self, reduces: u64) -> bool {
        let smallest = self.sizes.first_key_value();
        !self.overflown && smallest.is_some_and(|(_, times)| *times >= 2 * reduces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_padded_to_the_next_size_that_was_captured() {
        let mut captures = Captures::default();
        assert_eq!(captures.padded(5), Some(5));
        [8, 1, 2, 4].into_iter().for_each(|size| captures.add(size));
        let padded: Vec<_> = [1, 3, 4, 5, 8, 9].map(|size| captures.padded(size).unwrap()).into();
        assert_eq!(padded, [1, 4, 4, 8, 8, 9]);
    }

    #[test]
    fn one_token_shows_in_the_default_sizes_alone() {
        let of = |sizes: &[u64]| {
            let mut captures = Captures::default();
            sizes.iter().for_each(|size| captures.add(*size));
            captures.one_token()
        };
        assert_eq!(of(&[256, 512, 1024, 2048, 4096, 6144, 8192]), Some(256));
        assert_eq!(of(&[512, 1024, 2048, 4096, 6144, 8192, 12288]), None);
        assert_eq!(of(&[256, 512]), None);
    }

    #[test]
    fn past_its_bound_no_padding_is_known() {
        let mut captures = Captures::default();
        (0..=SIZES as u64).for_each(|size| captures.add(size));
        assert_eq!(captures.padded(1), None);
    }

    #[test]
    fn decode_has_graphs_of_its_own_when_the_smallest_size_was_captured_twice() {
        let mut captures = Captures::default();
        (0..5).for_each(|_| captures.add(1));
        (0..10).for_each(|_| captures.add(2));
        assert!(!captures.in_two_ways(5));
        (0..5).for_each(|_| captures.add(1));
        assert!(captures.in_two_ways(5));
    }
}
