//! What is sent: by phase and collective, by size, in all.

use super::look::{Amount, Flow, Look, What};
use super::view::{Size, Traffic, Volume};
use super::{Scene, Seen, order, saturated};
use crate::groups::Role;
use crate::ledger::Collective;
use crate::ledger::bytes::bus_bytes;
use crate::outputs::prometheus::prediction::Done;
use crate::outputs::report::paths::PathRow;
use crate::outputs::rows::Place;
use crate::steps::Phase;
use nccltap_proto::Operation;
use std::collections::{BTreeMap, HashSet};

/// Groups and ranks in them that were seen to gather.
pub(super) fn gathers(seen: &[Seen<'_>]) -> HashSet<(u64, i32)> {
    let of = |seen: &Seen<'_>| -> Vec<(u64, i32)> {
        let flows = seen.look.flows.keys();
        let gathers = flows.filter(|flow| flow.what == What::Merged(Collective::Gather));
        gathers.filter_map(|flow| Some((seen.look.place(flow).group?, flow.peer?))).collect()
    };
    seen.iter().flat_map(of).collect()
}

/// The collective that a flow is part of, as reports name it.
fn collective(scene: &Scene<'_>, place: Place, flow: &Flow) -> &'static str {
    if flow.what == What::Operation(Operation::Send) {
        let root = place.group.zip(flow.peer);
        let tensor = || {
            let purpose = place.group.and_then(|group| scene.groups.purpose(group));
            place.ranks == Some(2) && purpose.is_some_and(|(role, _)| role == Role::Tensor)
        };
        if root.is_some_and(|root| scene.gathers.contains(&root)) || tensor() {
            return Collective::Gather.name();
        }
    }
    flow.what.name()
}

/// Whether this rank sends, so that each transfer counts once.
fn is_sender(name: &str, place: Place, flow: &Flow) -> bool {
    let is_root = place.rank.is_some() && place.rank == flow.peer;
    match name {
        "Recv" => false,
        "Gather" => !is_root,
        "Scatter" => is_root,
        _ => true,
    }
}

/// What a flow sends by itself, and not as part of a collective that has its own.
fn own(amount: &Amount) -> (u64, u128) {
    (amount.count.saturating_sub(amount.merged), amount.bytes.saturating_sub(amount.merged_bytes))
}

fn bus(flow: &Flow, bytes: u128, place: Place) -> u128 {
    let bus = match flow.what {
        What::Operation(operation) => bus_bytes(operation, bytes, place.ranks),
        What::Merged(collective) => {
            place.ranks.and_then(|ranks| collective.bus_bytes(bytes, ranks))
        }
    };
    bus.unwrap_or(0)
}

/// Sums, and what was added to them since the earlier look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    count: u64,
    bytes: u128,
    bus: u128,
    more_count: u64,
    more_bytes: u128,
    more_bus: u128,
}

impl Sum {
    fn add(&mut self, flow: &Flow, now: &Amount, more: &Amount, place: Place) {
        let ((count, bytes), (more_count, more_bytes)) = (own(now), own(more));
        self.count = self.count.saturating_add(count);
        self.bytes = self.bytes.saturating_add(bytes);
        self.bus = self.bus.saturating_add(bus(flow, bytes, place));
        self.more_count = self.more_count.saturating_add(more_count);
        self.more_bytes = self.more_bytes.saturating_add(more_bytes);
        self.more_bus = self.more_bus.saturating_add(bus(flow, more_bytes, place));
    }

    fn volume(&self, scene: &Scene<'_>) -> Volume {
        Volume {
            operations: self.count,
            message_bytes: saturated(self.bytes),
            bus_bytes: saturated(self.bus),
            operations_rate: scene.rate(self.more_count.into()),
            message_rate: scene.rate(self.more_bytes),
            bus_rate: scene.rate(self.more_bus),
        }
    }
}

/// Calls `count` for each flow in which its rank sends.
fn sent(
    scene: &Scene<'_>,
    seen: &Seen<'_>,
    mut count: impl FnMut(&Flow, &'static str, Place, &Amount, &Amount),
) {
    for (flow, now, more) in seen.flows() {
        let place = seen.look.place(flow);
        let name = collective(scene, place, flow);
        if is_sender(name, place, flow) && own(now).0 > 0 {
            count(flow, name, place, now, &more);
        }
    }
}

/// What one process sends after start-up.
pub(super) fn of(scene: &Scene<'_>, seen: &Seen<'_>) -> Volume {
    let mut sum = Sum::default();
    sent(scene, seen, |flow, _, place, now, more| {
        if flow.phase != Phase::Startup {
            sum.add(flow, now, more, place);
        }
    });
    sum.volume(scene)
}

/// What all send after start-up.
pub(super) fn totals(scene: &Scene<'_>) -> Volume {
    let mut sum = Sum::default();
    for seen in &scene.seen {
        sent(scene, seen, |flow, _, place, now, more| {
            if flow.phase != Phase::Startup {
                sum.add(flow, now, more, place);
            }
        });
    }
    sum.volume(scene)
}

/// Order of the phase, collective, role.
type Kind = (usize, &'static str, Option<&'static str>);

/// By phase, collective and role.
pub(super) fn traffic(scene: &Scene<'_>) -> Vec<Traffic> {
    let mut sums: BTreeMap<Kind, (Phase, Sum)> = BTreeMap::new();
    for seen in &scene.seen {
        sent(scene, seen, |flow, name, place, now, more| {
            let purpose = place.group.and_then(|group| scene.groups.purpose(group));
            let key = (order(flow.phase), name, purpose.map(|(role, _)| role.name()));
            let new = || (flow.phase, Sum::default());
            sums.entry(key).or_insert_with(new).1.add(flow, now, more, place);
        });
    }
    let row = |((_, name, role), (phase, sum)): (Kind, (Phase, Sum))| Traffic {
        phase: phase.name().to_owned(),
        collective: name.to_owned(),
        role: role.map(str::to_owned),
        volume: sum.volume(scene),
    };
    sums.into_iter().map(row).collect()
}

/// How large messages are, by phase, size and collective; start-up, and what has no known size, left out.
pub(super) fn sizes(scene: &Scene<'_>) -> Vec<Size> {
    let mut sums: BTreeMap<(usize, u32, &str), (Phase, Sum)> = BTreeMap::new();
    for seen in &scene.seen {
        sent(scene, seen, |flow, name, place, now, more| {
            let Some(bits) = flow.size_bits.filter(|_| flow.phase != Phase::Startup) else {
                return;
            };
            let new = || (flow.phase, Sum::default());
            let key = (order(flow.phase), bits, name);
            sums.entry(key).or_insert_with(new).1.add(flow, now, more, place);
        });
    }
    sums.into_iter()
        .map(|((_, bits, name), (phase, sum))| Size {
            phase: phase.name().to_owned(),
            collective: name.to_owned(),
            up_to_bytes: 1u64.checked_shl(bits).unwrap_or(u64::MAX),
            count: sum.count,
            rate: scene.rate(sum.more_count.into()),
            message_bytes: saturated(sum.bytes),
        })
        .collect()
}

/// Which way each collective took after start-up, as reports tell it.
pub(super) fn ways(scene: &Scene<'_>) -> Vec<PathRow> {
    let mut sums: BTreeMap<(usize, &str, &str), PathRow> = BTreeMap::new();
    for seen in &scene.seen {
        sent(scene, seen, |flow, name, _, now, _| {
            let (count, bytes) = own(now);
            if flow.phase == Phase::Startup {
                return;
            }
            let new = || PathRow {
                phase: flow.phase.name().to_owned(),
                collective: name.to_owned(),
                path: flow.path.name().to_owned(),
                count: 0,
                message_bytes: Some(0),
            };
            let key = (order(flow.phase), name, flow.path.name());
            let row = sums.entry(key).or_insert_with(new);
            row.count = row.count.saturating_add(count);
            let known = flow.size_bits.map(|_| saturated(bytes));
            row.message_bytes = row.message_bytes.zip(known).map(|(a, b)| a.saturating_add(b));
        });
    }
    sums.into_values().collect()
}

/// Operations of a process by path and launch, and those added since the earlier look.
pub(super) fn by_path(
    seen: &Seen<'_>,
) -> impl Iterator<Item = (&'static str, &'static str, u64, u64)> {
    seen.flows()
        .filter(|(flow, ..)| matches!(flow.what, What::Operation(_)))
        .map(|(flow, now, more)| (flow.path.name(), flow.launch.name(), now.count, more.count))
}

/// Operations of a process, by what they serve.
pub(super) fn done(look: &Look) -> Done {
    let mut done = Done::default();
    for (flow, amount) in &look.flows {
        if let What::Operation(operation) = flow.what {
            done.add(flow.phase, operation, flow.path, amount.count);
        }
    }
    done
}
