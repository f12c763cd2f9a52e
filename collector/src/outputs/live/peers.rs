//! Who sends to whom, by the conventions of the report.

use super::look::{Flow, What};
use super::view::{Cell, Peers};
use super::{CELLS, Scene, Seen, saturated};
use crate::outputs::report::transfers::sends;
use crate::steps::Phase;
use nccltap_proto::Operation;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    named: u128,
    ring: u128,
    more: u128,
}

type Sums = BTreeMap<(Option<u32>, Option<u32>), Sum>;

pub(super) fn peers(scene: &Scene<'_>) -> Peers {
    let mut sums = Sums::new();
    let mut without_place = 0u64;
    for seen in &scene.seen {
        for (flow, now, more) in seen.flows().filter(|(flow, ..)| flow.phase != Phase::Startup) {
            let What::Operation(operation) = flow.what else { continue };
            if add(scene, &mut sums, seen, flow, operation, (now.bytes, more.bytes)).is_none() {
                without_place = without_place.saturating_add(now.count);
            }
        }
    }
    let mut cells: Vec<Cell> = sums
        .into_iter()
        .filter(|(_, sum)| sum.named + sum.ring > 0)
        .map(|((from, to), sum)| Cell {
            from,
            to,
            named_bytes: saturated(sum.named),
            ring_bytes: saturated(sum.ring),
            rate: scene.rate(sum.more),
        })
        .collect();
    let cells_left_out = cells.len().saturating_sub(CELLS) as u64;
    if cells_left_out > 0 {
        cells.sort_by_key(|cell| {
            std::cmp::Reverse(cell.named_bytes.saturating_add(cell.ring_bytes))
        });
        cells.truncate(CELLS);
        cells.sort_by_key(|cell| (cell.from, cell.to));
    }
    Peers { cells, cells_left_out, operations_without_place: without_place }
}

fn add(
    scene: &Scene<'_>,
    sums: &mut Sums,
    seen: &Seen<'_>,
    flow: &Flow,
    operation: Operation,
    (bytes, more): (u128, u128),
) -> Option<()> {
    let place = seen.look.place(flow);
    let members = &scene.groups.all().get(&place.group?)?.members;
    let number = |rank: u32| scene.number(members.get(&i32::try_from(rank).ok()?)?);
    let from = scene.number(seen.look.identity());
    let (rank, ranks) = (u32::try_from(place.rank?).ok()?, place.ranks?);
    flow.size_bits?;
    let peer = flow.peer.and_then(|peer| u32::try_from(peer).ok());
    if operation == Operation::Recv {
        // It counts where it is sent, unless nobody taps there.
        let sender = number(peer?);
        if sender.is_none() {
            let sum = sums.entry((None, from)).or_default();
            sum.named = sum.named.saturating_add(bytes);
            sum.more = sum.more.saturating_add(more);
        }
        return Some(());
    }
    let (named, sent) = sends(operation, bytes, rank, ranks, peer);
    let (_, sent_since) = sends(operation, more, rank, ranks, peer);
    for ((to, bytes), (_, more)) in sent.into_iter().zip(sent_since) {
        let sum = sums.entry((from, number(to))).or_default();
        let part = if named { &mut sum.named } else { &mut sum.ring };
        *part = part.saturating_add(bytes);
        sum.more = sum.more.saturating_add(more);
    }
    Some(())
}
