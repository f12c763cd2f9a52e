//! Single operations of a recording, for other programs: [`parquet`] for tables, [`trace`] for timelines.
//!
//! A recording is read twice: once to know the groups and what they are for, once to tell each operation. Neither
//! pass holds more of it than a message and what waits for its phase (see [`journal`](crate::journal)).

pub mod parquet;
pub mod trace;

use crate::collector::{Collector, Followed, PROCESSES};
use crate::groups::{Groups, plain_name};
use crate::journal::Entry;
use crate::ledger::bytes::{bus_bytes, message_bytes};
use crate::outputs::rows::{Place, groups};
use crate::process::{Identity, Process};
use crate::recording::Reader;
use crate::replay::replay;
use crate::steps::{Phase, Source};
use crate::timeline::{CommunicatorId, Launch};
use anyhow::Context;
use nccltap_proto::{Datatype, Operation as Op};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

/// One operation that NCCL took, as one rank issued it.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// When the call began, nanoseconds since 1970 by the clock of its host. Of a graph: when its launch ended.
    pub start_ns: Option<u64>,
    /// When NCCL returned. Of a graph: when its launch did.
    pub end_ns: Option<u64>,
    /// How long the call took on the host; none was made for an operation of a graph.
    pub duration_ns: Option<u64>,
    /// The process.
    pub who: Arc<Who>,
    /// The communicator, `None` when it is not known.
    pub group: Option<Arc<Member>>,
    /// The operation.
    pub op: Op,
    /// Its data type.
    pub dtype: Option<Datatype>,
    /// NCCL's count argument, or what stands for it beside NCCL, where it is known.
    pub elements: Option<u64>,
    /// The way the data takes.
    pub path: nccltap_proto::Path,
    /// Peer or root.
    pub peer: Option<i32>,
    /// How it was launched.
    pub launch: Launch,
    /// What it served.
    pub phase: Phase,
    /// How that is known.
    pub phase_source: Option<Source>,
    /// Elements x element size.
    pub message_bytes: Option<u64>,
    /// What this rank must send through its link at best.
    pub bus_bytes: Option<u64>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// A number of its own in this export, from 1 in order of appearance: pids of different hosts may be equal.
    pub number: u32,
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// `NCCLTAP_JOB`.
    pub job: String,
    /// Pipeline stage.
    pub stage: Option<u32>,
    /// Rank in the tensor-parallel group.
    pub tensor_rank: Option<u32>,
}

/// A process' place in a communicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Number of the communicator within its process.
    pub id: CommunicatorId,
    /// Names the communicator on all its ranks, where it is known.
    pub communicator: Option<String>,
    /// The group by its role (`tp0`), or as the communicator.
    pub name: Option<String>,
    /// What it is for.
    pub role: Option<&'static str>,
    /// The process' rank in it.
    pub rank: Option<i32>,
    /// Its size.
    pub ranks: Option<u32>,
}

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Operations.
    pub operations: u64,
    /// Of those: told as of unknown phase because too many waited for theirs. Reports may know it.
    pub given_up: u64,
    /// Entries of the recording that could not be taken, and what was wrong with the first.
    pub left_out: (u64, Option<String>),
    /// Where the recording ends before its time, and why.
    pub tail: Option<String>,
}

/// Tells `sink` every operation of the recording in `path`, those of one process by and large in order of their
/// ends: an operation is told when its phase is known.
pub fn operations(
    path: &Path,
    mut sink: impl FnMut(&Operation) -> anyhow::Result<()>,
) -> anyhow::Result<Told> {
    let all = replay(path, PROCESSES)?;
    let mut teller = Teller { groups: groups(&all), known: BTreeMap::new(), told: Told::default() };
    let replayed = all.replayed();
    teller.told.left_out = (replayed.left_out, replayed.first);
    teller.told.tail = replayed.tail;
    drop(all);

    let file = File::open(path).with_context(|| format!("{} is no use", path.display()))?;
    let mut reader = Reader::new(BufReader::with_capacity(1 << 20, file))?;
    let collector = Collector::new(PROCESSES).with_journals();
    while let Some(entry) = reader.next_entry()? {
        let identity = Identity::from(&entry.process.clone().unwrap_or_default());
        // What cannot be taken was counted in the first pass.
        let _ = collector.replay(entry);
        if let Some(followed) = collector.find(&identity) {
            teller.tell(&followed, false, &mut sink)?;
        }
    }
    for followed in collector.followed() {
        teller.tell(&followed, true, &mut sink)?;
    }
    Ok(teller.told)
}

struct Teller {
    groups: Groups,
    known: BTreeMap<Identity, Known>,
    told: Told,
}

/// What all operations of a process share.
struct Known {
    who: Arc<Who>,
    members: BTreeMap<CommunicatorId, Arc<Member>>,
}

impl Teller {
    fn tell(
        &mut self,
        followed: &Followed,
        last: bool,
        sink: &mut impl FnMut(&Operation) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut process = followed.lock();
        let Some(journal) = process.journal() else { return Ok(()) };
        if last {
            journal.finish();
            self.told.given_up += journal.given_up();
        }
        let entries = journal.take();
        if entries.is_empty() {
            return Ok(());
        }
        let number = u32::try_from(self.known.len() + 1).unwrap_or(u32::MAX);
        let groups = &self.groups;
        let known = self.known.entry(process.identity()).or_insert_with(|| Known {
            who: Arc::new(who(&process, number, groups)),
            members: BTreeMap::new(),
        });
        for entry in entries {
            self.told.operations += 1;
            sink(&known.operation(&entry, &process, groups))?;
        }
        Ok(())
    }
}

fn who(process: &Process, number: u32, groups: &Groups) -> Who {
    let facts = process.facts();
    let place = groups.place(&process.identity());
    Who {
        number,
        host: facts.host.clone(),
        pid: facts.pid,
        job: facts.job.clone(),
        stage: place.map(|place| place.stage),
        tensor_rank: place.map(|place| place.tensor),
    }
}

impl Known {
    fn operation(&mut self, entry: &Entry, process: &Process, groups: &Groups) -> Operation {
        let Entry { call, label } = entry;
        let clock = process.timeline().clock();
        let end_ns = clock.realtime_ns(call.end);
        let elements = call.known_elements();
        let message = elements.and_then(|elements| message_bytes(elements.into(), call.datatype));
        let group = call.communicator.map(|id| self.member(id, process, groups));
        let ranks = group.as_ref().and_then(|group| group.ranks);
        let bus = message.and_then(|message| bus_bytes(call.operation, message, ranks));
        let whole = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
        Operation {
            start_ns: end_ns.map(|end| end.saturating_sub(call.duration_ns.unwrap_or(0))),
            end_ns,
            duration_ns: call.duration_ns,
            who: Arc::clone(&self.who),
            group,
            op: call.operation,
            dtype: call.datatype,
            elements,
            path: call.path,
            peer: call.peer,
            launch: call.launch,
            phase: label.phase,
            phase_source: label.source,
            message_bytes: message.map(whole),
            bus_bytes: bus.map(whole),
        }
    }

    /// A communicator's size may become known late: until then it is looked up each time.
    fn member(&mut self, id: CommunicatorId, process: &Process, groups: &Groups) -> Arc<Member> {
        if let Some(known) = self.members.get(&id) {
            return Arc::clone(known);
        }
        let place = Place::of(process, Some(id));
        let member = Arc::new(Member {
            id,
            communicator: place.group.map(plain_name),
            name: place.group.map(|group| groups.name(group)),
            role: place.group.and_then(|group| groups.purpose(group)).map(|(role, _)| role.name()),
            rank: place.rank,
            ranks: place.ranks,
        });
        if place.ranks.is_some() && place.group.is_some() {
            self.members.insert(id, Arc::clone(&member));
        }
        member
    }
}
