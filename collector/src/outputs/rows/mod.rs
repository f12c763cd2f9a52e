//! The rows of a report: one per distinct key, the same for a live collector and a recording.
//!
//! View `operations` counts what NCCL was told. View `collectives` puts together what belongs
//! together: a root's group of Recv is a Gather, and so is the Send of every other rank that the
//! root's group received. Nothing is guessed: what may be something else stays what it was told as.

mod join;

use crate::collector::Collector;
use crate::groups::{Groups, Worker, join, plain_name};
use crate::ledger::bytes::{bus_bytes, message_bytes};
use crate::ledger::{Collective, Elements, Entry, Path};
use crate::process::{Identity, Process};
use crate::steps::Label;
use crate::timeline::{CommunicatorId, Launch};
use nccltap_proto::{Datatype, Operation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a report counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// What NCCL was told.
    #[default]
    Operations,
    /// What it means: grouped operations that are one collective are counted as one.
    Collectives,
}

impl View {
    /// The name in commands and addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::Collectives => "collectives",
        }
    }
}

/// One row. Scripts rely on its keys; what is not known is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Rank in the communicator.
    pub rank: Option<i32>,
    /// Pipeline stage, from 0.
    pub stage: Option<u32>,
    /// `prefill`, `decode`, `mixed`, `startup` or `unknown`.
    pub phase: String,
    /// How the phase is known: `plugin`, `startup`, `metadata`, `graph`, `rows` or `sizes`.
    pub phase_source: Option<String>,
    /// Names the communicator by its role (`tp0`), or as `communicator` does.
    pub group: Option<String>,
    /// Names the communicator on all its ranks and in all reports: the hash of its ncclUniqueId, 16
    /// hexadecimal digits.
    #[serde(default)]
    pub communicator: Option<String>,
    /// What the group is for: `tensor`, `pipeline`, `data`, `expert` or `world`.
    pub role: Option<String>,
    /// NCCL's name without prefix, in view `operations`.
    pub op: Option<String>,
    /// What it means, in view `collectives`.
    pub collective: Option<String>,
    /// The way the data takes.
    pub path: String,
    /// `eager` or `graph`.
    pub launch: String,
    /// NCCL's name of the data type.
    pub dtype: Option<String>,
    /// NCCL's count argument; of a kernel beside NCCL, what NCCL would be told, null where it does not say.
    pub elements: Option<u64>,
    /// Where `elements` is null because the process has more different sizes than are kept apart:
    /// the power of two up to which they reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements_up_to: Option<u64>,
    /// Peer or root, as a rank of the communicator. Of a copy, the device it goes to, as the process counts devices.
    pub peer: Option<i32>,
    /// Size of the group.
    pub ranks_in_group: Option<u32>,
    /// How many.
    pub count: u64,
    /// Present, and true, where `count` is a lower bound: the operation also stands in graphs that the GPU
    /// launches by itself, or in conditional nodes, and only the GPU knows how often those run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// Sum over `count` of elements x element size, as this rank stated them.
    pub message_bytes: Option<u64>,
    /// Sum over `count` of what this rank sends through its link at best.
    pub bus_bytes: Option<u64>,
}

impl Row {
    /// Whether kernels carried it out in place of NCCL.
    pub fn is_of_kernels(&self) -> bool {
        Path::named(&self.path).is_none_or(Path::is_of_kernels)
    }

    /// Whether it is a copy between GPUs.
    pub fn is_copy(&self) -> bool {
        Path::named(&self.path) == Some(Path::PeerCopy)
    }
}

/// What a row counts: an operation, or a collective made of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    Operation(Operation),
    Merged(Collective),
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Operation(operation) => operation.name(),
            Self::Merged(collective) => collective.name(),
        }
    }
}

/// Everything of a row but its sums, in the order in which rows are given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    host: String,
    pid: u32,
    instance: u64,
    group: Option<u64>,
    rank: Option<i32>,
    ranks_in_group: Option<u32>,
    what: What,
    dtype: Option<Datatype>,
    elements: Elements,
    peer: Option<i32>,
    launch: Launch,
    label: Label,
    path: Path,
}

impl RowKey {
    fn identity(&self) -> Identity {
        Identity { host: self.host.clone(), pid: self.pid, instance: self.instance }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: u64,
    elements: u128,
    at_least: bool,
}

impl Sums {
    /// Whether there is anything to say: none at all is, where there may have been some.
    const fn is_said(&self) -> bool {
        self.count > 0 || self.at_least
    }
}

/// One rank's place in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Names the group, `None` when not known.
    pub group: Option<u64>,
    /// This process' rank in it.
    pub rank: Option<i32>,
    /// Its size.
    pub ranks: Option<u32>,
}

impl Place {
    /// The place that communicator `id` gives to `process`.
    pub fn of(process: &Process, id: Option<CommunicatorId>) -> Self {
        let facts = id.and_then(|id| process.timeline().communicators().get(id));
        facts.map_or_else(Self::default, |facts| Self {
            group: (facts.group != 0).then_some(facts.group),
            rank: (facts.rank >= 0).then_some(facts.rank),
            ranks: (facts.ranks != 0).then_some(facts.ranks),
        })
    }
}

/// The groups of everything that `collector` follows.
pub fn groups(collector: &Collector) -> Groups {
    let workers: Vec<Worker> =
        collector.followed().iter().map(|followed| Worker::of(&followed.lock())).collect();
    join(&workers)
}

/// The rows of everything that `collector` follows.
pub fn rows(collector: &Collector, view: View) -> Vec<Row> {
    let mut table = Table::default();
    for followed in collector.followed() {
        table.add(&followed.lock(), view);
    }
    if view == View::Collectives {
        table.join_gathers();
    }
    let groups = groups(collector);
    table.rows.into_iter().map(|(key, sums)| row(key, sums, view, &groups)).collect()
}

/// Rows as one JSON array, a row per line.
pub fn json<T: Serialize>(rows: &[T]) -> serde_json::Result<String> {
    let lines = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(match lines.is_empty() {
        true => "[]\n".to_owned(),
        false => format!("[\n{}\n]\n", lines.join(",\n")),
    })
}

#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<RowKey, Sums>,
}

impl Table {
    fn add(&mut self, process: &Process, view: View) {
        let facts = process.facts();
        let key = |place: Place, entry: &Entry, what: What| RowKey {
            host: facts.host.clone(),
            pid: facts.pid,
            instance: facts.instance,
            group: place.group,
            rank: place.rank,
            ranks_in_group: place.ranks,
            what,
            dtype: entry.key.datatype,
            elements: entry.key.elements,
            peer: entry.key.peer,
            launch: entry.key.launch,
            label: entry.key.label,
            path: entry.key.path,
        };
        let settled = process.ledger().entries().iter().copied();
        for entry in settled.chain(process.ledger().unsettled()) {
            let entry = &entry;
            let (count, elements) = match view {
                View::Operations => (entry.count, entry.elements),
                View::Collectives => {
                    (entry.count - entry.merged, entry.elements - entry.merged_elements)
                }
            };
            let place = Place::of(process, entry.key.communicator);
            let key = key(place, entry, What::Operation(entry.key.operation));
            self.count(key, Sums { count, elements, at_least: entry.at_least });
        }
        if view == View::Operations {
            return;
        }
        let unsettled = process.ledger().unsettled_merged();
        let unsettled = unsettled.map(|(merged, count)| (merged, Label::UNKNOWN, count));
        for (merged, label, count) in process.ledger().merged().chain(unsettled) {
            let place = Place::of(process, Some(merged.communicator));
            let key = RowKey {
                host: facts.host.clone(),
                pid: facts.pid,
                instance: facts.instance,
                group: place.group,
                rank: place.rank,
                ranks_in_group: place.ranks,
                what: What::Merged(merged.collective),
                dtype: Some(merged.datatype),
                elements: Elements::Exactly(merged.elements),
                peer: merged.root,
                launch: merged.launch,
                label,
                path: Path::Nccl,
            };
            let elements = u128::from(merged.elements) * u128::from(count);
            self.count(key, Sums { count, elements, at_least: false });
        }
    }

    fn count(&mut self, key: RowKey, more: Sums) {
        if more.is_said() {
            let sums = self.rows.entry(key).or_default();
            sums.count += more.count;
            sums.elements += more.elements;
            sums.at_least |= more.at_least;
        }
    }
}

fn row(key: RowKey, sums: Sums, view: View, groups: &Groups) -> Row {
    let message = match key.elements {
        Elements::Unknown => None,
        Elements::Exactly(_) | Elements::UpTo(_) => message_bytes(sums.elements, key.dtype),
    };
    let bus = message.and_then(|message| match key.what {
        What::Operation(operation) => bus_bytes(operation, message, key.ranks_in_group),
        What::Merged(collective) => collective.bus_bytes(message, key.ranks_in_group?),
    });
    let name = Some(key.what.name().to_owned());
    let (op, collective) = match view {
        View::Operations => (name, None),
        View::Collectives => (None, name),
    };
    let (elements, elements_up_to) = match key.elements {
        Elements::Exactly(elements) => (Some(elements), None),
        Elements::UpTo(bound) => (None, Some(bound)),
        Elements::Unknown => (None, None),
    };
    let stage = groups.place(&key.identity()).map(|place| place.stage);
    Row {
        host: key.host,
        pid: key.pid,
        rank: key.rank,
        stage,
        phase: key.label.phase.name().to_owned(),
        phase_source: key.label.source.map(|source| source.name().to_owned()),
        group: key.group.map(|group| groups.name(group)),
        communicator: key.group.map(plain_name),
        role: key
            .group
            .and_then(|group| groups.purpose(group))
            .map(|(role, _)| role.name().to_owned()),
        op,
        collective,
        path: key.path.name().to_owned(),
        launch: key.launch.name().to_owned(),
        dtype: key.dtype.map(|dtype| dtype.name().to_owned()),
        elements,
        elements_up_to,
        peer: key.peer,
        ranks_in_group: key.ranks_in_group,
        count: sums.count,
        at_least: sums.at_least,
        message_bytes: message.map(saturated),
        bus_bytes: bus.map(saturated),
    }
}

fn saturated(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
