//! A forward pass in a tensor-parallel group: AllReduce of one size, one after the other.

use crate::timeline::CommunicatorId;

/// A forward pass that is under way: how often and how much is reduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) communicator: Option<CommunicatorId>,
    pub(super) elements: u64,
    pub(super) reduces: u64,
    /// Something else came in between.
    pub(super) irregular: bool,
    /// Some of it ran from CUDA graphs, and so with padding.
    pub(super) from_graphs: bool,
    /// The launch that comes, or came first, carries out so many AllReduce.
    pub(super) launched: u64,
}

impl Forward {
    /// Takes an AllReduce in.
    #[inline]
    pub(super) fn add(&mut self, communicator: CommunicatorId, elements: u64, from_graph: bool) {
        if self.reduces == 0 {
            self.communicator = Some(communicator);
            self.elements = elements;
        }
        self.irregular |= !self.goes_on(communicator, elements);
        self.from_graphs |= from_graph;
        self.reduces += 1;
    }

    /// Whether an AllReduce like this can be part of it.
    #[inline]
    pub(super) fn goes_on(&self, communicator: CommunicatorId, elements: u64) -> bool {
        self.communicator == Some(communicator) && self.elements == elements
    }

    /// A graph with so many AllReduce is launched.
    #[inline]
    pub(super) fn launch(&mut self, reduces: u64) {
        if self.reduces == 0 {
            self.launched = reduces;
        }
    }

    /// Whether it ran from one graph as a whole.
    pub(super) fn is_one_graph(&self) -> bool {
        self.from_graphs && self.launched == self.reduces
    }

    /// Nothing of it has come.
    pub(super) fn is_empty(&self) -> bool {
        self.reduces == 0
    }
}

/// A forward pass with its logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// AllReduce of the forward pass.
    pub(super) reduces: u64,
    /// Elements of each.
    pub(super) reduced: u64,
    /// Elements of the AllGather of the logits.
    pub(super) gathered: u64,
}
