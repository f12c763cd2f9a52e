//! What follows where the engine itself says where its workers stand.

use super::Role;
use crate::process::Identity;
use nccltap_proto::{MarkedPlace, RankOf};
use std::collections::{BTreeMap, BTreeSet};

/// Where workers stand, of those that say so.
pub(super) type Stated<'a> = BTreeMap<&'a Identity, MarkedPlace>;

/// Sizes of the parallel groups, as far as the workers say them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) tensor: Option<u32>,
    pub(super) pipeline: Option<u32>,
    pub(super) data: Option<u32>,
    pub(super) expert: Option<u32>,
}

/// The sizes that these workers say.
pub(super) fn sizes(workers: &BTreeSet<&Identity>, stated: &Stated<'_>) -> Sizes {
    let said: Vec<&MarkedPlace> = workers.iter().filter_map(|w| stated.get(*w)).collect();
    let of = |axis: fn(&MarkedPlace) -> RankOf| {
        said.iter().map(|place| u32::from(axis(place).size)).filter(|size| *size > 0).max()
    };
    Sizes {
        tensor: of(|place| place.tensor),
        pipeline: of(|place| place.pipeline),
        data: of(|place| place.data),
        expert: of(|place| place.expert),
    }
}

/// What a group is for, by the coordinates in which its members differ: `None` where a member does not say where
/// it stands, and where members differ in a way that no role has.
pub(super) fn role(members: &[&Identity], workers: usize, stated: &Stated<'_>) -> Option<Role> {
    let places: Option<Vec<&MarkedPlace>> = members.iter().map(|m| stated.get(*m)).collect();
    let places = places?;
    let differ = |axis: fn(&MarkedPlace) -> RankOf| {
        let ranks: BTreeSet<u16> = places.iter().map(|place| axis(place).rank).collect();
        ranks.len() > 1
    };
    let first = places.first()?;
    let known = |axis: RankOf| axis.size > 0;
    if !(known(first.tensor) && known(first.pipeline) && known(first.data)) {
        return None;
    }
    let (tensor, pipeline, data) =
        (differ(|p| p.tensor), differ(|p| p.pipeline), differ(|p| p.data));
    let shares_experts = usize::from(first.expert.size) == members.len() && differ(|p| p.expert);
    match (tensor, pipeline, data) {
        (true, false, false) => Some(Role::Tensor),
        (false, true, false) => Some(Role::Pipeline),
        (_, false, true) if shares_experts && members.len() > 1 => Some(Role::Expert),
        (false, false, true) => Some(Role::Data),
        _ if members.len() == workers => Some(Role::World),
        _ => None,
    }
}
