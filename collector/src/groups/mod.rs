//! Communicators joined over their ranks, what they are for, and the layout that follows.
//!
//! Pure. [`join`] looks at all processes at once: which communicators are the same group, what runs on
//! it, and how groups overlap. Only workers of engines are looked at: in any other program an AllReduce
//! says nothing about its purpose.
//!
//! | role | shows in | confidence |
//! |---|---|---|
//! | tensor | AllReduce of activations | observed |
//! | pipeline | Send and Recv between members of different tensor groups | observed |
//! | expert | AlltoAll, AllGather and ReduceScatter over several tensor groups | observed |
//! | data | one rank of each of several tensor groups, and nothing but the warm-up runs on it | assumed |
//! | world | every worker of the engine, and none of the above | assumed |
//!
//! Where the engine says where its workers stand (`nccltap_place`), that counts: what a group is for shows in how
//! the coordinates of its members differ. Its confidence is stated.
//!
//! Groups of the same ranks have the same role: pynccl and PyTorch each have a communicator of their own
//! for one parallel group. The first one has the group's name (`tp0`), further ones a number behind it
//! (`tp0.1`).

mod board;
mod layout;
mod stated;
mod usage;

pub use board::Board;
pub use layout::{Coordinates, Layout};
pub use usage::Usage;

use crate::process::{Identity, Process};
use nccltap_proto::MarkedPlace;
use std::collections::{BTreeMap, BTreeSet};

/// What a group is for. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Parts of each layer.
    Tensor,
    /// Some layers each.
    Pipeline,
    /// Copies of the model.
    Data,
    /// Some experts each.
    Expert,
    /// Every worker.
    World,
}

impl Role {
    /// The name in reports and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Pipeline => "pipeline",
            Self::Data => "data",
            Self::Expert => "expert",
            Self::World => "world",
        }
    }

    /// The short name that vLLM gives such groups.
    const fn short(self) -> &'static str {
        match self {
            Self::Tensor => "tp",
            Self::Pipeline => "pp",
            Self::Data => "dp",
            Self::Expert => "ep",
            Self::World => "world",
        }
    }
}

/// How sure a role is. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// The engine says where its workers stand.
    Stated,
    /// What runs on the group shows it.
    Observed,
    /// Only how it overlaps with other groups suggests it.
    Assumed,
}

impl Confidence {
    /// The name in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stated => "stated",
            Self::Observed => "observed",
            Self::Assumed => "assumed",
        }
    }
}

/// A role, and how sure it is.
pub type Purpose = (Role, Confidence);

/// A communicator, joined over its ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many ranks it has.
    pub ranks: u32,
    /// The processes that are known to be in it, by rank.
    pub members: BTreeMap<i32, Identity>,
    /// What it is for, if that shows.
    pub purpose: Option<Purpose>,
    /// Its name in reports: by its role, or 16 hexadecimal digits.
    pub name: String,
}

/// Every group, and where each worker stands.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    groups: BTreeMap<u64, Group>,
    places: BTreeMap<Identity, Coordinates>,
    layouts: Vec<Layout>,
}

impl Groups {
    /// The groups, by the hash that names them on all their ranks.
    pub fn all(&self) -> &BTreeMap<u64, Group> {
        &self.groups
    }

    /// The group's name: by its role, or else 16 hexadecimal digits.
    pub fn name(&self, group: u64) -> String {
        self.groups.get(&group).map_or_else(|| plain_name(group), |group| group.name.clone())
    }

    /// What the group is for.
    pub fn purpose(&self, group: u64) -> Option<Purpose> {
        self.groups.get(&group)?.purpose
    }

    /// Where the worker stands in its engine.
    pub fn place(&self, process: &Identity) -> Option<Coordinates> {
        self.places.get(process).copied()
    }

    /// The layout of each engine, in order of the first group that was made.
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }
}

/// The name of a group whose role is not known.
pub fn plain_name(group: u64) -> String {
    format!("{group:016x}")
}

/// One worker's part in one communicator.
#[derive(Clone, Debug)]
pub struct Part {
    /// Names the group.
    pub group: u64,
    /// Its size.
    pub ranks: u32,
    /// This worker's rank.
    pub rank: i32,
    /// What it did there.
    pub usage: Usage,
}

/// One process, as far as groups are concerned.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Who it is.
    pub identity: Identity,
    /// Whether it is a worker of an engine.
    pub is_engine: bool,
    /// Where the engine says that it stands.
    pub place: Option<MarkedPlace>,
    /// Its communicators whose group is known, in order of creation.
    pub parts: Vec<Part>,
}

impl Worker {
    /// What groups need to know of a process.
    pub fn of(process: &Process) -> Self {
        let usage = usage::by_communicator(process.ledger());
        let known = |c: &&nccltap_proto::v1::Communicator| c.group != 0 && c.rank >= 0;
        let communicators = process.timeline().communicators().all().into_iter().filter(known);
        let parts = communicators.map(|c| Part {
            group: c.group,
            ranks: c.ranks,
            rank: c.rank,
            usage: usage.get(&c.id).copied().unwrap_or_default(),
        });
        Self {
            identity: process.identity(),
            is_engine: process.steps().is_engine(),
            place: process.steps().place(),
            parts: parts.collect(),
        }
    }
}

/// Joins the communicators of all processes.
pub fn join(workers: &[Worker]) -> Groups {
    let mut all = Groups::default();
    let mut order = Vec::new();
    let mut usage: BTreeMap<u64, Usage> = BTreeMap::new();
    for worker in workers {
        for part in &worker.parts {
            let group = all.groups.entry(part.group).or_insert_with(|| {
                order.push(part.group);
                Group {
                    ranks: part.ranks,
                    members: BTreeMap::new(),
                    purpose: None,
                    name: plain_name(part.group),
                }
            });
            group.members.insert(part.rank, worker.identity.clone());
            usage.entry(part.group).or_default().add(part.usage);
        }
    }
    let stated: BTreeMap<&Identity, MarkedPlace> =
        workers.iter().filter_map(|w| Some((&w.identity, w.place?))).collect();
    let engines: BTreeSet<&Identity> =
        workers.iter().filter(|w| w.is_engine).map(|w| &w.identity).collect();
    let seen: Vec<layout::Seen> = order
        .iter()
        .filter_map(|hash| {
            let group = all.groups.get(hash)?;
            let whole = group.members.len() == group.ranks as usize;
            let of_engine = group.members.values().all(|member| engines.contains(member));
            (whole && of_engine).then(|| layout::Seen {
                hash: *hash,
                members: group.members.values().cloned().collect(),
                usage: usage.get(hash).copied().unwrap_or_default(),
            })
        })
        .collect();
    for (number, engine) in layout::engines(&seen).into_iter().enumerate() {
        let arranged = layout::arrange(&engine, &stated);
        for (hash, purpose, name) in arranged.names {
            if let Some(group) = all.groups.get_mut(&hash) {
                group.purpose = Some(purpose);
                // Several engines may report to one collector.
                group.name = if number == 0 { name } else { format!("{name}@{number}") };
            }
        }
        all.places.extend(arranged.places);
        all.layouts.push(arranged.layout);
    }
    all
}

#[cfg(test)]
mod tests;
