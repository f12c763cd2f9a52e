//! Counts of one step, before it is known what the step is for.

use super::collectives::Merged;
use super::histogram::Durations;
use crate::timeline::{CommunicatorId, Launch, OperationCall};
use nccltap_proto::{Datatype, Operation, Path};

/// Kinds of calls that a tally tells apart. A step has about ten.
pub(super) const LINES: usize = 256;

/// What makes calls of one kind: everything of a key but its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) operation: Operation,
    pub(super) datatype: Option<Datatype>,
    pub(super) elements: u64,
    pub(super) communicator: Option<CommunicatorId>,
    pub(super) peer: Option<i32>,
    pub(super) launch: Launch,
    pub(super) path: Path,
}

impl Shape {
    #[inline]
    pub(super) fn of(call: &OperationCall) -> Self {
        Self {
            operation: call.operation,
            datatype: call.datatype,
            elements: call.elements,
            communicator: call.communicator,
            peer: call.peer,
            launch: call.launch,
            path: call.path,
        }
    }
}

/// Calls of one shape.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) shape: Shape,
    pub(super) count: u64,
    /// How many of them are part of a merged collective.
    pub(super) merged: u64,
    pub(super) durations: Durations,
}

/// Calls that are held until their phase is known.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub(super) lines: Vec<Line>,
    pub(super) merged: Vec<(Merged, u64)>,
    last: usize,
}

impl Tally {
    /// Counts a call and says in which line it stands; `None` when there is no room for its kind.
    #[inline]
    pub(super) fn count(&mut self, call: &OperationCall) -> Option<usize> {
        let shape = Shape::of(call);
        let at = match self.lines.get(self.last) {
            Some(line) if line.shape == shape => self.last,
            _ => self.find(shape)?,
        };
        self.last = at;
        let line = self.lines.get_mut(at)?;
        line.count += 1;
        if let Some(ns) = call.duration_ns {
            line.durations.observe(ns);
        }
        Some(at)
    }

    fn find(&mut self, shape: Shape) -> Option<usize> {
        if let Some(at) = self.lines.iter().position(|line| line.shape == shape) {
            return Some(at);
        }
        if self.lines.len() >= LINES {
            return None;
        }
        let durations = Durations::default();
        self.lines.push(Line { shape, count: 0, merged: 0, durations });
        Some(self.lines.len() - 1)
    }

    /// Notes that `calls`, which stand in these lines, are one collective.
    pub(super) fn merge(&mut self, merged: Merged, lines: impl Iterator<Item = usize>) {
        for at in lines {
            if let Some(line) = self.lines.get_mut(at) {
                line.merged += 1;
            }
        }
        match self.merged.iter_mut().find(|(known, _)| *known == merged) {
            Some((_, count)) => *count += 1,
            None => self.merged.push((merged, 1)),
        }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Calls that are held.
    pub fn operations(&self) -> u64 {
        self.lines.iter().map(|line| line.count).sum()
    }

    /// Gives back the room that is not needed.
    pub(super) fn shrink(&mut self) {
        self.lines.shrink_to_fit();
        self.merged.shrink_to_fit();
    }

    /// Nothing is held any more. The room stays.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.merged.clear();
        self.last = 0;
    }
}
