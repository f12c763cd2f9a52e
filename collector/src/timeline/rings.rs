//! Where each ring stands, and the operations that wait for their group to end.

use super::OperationCall;

/// Operations of one group that a ring can hold back. A larger group is told before its end.
pub const HELD_OPERATIONS: usize = 65_536;

/// One ring: a thread's records, in order.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// A batch has shown where this collector comes in. Until then `next` is 0.
    pub(super) started: bool,
    /// Position of the first record not yet taken.
    pub(super) next: u64,
    /// Records that were taken by another collector before this one knew the ring.
    pub(super) before: u64,
    /// Records missing between two batches.
    pub(super) lost: u64,
    /// Records the owner has completed, as it said last.
    pub(super) recorded: u64,
    /// Calls that found the ring full, as the owner said last.
    pub(super) dropped: u64,
    /// Up to this position, calls may be missing between the records.
    pub(super) doubtful_until: Option<u64>,
    /// When the latest call that was received ended, in ticks.
    pub(super) latest_end: u64,
    /// Operations of the group that is open.
    pub(super) held: Vec<OperationCall>,
    /// Number of that group, 0 when none is open.
    pub(super) group: u32,
    /// The group has outgrown [`HELD_OPERATIONS`]: its operations are told as they come.
    pub(super) outgrown: bool,
}

impl Ring {
    /// Moves on past `count` records from `first`, and says how many of them are repeats, taken
    /// already.
    pub(super) fn advance(&mut self, first: u64, count: u64) -> u64 {
        if !self.started {
            self.start(first);
        }
        self.lost += first.saturating_sub(self.next);
        let repeated = self.next.saturating_sub(first).min(count);
        self.next = self.next.max(first.saturating_add(count));
        repeated
    }

    fn start(&mut self, first: u64) {
        self.started = true;
        self.next = first;
        self.before = first;
    }

    /// The owner ended in good order: a ring of which nothing came was taken by another collector.
    pub(super) fn finish(&mut self) {
        if !self.started {
            self.start(self.recorded);
        }
    }

    /// No group is open, and nothing is held.
    pub(super) fn close_group(&mut self) {
        self.held.clear();
        // A large group is rare: its room is given back.
        if self.held.capacity() > 1024 {
            self.held = Vec::new();
        }
        self.group = 0;
        self.outgrown = false;
    }

    /// Whether the owner has completed records that this collector has not been given yet.
    pub(super) fn is_behind(&self) -> bool {
        self.pending() > 0
    }

    /// Whether calls may be missing before the record at `position`.
    #[inline]
    pub(super) fn is_doubtful(&mut self, position: u64) -> bool {
        match self.doubtful_until {
            None => false,
            Some(until) => {
                if position >= until {
                    self.doubtful_until = None;
                }
                true
            }
        }
    }

    /// Records the owner has completed and this collector has not been given.
    pub(super) fn pending(&self) -> u64 {
        self.recorded.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repeats_are_discarded_and_gaps_are_lost() {
        let mut ring = Ring::default();
        assert_eq!(ring.advance(10, 5), 0);
        assert_eq!(ring.advance(12, 5), 3);
        assert_eq!(ring.advance(12, 5), 5);
        assert_eq!(ring.advance(20, 1), 0);
        assert_eq!((ring.next, ring.before, ring.lost), (21, 10, 3));
    }

    proptest! {
        #[test]
        fn every_position_is_taken_once_or_lost_or_was_before(
            batches in prop::collection::vec((0u64..500, 0u64..50), 1..60)
        ) {
            let mut ring = Ring::default();
            let mut taken = 0;
            for (first, count) in batches {
                taken += count - ring.advance(first, count);
            }
            prop_assert_eq!(ring.before + ring.lost + taken, ring.next);
        }
    }
}
