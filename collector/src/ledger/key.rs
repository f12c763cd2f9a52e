//! What the ledger tells apart.

use crate::steps::Label;
use crate::timeline::{CommunicatorId, Launch};
use nccltap_proto::{Datatype, Operation};

/// The way the data takes. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// Through NCCL's host functions.
    Nccl,
}

impl Path {
    /// The name in reports and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nccl => "nccl",
        }
    }
}

/// How many elements one operation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Elements {
    /// Exactly so many.
    Exactly(u64),
    /// More than half as many, and at most so many: a power of two, saturating at the largest.
    UpTo(u64),
}

impl Elements {
    /// `elements` rounded up to a power of two.
    pub fn rounded(elements: u64) -> Self {
        Self::UpTo(elements.checked_next_power_of_two().unwrap_or(u64::MAX))
    }
}

/// Operations that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The operation.
    pub operation: Operation,
    /// Its data type, `None` for one that is not in NCCL's list.
    pub datatype: Option<Datatype>,
    /// NCCL's count argument.
    pub elements: Elements,
    /// The communicator, `None` when not known.
    pub communicator: Option<CommunicatorId>,
    /// Peer or root.
    pub peer: Option<i32>,
    /// How it was launched.
    pub launch: Launch,
    /// What it serves, and how that is known.
    pub label: Label,
    /// The way it takes.
    pub path: Path,
}

/// Operations whose host durations are kept together: everything of a [`Key`] that is a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// The operation.
    pub operation: Operation,
    /// The communicator.
    pub communicator: Option<CommunicatorId>,
    /// How it was launched.
    pub launch: Launch,
    /// What it serves, and how that is known.
    pub label: Label,
    /// The way it takes.
    pub path: Path,
}

impl Key {
    /// The series that the operation is part of.
    pub fn series(&self) -> Series {
        Series {
            operation: self.operation,
            communicator: self.communicator,
            launch: self.launch,
            label: self.label,
            path: self.path,
        }
    }
}
