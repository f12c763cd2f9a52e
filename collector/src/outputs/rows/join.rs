//! Collectives that only all ranks together show.

use super::{RowKey, Sums, Table, What};
use crate::ledger::{Collective, Elements};
use crate::timeline::Launch;
use nccltap_proto::{Datatype, Operation};
use std::collections::HashMap;

impl Table {
    /// A Send that the root's Gather has received is that rank's part of the Gather, and a Recv of
    /// what the root's Scatter has sent likewise.
    ///
    /// Transfers of one shape between two ranks pair up one by one. So of a rank's `sent`, the root
    /// having received `gathered` in gathers and `plain` outside of them, at least
    /// `sent - plain` are parts of gathers; no more than that is said.
    pub(super) fn join_gathers(&mut self) {
        for (root_side, fan, member) in [
            (Collective::Gather, Operation::Recv, Operation::Send),
            (Collective::Scatter, Operation::Send, Operation::Recv),
        ] {
            let members: Vec<(RowKey, Sums)> = self
                .rows
                .iter()
                .filter(|(key, _)| key.what == What::Operation(member))
                .filter(|(key, _)| matches!(key.elements, Elements::Exactly(_)))
                .map(|(key, sums)| (key.clone(), *sums))
                .collect();
            let counts = self.counts_by_place();
            for (key, sums) in members {
                let (Some(_), Some(_), Some(root)) = (key.group, key.rank, key.peer) else {
                    continue;
                };
                let Elements::Exactly(elements) = key.elements else { continue };
                let at_root = |what, peer| {
                    let place = PlaceKey { rank: Some(root), what, peer, ..PlaceKey::of(&key) };
                    counts.get(&place).copied().unwrap_or(0)
                };
                let together = at_root(What::Merged(root_side), Some(root));
                let plain = at_root(What::Operation(fan), key.rank);
                let part = together.min(sums.count.saturating_sub(plain));
                let elements = u128::from(elements) * u128::from(part);
                let moved = Sums { count: part, elements, at_least: false };
                if let Some(rest) = self.rows.get_mut(&key) {
                    rest.count -= moved.count;
                    rest.elements -= moved.elements;
                }
                self.count(RowKey { what: What::Merged(root_side), ..key }, moved);
            }
            self.rows.retain(|_, sums| sums.is_said());
        }
    }

    /// How many there are of each kind, shape and peer at each rank of each group.
    fn counts_by_place(&self) -> HashMap<PlaceKey, u64> {
        let mut counts = HashMap::new();
        for (key, sums) in &self.rows {
            *counts.entry(PlaceKey::of(key)).or_default() += sums.count;
        }
        counts
    }
}

/// What one rank of a group did, wherever it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PlaceKey {
    group: Option<u64>,
    rank: Option<i32>,
    what: What,
    peer: Option<i32>,
    dtype: Option<Datatype>,
    elements: Elements,
    launch: Launch,
}

impl PlaceKey {
    fn of(key: &RowKey) -> Self {
        Self {
            group: key.group,
            rank: key.rank,
            what: key.what,
            peer: key.peer,
            dtype: key.dtype,
            elements: key.elements,
            launch: key.launch,
        }
    }
}
