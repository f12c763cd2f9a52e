//! How the groups of one engine fit together.

use super::stated::{self, Stated};
use super::{Confidence, Purpose, Role, Usage};
use crate::process::Identity;
use nccltap_proto::RankOf;
use std::collections::{BTreeMap, BTreeSet};

/// Where a worker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coordinates {
    /// Which copy of the model.
    pub data: u32,
    /// Pipeline stage.
    pub stage: u32,
    /// Part of each layer.
    pub tensor: u32,
}

/// Sizes of an engine's parallel groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Ranks that share a layer.
    pub tensor: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Copies of the model.
    pub data: u32,
    /// Ranks that share the experts; 1 when none do.
    pub expert: u32,
    /// Workers that were seen. Tensor x pipeline x data, or else something is missing.
    pub workers: u32,
}

/// A whole group of engine workers.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) hash: u64,
    /// By rank.
    pub(super) members: Vec<Identity>,
    pub(super) usage: Usage,
}

/// What follows for one engine.
pub(super) struct Arranged {
    pub(super) names: Vec<(u64, Purpose, String)>,
    pub(super) places: BTreeMap<Identity, Coordinates>,
    pub(super) layout: Layout,
}

/// The groups of each engine: groups with a member in common are of one engine.
pub(super) fn engines(seen: &[Seen]) -> Vec<Vec<&Seen>> {
    let mut engines: Vec<(BTreeSet<&Identity>, Vec<usize>)> = Vec::new();
    for (at, group) in seen.iter().enumerate() {
        let mut members: BTreeSet<&Identity> = group.members.iter().collect();
        let mut groups = vec![at];
        // Whatever this group connects becomes one, in the place of the first.
        let (connected, others): (Vec<_>, Vec<_>) =
            engines.into_iter().partition(|(known, _)| !known.is_disjoint(&members));
        for (known, theirs) in connected {
            members.extend(known);
            groups.extend(theirs);
        }
        groups.sort_unstable();
        engines = others;
        engines.push((members, groups));
        engines.sort_by_key(|(_, groups)| groups.first().copied());
    }
    let of = |groups: Vec<usize>| groups.into_iter().filter_map(|at| seen.get(at)).collect();
    engines.into_iter().map(|(_, groups)| of(groups)).collect()
}

/// One parallel group: everything that has the same ranks.
struct Parallel<'a> {
    members: Vec<&'a Identity>,
    usage: Usage,
    hashes: Vec<u64>,
}

/// Roles, names and coordinates of one engine.
pub(super) fn arrange(groups: &[&Seen], stated: &Stated<'_>) -> Arranged {
    let parallel = by_members(groups);
    let workers: BTreeSet<&Identity> = groups.iter().flat_map(|group| &group.members).collect();

    let tensor: Vec<usize> =
        (0..parallel.len()).filter(|at| parallel[*at].usage.reduces > 0).collect();
    let tensor_of: BTreeMap<&Identity, usize> = tensor
        .iter()
        .flat_map(|at| parallel[*at].members.iter().map(|member| (*member, *at)))
        .collect();
    // With one rank per tensor group there is no such group.
    let apart = |group: &Parallel<'_>| {
        let mut of: Vec<_> = group.members.iter().map(|m| (tensor_of.get(m), *m)).collect();
        of.sort_unstable();
        of.windows(2).all(|two| two[0].0.is_none() || two[0].0 != two[1].0)
    };
    let links: Vec<&Parallel<'_>> =
        parallel.iter().filter(|g| g.usage.transfers > 0 && apart(g)).collect();
    let linked = |group: &Parallel<'_>| {
        let within = |link: &&&Parallel<'_>| link.members.iter().all(|m| group.members.contains(m));
        links.iter().any(|link| within(&link))
    };
    let purpose = |at: usize, group: &Parallel<'_>| -> Option<Purpose> {
        if let Some(role) = stated::role(&group.members, workers.len(), stated) {
            Some((role, Confidence::Stated))
        } else if tensor.contains(&at) {
            Some((Role::Tensor, Confidence::Observed))
        } else if apart(group) && linked(group) {
            Some((Role::Pipeline, Confidence::Observed))
        } else if group.usage.exchanges > 0 {
            Some((Role::Expert, Confidence::Observed))
        } else if apart(group) && !tensor.is_empty() && group.members.len() < workers.len() {
            Some((Role::Data, Confidence::Assumed))
        } else if group.members.len() == workers.len() {
            Some((Role::World, Confidence::Assumed))
        } else {
            None
        }
    };
    let purposes: Vec<Option<Purpose>> =
        parallel.iter().enumerate().map(|(at, group)| purpose(at, group)).collect();

    let largest = |role: Role| -> u32 {
        let sizes = parallel.iter().zip(&purposes).filter(|(_, p)| p.is_some_and(|p| p.0 == role));
        sizes.map(|(group, _)| group.members.len() as u32).max().unwrap_or(1)
    };
    let sizes = stated::sizes(&workers, stated);
    let size = |said: Option<u32>, role: Role| said.unwrap_or_else(|| largest(role));
    let layout = Layout {
        tensor: size(sizes.tensor, Role::Tensor),
        pipeline: size(sizes.pipeline, Role::Pipeline),
        data: size(sizes.data, Role::Data),
        expert: size(sizes.expert, Role::Expert),
        workers: workers.len() as u32,
    };
    let rank_in = |role: Role, size: u32, worker: &Identity| -> u32 {
        let mine = parallel.iter().zip(&purposes).find(|(group, purpose)| {
            purpose.is_some_and(|purpose| purpose.0 == role)
                && group.members.len() as u32 == size
                && group.members.contains(&worker)
        });
        let rank = mine.and_then(|(group, _)| group.members.iter().position(|m| *m == worker));
        rank.unwrap_or(0) as u32
    };
    let places: BTreeMap<Identity, Coordinates> = workers
        .iter()
        .map(|worker| {
            let said = stated.get(worker).copied().unwrap_or_default();
            let rank = |said: RankOf, role: Role, size: u32| match said.size {
                0 => rank_in(role, size, worker),
                _ => said.rank.into(),
            };
            let coordinates = Coordinates {
                data: rank(said.data, Role::Data, layout.data),
                stage: rank(said.pipeline, Role::Pipeline, layout.pipeline),
                tensor: rank(said.tensor, Role::Tensor, layout.tensor),
            };
            ((*worker).clone(), coordinates)
        })
        .collect();
    let names = names(&parallel, &purposes, &places);
    Arranged { names, places, layout }
}

fn by_members<'a>(groups: &[&'a Seen]) -> Vec<Parallel<'a>> {
    let mut parallel: Vec<Parallel<'a>> = Vec::new();
    for group in groups {
        let members: Vec<&Identity> = group.members.iter().collect();
        match parallel.iter_mut().find(|known| known.members == members) {
            Some(known) => {
                known.usage.add(group.usage);
                known.hashes.push(group.hash);
            }
            None => {
                parallel.push(Parallel { members, usage: group.usage, hashes: vec![group.hash] })
            }
        }
    }
    parallel
}

/// Parallel groups of a role are numbered in the order of their first worker. A pipeline's links have
/// the number of the pipeline that they are part of.
fn names(
    parallel: &[Parallel<'_>],
    purposes: &[Option<Purpose>],
    places: &BTreeMap<Identity, Coordinates>,
) -> Vec<(u64, Purpose, String)> {
    let mut sorted: Vec<(Purpose, std::cmp::Reverse<usize>, Option<Coordinates>, &Parallel<'_>)> =
        parallel
            .iter()
            .zip(purposes)
            .filter_map(|(group, purpose)| {
                let first = group.members.first().and_then(|m| places.get(*m)).copied();
                Some(((*purpose)?, std::cmp::Reverse(group.members.len()), first, group))
            })
            .collect();
    // The largest first, so that links come after the pipeline they are part of.
    sorted.sort_by_key(|group| (group.0, group.1, group.2));
    let mut numbered: Vec<(Role, &Parallel<'_>, usize)> = Vec::new();
    let mut names = Vec::new();
    for (purpose, _, _, group) in sorted {
        let role = purpose.0;
        let within = |of: &Parallel<'_>| group.members.iter().all(|m| of.members.contains(m));
        let known = numbered.iter().position(|(known, of, _)| *known == role && within(of));
        let number = numbered.iter().filter(|(known, ..)| *known == role).count();
        let at = known.unwrap_or_else(|| {
            numbered.push((role, group, 0));
            numbered.len() - 1
        });
        let number = match known {
            Some(at) => numbered[..at].iter().filter(|(known, ..)| *known == role).count(),
            None => number,
        };
        for hash in &group.hashes {
            let Some((_, _, communicators)) = numbered.get_mut(at) else { continue };
            let name = match *communicators {
                0 => format!("{}{number}", role.short()),
                more => format!("{}{number}.{more}", role.short()),
            };
            *communicators += 1;
            names.push((*hash, purpose, name));
        }
    }
    names
}
