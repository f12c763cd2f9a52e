//! What the ledger tells apart.

use crate::steps::Label;
use crate::timeline::{CommunicatorId, Launch, known_elements};
use nccltap_proto::{Datatype, Operation, Path};

/// How many elements one operation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Elements {
    /// Exactly so many.
    Exactly(u64),
    /// More than half as many, and at most so many: a power of two, saturating at the largest.
    UpTo(u64),
    /// It is not known: a kernel that moves data beside NCCL, whose arguments do not say it.
    Unknown,
}

impl Elements {
    /// What such an operation on `path` says.
    pub const fn of(elements: u64, path: Path, operation: Operation) -> Self {
        match known_elements(elements, path, operation) {
            Some(elements) => Self::Exactly(elements),
            None => Self::Unknown,
        }
    }

    /// What such an operation on `path` adds to a sum of elements.
    pub(super) fn summed(elements: u64, path: Path, operation: Operation) -> u128 {
        known_elements(elements, path, operation).map_or(0, u128::from)
    }

    /// `elements` rounded up to a power of two.
    pub fn rounded(elements: u64, path: Path, operation: Operation) -> Self {
        known_elements(elements, path, operation).map_or(Self::Unknown, |elements| {
            Self::UpTo(elements.checked_next_power_of_two().unwrap_or(u64::MAX))
        })
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
    /// Message bytes of operations of this key that have `elements` in all. `None` where size or data type are not
    /// known.
    pub fn message_bytes(&self, elements: u128) -> Option<u128> {
        match self.elements {
            Elements::Unknown => None,
            Elements::Exactly(_) | Elements::UpTo(_) => {
                super::bytes::message_bytes(elements, self.datatype)
            }
        }
    }

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
