//! Which communicator a record belongs to.

use nccltap_proto::{Function, v1};
use rustc_hash::FxHashMap;

/// Number of a communicator within its process.
pub type CommunicatorId = u32;

/// The communicators of one process, by number and by handle.
#[derive(Debug, Default)]
pub struct Communicators {
    facts: FxHashMap<CommunicatorId, v1::Communicator>,
    by_handle: FxHashMap<u64, Vec<Life>>,
    last: Option<(u64, Life)>,
}

/// NCCL gives a handle out again once its communicator is destroyed, so a handle has several lives.
#[derive(Clone, Copy, Debug)]
struct Life {
    id: CommunicatorId,
    created: u64,
    ended: u64,
}

impl Life {
    fn holds(&self, ticks: u64) -> bool {
        self.created <= ticks && ticks <= self.ended
    }
}

impl Communicators {
    /// Takes in what is known of a communicator, new or changed.
    pub fn learn(&mut self, communicator: &v1::Communicator) {
        self.last = None;
        let life = Life {
            id: communicator.id,
            created: communicator.created,
            ended: if communicator.destroyed == 0 { u64::MAX } else { communicator.destroyed },
        };
        if let Some(known) = self.facts.insert(communicator.id, communicator.clone())
            && let Some(lives) = self.by_handle.get_mut(&known.handle)
        {
            lives.retain(|l| l.id != communicator.id);
        }
        let lives = self.by_handle.entry(communicator.handle).or_default();
        let place = lives.partition_point(|l| (l.created, l.id) < (life.created, life.id));
        lives.insert(place, life);
    }

    /// The communicator with this handle that was alive at `ticks`.
    #[inline]
    pub fn find(&mut self, handle: u64, ticks: u64) -> Option<CommunicatorId> {
        match self.last {
            Some((last, life)) if last == handle && life.holds(ticks) => Some(life.id),
            _ => self.search(handle, ticks),
        }
    }

    fn search(&mut self, handle: u64, ticks: u64) -> Option<CommunicatorId> {
        let life = *self.by_handle.get(&handle)?.iter().rev().find(|l| l.holds(ticks))?;
        self.last = Some((handle, life));
        Some(life.id)
    }

    /// The communicator of so many ranks in which this process has `rank`: pynccl's before PyTorch's, and the
    /// first before later ones.
    pub(super) fn of_place(&self, ranks: u32, rank: i32) -> Option<CommunicatorId> {
        let pynccl = u32::from(Function::ncclCommInitRank.id());
        let fits = |c: &&v1::Communicator| (c.ranks, c.rank) == (ranks, rank);
        let order = |c: &&v1::Communicator| (c.created_by != pynccl, c.created, c.id);
        self.facts.values().filter(fits).min_by_key(order).map(|c| c.id)
    }

    /// What is known of a communicator.
    pub fn get(&self, id: CommunicatorId) -> Option<&v1::Communicator> {
        self.facts.get(&id)
    }

    /// Every communicator, in order of its number.
    pub fn all(&self) -> Vec<&v1::Communicator> {
        let mut all: Vec<_> = self.facts.values().collect();
        all.sort_unstable_by_key(|c| c.id);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn communicator(id: u32, handle: u64, created: u64, destroyed: u64) -> v1::Communicator {
        v1::Communicator { id, handle, created, destroyed, ..Default::default() }
    }

    #[test]
    fn a_handle_that_is_given_out_again_is_another_communicator() {
        let mut all = Communicators::default();
        all.learn(&communicator(0, 0xa, 100, 200));
        all.learn(&communicator(1, 0xa, 250, 0));
        all.learn(&communicator(2, 0xb, 120, 0));
        assert_eq!(all.find(0xa, 99), None);
        assert_eq!(all.find(0xa, 150), Some(0));
        assert_eq!(all.find(0xa, 200), Some(0));
        assert_eq!(all.find(0xa, 220), None);
        assert_eq!(all.find(0xa, 900), Some(1));
        assert_eq!(all.find(0xb, 900), Some(2));
        assert_eq!(all.find(0xc, 900), None);
    }

    #[test]
    fn the_end_of_a_communicator_may_be_learnt_later() {
        let mut all = Communicators::default();
        all.learn(&communicator(0, 0xa, 100, 0));
        assert_eq!(all.find(0xa, 300), Some(0));
        all.learn(&communicator(0, 0xa, 100, 200));
        assert_eq!(all.find(0xa, 300), None);
        assert_eq!(all.all().len(), 1);
    }
}
