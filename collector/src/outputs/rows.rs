//! The rows of a report: one per distinct key, the same for a live collector and a recording.
//!
//! View `operations` counts what NCCL was told. View `collectives` puts together what belongs
//! together: a root's group of Recv is a Gather, and so is the Send of every other rank that the
//! root's group received. Nothing is guessed: what may be something else stays what it was told as.

use crate::collector::Collector;
use crate::ledger::bytes::{bus_bytes, message_bytes};
use crate::ledger::{Collective, Elements, Entry, Path, Phase};
use crate::process::Process;
use crate::timeline::{CommunicatorId, Launch};
use nccltap_proto::{Datatype, Operation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

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
    /// Pipeline stage. Not known yet.
    pub stage: Option<u32>,
    /// `prefill`, `decode`, `mixed`, `startup` or `unknown`.
    pub phase: String,
    /// Names the communicator on all its ranks: 16 hexadecimal digits.
    pub group: Option<String>,
    /// What the group is for. Not known yet.
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
    /// NCCL's count argument.
    pub elements: Option<u64>,
    /// Where `elements` is null because the process has more different sizes than are kept apart:
    /// the power of two up to which they reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements_up_to: Option<u64>,
    /// Peer or root, as a rank of the communicator.
    pub peer: Option<i32>,
    /// Size of the group.
    pub ranks_in_group: Option<u32>,
    /// How many.
    pub count: u64,
    /// Sum over `count` of elements x element size, as this rank stated them.
    pub message_bytes: Option<u64>,
    /// Sum over `count` of what this rank sends through its link at best.
    pub bus_bytes: Option<u64>,
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
    group: Option<u64>,
    rank: Option<i32>,
    ranks_in_group: Option<u32>,
    what: What,
    dtype: Option<Datatype>,
    elements: Elements,
    peer: Option<i32>,
    launch: Launch,
    phase: Phase,
    path: Path,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: u64,
    elements: u128,
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

/// The name of a group in reports and labels.
pub fn group_name(group: u64) -> String {
    format!("{group:016x}")
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
    table.rows.into_iter().map(|(key, sums)| row(key, sums, view)).collect()
}

/// Rows as one JSON array, a row per line.
pub fn json(rows: &[Row]) -> serde_json::Result<String> {
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
            group: place.group,
            rank: place.rank,
            ranks_in_group: place.ranks,
            what,
            dtype: entry.key.datatype,
            elements: entry.key.elements,
            peer: entry.key.peer,
            launch: entry.key.launch,
            phase: entry.key.phase,
            path: entry.key.path,
        };
        for entry in process.ledger().entries() {
            let (count, elements) = match view {
                View::Operations => (entry.count, entry.elements),
                View::Collectives => {
                    (entry.count - entry.merged, entry.elements - entry.merged_elements)
                }
            };
            let place = Place::of(process, entry.key.communicator);
            let key = key(place, entry, What::Operation(entry.key.operation));
            self.count(key, Sums { count, elements });
        }
        if view == View::Operations {
            return;
        }
        for (merged, count) in process.ledger().merged() {
            let place = Place::of(process, Some(merged.communicator));
            let key = RowKey {
                host: facts.host.clone(),
                pid: facts.pid,
                group: place.group,
                rank: place.rank,
                ranks_in_group: place.ranks,
                what: What::Merged(merged.collective),
                dtype: Some(merged.datatype),
                elements: Elements::Exactly(merged.elements),
                peer: merged.root,
                launch: Launch::Eager,
                phase: Phase::Unknown,
                path: Path::Nccl,
            };
            let elements = u128::from(merged.elements) * u128::from(count);
            self.count(key, Sums { count, elements });
        }
    }

    fn count(&mut self, key: RowKey, more: Sums) {
        if more.count > 0 {
            let sums = self.rows.entry(key).or_default();
            sums.count += more.count;
            sums.elements += more.elements;
        }
    }

    /// A Send that the root's Gather has received is that rank's part of the Gather, and a Recv of
    /// what the root's Scatter has sent likewise.
    ///
    /// Transfers of one shape between two ranks pair up one by one. So of a rank's `sent`, the root
    /// having received `gathered` in gathers and `plain` outside of them, at least
    /// `sent - plain` are parts of gathers; no more than that is said.
    fn join_gathers(&mut self) {
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
                let moved = Sums { count: part, elements: u128::from(elements) * u128::from(part) };
                if let Some(rest) = self.rows.get_mut(&key) {
                    rest.count -= moved.count;
                    rest.elements -= moved.elements;
                }
                self.count(RowKey { what: What::Merged(root_side), ..key }, moved);
            }
            self.rows.retain(|_, sums| sums.count > 0);
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
        }
    }
}

fn row(key: RowKey, sums: Sums, view: View) -> Row {
    let message = message_bytes(sums.elements, key.dtype);
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
    };
    Row {
        host: key.host,
        pid: key.pid,
        rank: key.rank,
        stage: None,
        phase: key.phase.name().to_owned(),
        group: key.group.map(group_name),
        role: None,
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
        message_bytes: message.map(saturated),
        bus_bytes: bus.map(saturated),
    }
}

fn saturated(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_proto::Function;
    use nccltap_proto::record::{NO_PEER, Record};
    use nccltap_proto::v1::{self, agent_message::Message};

    const RECV: Function = Function::ncclRecv;
    const SEND: Function = Function::ncclSend;

    /// One rank of a group of `ranks`, that made these calls: function, peer, number of its group.
    fn take(collector: &Collector, rank: i32, ranks: u32, calls: &[(Function, i32, u32)]) {
        let pid = 100 + rank.unsigned_abs();
        let process = v1::Process { host: "node".into(), pid, ..Default::default() };
        let hello = v1::Hello { process: Some(process), ..Default::default() };
        let (stream, _) = collector.hello(hello, 0).unwrap();
        let facts = v1::Communicator { handle: 1, group: 5, ranks, rank, ..Default::default() };
        let records = calls.iter().flat_map(|(function, peer, group)| {
            let record = Record {
                communicator: 1,
                start: 1,
                end: 2,
                count: 4,
                function: function.id(),
                peer: *peer,
                group: *group,
                depth: u8::from(*group > 0),
                ..Record::default()
            };
            record.to_words().into_iter().flat_map(u64::to_le_bytes)
        });
        let records: Vec<u8> = records.collect();
        let batch = v1::Batch { records: records.into(), ..Default::default() };
        let report =
            v1::Report { communicators: vec![facts], batches: vec![batch], ..Default::default() };
        collector.take(stream.followed(), Message::Report(report), 0, false);
        collector.take(stream.followed(), Message::Goodbye(v1::Goodbye { last: None }), 0, false);
    }

    fn counts(collector: &Collector) -> Vec<(i32, String, Option<i32>, u64)> {
        let row = |row: Row| (row.rank.unwrap(), row.collective.unwrap(), row.peer, row.count);
        rows(collector, View::Collectives).into_iter().map(row).collect()
    }

    fn named(
        rank: i32,
        collective: &str,
        peer: i32,
        count: u64,
    ) -> (i32, String, Option<i32>, u64) {
        (rank, collective.to_owned(), (peer != NO_PEER).then_some(peer), count)
    }

    #[test]
    fn a_send_is_part_of_the_gather_that_received_it() {
        let collector = Collector::new(8);
        let gather = [(RECV, 1, 1), (RECV, 2, 1)];
        take(&collector, 0, 3, &gather);
        take(&collector, 1, 3, &[(SEND, 0, 1)]);
        take(&collector, 2, 3, &[(SEND, 0, 1), (SEND, 0, 2)]);
        let expected = [
            named(0, "Gather", 0, 1),
            named(1, "Gather", 0, 1),
            // The root has not received the second one yet: one of the two was the gather's.
            named(2, "Send", 0, 1),
            named(2, "Gather", 0, 1),
        ];
        assert_eq!(counts(&collector), expected);
    }

    #[test]
    fn a_transfer_of_the_same_shape_beside_a_gather_stays_a_transfer() {
        let collector = Collector::new(8);
        take(&collector, 0, 3, &[(RECV, 1, 1), (RECV, 2, 1), (RECV, 1, 2)]);
        take(&collector, 1, 3, &[(SEND, 0, 1), (SEND, 0, 2)]);
        let expected = [
            named(0, "Recv", 1, 1),
            named(0, "Gather", 0, 1),
            named(1, "Send", 0, 1),
            named(1, "Gather", 0, 1),
        ];
        assert_eq!(counts(&collector), expected);
    }

    #[test]
    fn without_the_root_a_send_stays_a_send() {
        let collector = Collector::new(8);
        take(&collector, 1, 3, &[(SEND, 0, 1)]);
        assert_eq!(counts(&collector), [named(1, "Send", 0, 1)]);
    }

    #[test]
    fn a_scatter_is_joined_in_the_same_way() {
        let collector = Collector::new(8);
        take(&collector, 0, 3, &[(SEND, 1, 1), (SEND, 2, 1)]);
        take(&collector, 2, 3, &[(RECV, 0, 1)]);
        assert_eq!(counts(&collector), [named(0, "Scatter", 0, 1), named(2, "Scatter", 0, 1)]);
    }

    #[test]
    fn a_row_of_json_has_every_key_that_scripts_rely_on() {
        let collector = Collector::new(8);
        take(&collector, 0, 2, &[(SEND, 1, 0)]);
        let text = json(&rows(&collector, View::Operations)).unwrap();
        let rows: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(&text).unwrap();
        let keys: Vec<_> = rows[0].keys().map(String::as_str).collect();
        let mut expected = vec![
            "host",
            "pid",
            "rank",
            "stage",
            "phase",
            "group",
            "role",
            "op",
            "collective",
            "path",
            "launch",
            "dtype",
            "elements",
            "peer",
            "ranks_in_group",
            "count",
            "message_bytes",
            "bus_bytes",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }
}
