//! Ranks of a group beside each other: who is behind.
//!
//! Every rank of a group issues the same collectives in the same order, so the one that has issued fewer is
//! late. Send and Recv are left out, since in a pipeline each rank has its own number of them. Looks at processes are not taken
//! at one instant and taps report every few milliseconds, so that some difference is always there; against the pace of
//! the group it is a time.

use super::view::{Group, Member};
use super::{GROUPS, RANKS, Scene, Seen};
use crate::process::Life;
use std::collections::BTreeMap;

/// One rank in one group, with what it issued since the earlier look.
#[derive(Clone, Copy, Debug)]
struct Part {
    rank: i32,
    number: u32,
    index: u64,
    more: u64,
    is_whole: bool,
}

/// How far a rank is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lag {
    /// Collectives.
    pub(super) behind: u64,
    /// At the pace of the group, while it has one.
    pub(super) seconds: Option<f64>,
}

impl Lag {
    /// A group that stands still weighs most.
    fn weight(&self) -> (bool, f64, u64) {
        (self.seconds.is_none(), self.seconds.unwrap_or(0.0), self.behind)
    }
}

/// Groups of several ranks, the one with somebody furthest behind first, then the busiest. And how many are
/// left out.
pub(super) fn groups(scene: &Scene<'_>) -> (Vec<Group>, u64) {
    let mut groups: Vec<Group> =
        parts(scene).iter().filter_map(|(hash, parts)| group(scene, *hash, parts)).collect();
    groups.sort_by(|a, b| b.behind.cmp(&a.behind).then(b.rate.total_cmp(&a.rate)));
    let left_out = groups.len().saturating_sub(GROUPS) as u64;
    groups.truncate(GROUPS);
    (groups, left_out)
}

/// Of each process, in its order: the group in which it is furthest behind, if that can be told.
pub(super) fn lags(scene: &Scene<'_>) -> Vec<Option<Lag>> {
    let mut lags: Vec<Option<Lag>> = vec![None; scene.seen.len()];
    for parts in parts(scene).values() {
        let pace = scene.rate(most(parts, |part| part.more).into());
        for (part, behind) in behind(parts) {
            let (Some(behind), Some(lag)) = (behind, lags.get_mut(part.number as usize)) else {
                continue;
            };
            let seconds = (pace > 0.0 || behind == 0).then(|| behind as f64 / pace.max(1e-9));
            let here = Lag { behind, seconds };
            if lag.is_none_or(|known| here.weight() > known.weight()) {
                *lag = Some(here);
            }
        }
    }
    lags
}

fn parts(scene: &Scene<'_>) -> BTreeMap<u64, Vec<Part>> {
    let mut groups: BTreeMap<u64, Vec<Part>> = BTreeMap::new();
    for (number, seen) in (0..).zip(&scene.seen) {
        // A process that ended has nobody to catch up with.
        if seen.look.life != Life::Running {
            continue;
        }
        for (id, index) in &seen.look.indices {
            let Some(place) = seen.look.places.get(id) else { continue };
            let (Some(group), Some(rank)) = (place.group, place.rank) else { continue };
            if place.ranks.is_none_or(|ranks| ranks < 2) {
                continue;
            }
            let before = seen.before.and_then(|before| before.indices.get(id)).copied();
            groups.entry(group).or_default().push(Part {
                rank,
                number,
                index: *index,
                more: index.saturating_sub(before.unwrap_or(0)),
                is_whole: is_whole(seen),
            });
        }
    }
    groups
}

/// Whether all its calls are counted, so that its index is that of the others.
fn is_whole(seen: &Seen<'_>) -> bool {
    let sums = &seen.look.accounting;
    sums.before == 0 && sums.dropped + sums.unrecorded + sums.lost == 0
}

fn most(parts: &[Part], of: impl Fn(&Part) -> u64) -> u64 {
    parts.iter().map(of).max().unwrap_or(0)
}

fn behind(parts: &[Part]) -> impl Iterator<Item = (&Part, Option<u64>)> {
    let whole: Vec<u64> = parts.iter().filter(|p| p.is_whole).map(|p| p.index).collect();
    let first = whole.iter().max().copied().unwrap_or(0);
    let comparable = whole.len() > 1;
    parts.iter().map(move |part| {
        (part, (comparable && part.is_whole).then(|| first.saturating_sub(part.index)))
    })
}

fn group(scene: &Scene<'_>, hash: u64, parts: &[Part]) -> Option<Group> {
    let facts = scene.groups.all().get(&hash)?;
    let mut members: Vec<Member> = behind(parts)
        .map(|(part, behind)| Member {
            rank: part.rank,
            number: Some(part.number).filter(|number| (*number as usize) < RANKS),
            index: part.index,
            behind,
        })
        .collect();
    members.sort_by_key(|member| member.rank);
    members.truncate(RANKS);
    Some(Group {
        name: facts.name.clone(),
        role: facts.purpose.map(|(role, _)| role.name().to_owned()),
        ranks: facts.ranks,
        rate: scene.rate(most(parts, |part| part.more).into()),
        behind: members.iter().filter_map(|member| member.behind).max().unwrap_or(0),
        members,
    })
}
