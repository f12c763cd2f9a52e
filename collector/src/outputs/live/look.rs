//! What one look at a process takes along: sums small enough to be made twice a second under its lock.

use crate::collector::Followed;
use crate::groups::Worker;
use crate::ledger::bytes::message_bytes;
use crate::ledger::{Collective, Elements, Entry, Ledger, Path};
use crate::outputs::rows::Place;
use crate::process::{Accounting, Identity, Life, Process};
use crate::steps::{Label, Phase, StepCount};
use crate::timeline::{CommunicatorId, Launch};
use nccltap_proto::{Operation, v1};
use rustc_hash::FxHashMap;

/// What an operation was, or the collective that several were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Operation(Operation),
    Merged(Collective),
}

impl What {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Operation(operation) => operation.name(),
            Self::Merged(collective) => collective.name(),
        }
    }
}

/// Operations of one process that are shown together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) what: What,
    pub(super) phase: Phase,
    pub(super) communicator: Option<CommunicatorId>,
    /// Peer or root.
    pub(super) peer: Option<i32>,
    /// Bytes of one message are at most two to this power; none where the data type is not known.
    pub(super) size_bits: Option<u32>,
    pub(super) launch: Launch,
    pub(super) path: Path,
}

/// How much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) count: u64,
    pub(super) bytes: u128,
    /// Those that are part of a merged collective, which has a flow of its own.
    pub(super) merged: u64,
    pub(super) merged_bytes: u128,
}

/// A copy of a library.
#[derive(Clone, Debug)]
pub(super) struct Library {
    pub(super) kind: nccltap_proto::Library,
    pub(super) path: String,
    pub(super) version: u32,
    pub(super) plt: u32,
    pub(super) dlsym: u32,
}

/// A call that has not come back.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub(super) function: &'static str,
    pub(super) group: Option<u64>,
    pub(super) ns: u64,
}

/// One process, as seen at one moment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) worker: Worker,
    pub(super) job: String,
    pub(super) life: Life,
    pub(super) connected: bool,
    pub(super) accounting: Accounting,
    pub(super) operations: u64,
    pub(super) newest: v1::Anchor,
    pub(super) flows: FxHashMap<Flow, Amount>,
    pub(super) places: FxHashMap<CommunicatorId, Place>,
    /// Collectives that every rank of a group takes part in alike, so far, by communicator.
    pub(super) indices: FxHashMap<CommunicatorId, u64>,
    pub(super) steps: Vec<(Label, StepCount)>,
    pub(super) marked: bool,
    pub(super) waiting: u64,
    pub(super) inside: Option<Inside>,
    pub(super) libraries: Vec<Library>,
    pub(super) launches: crate::ledger::Launches,
    pub(super) manifests: u64,
}

impl Look {
    pub(super) fn at(followed: &Followed) -> Self {
        let process = followed.lock();
        let process = &*process;
        let ledger = process.ledger();
        let communicators = process.timeline().communicators().all();
        let place = |facts: &&v1::Communicator| (facts.id, Place::of(process, Some(facts.id)));
        Self {
            worker: Worker::of(process),
            job: process.facts().job.clone(),
            life: process.life(),
            connected: followed.is_connected(),
            accounting: process.accounting(),
            operations: ledger.operations(),
            newest: process.timeline().clock().latest(),
            flows: flows(ledger),
            places: communicators.iter().map(place).collect(),
            indices: indices(ledger),
            steps: process.steps().counts().iter().map(|(l, count)| (*l, *count)).collect(),
            marked: process.steps().is_marked(),
            waiting: ledger.unsettled().map(|entry| entry.count).sum(),
            inside: inside(process),
            libraries: process.libraries().map(library).collect(),
            launches: ledger.launches(),
            manifests: process.timeline().manifests().len() as u64,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.worker.identity
    }

    /// Its place in the group of a flow.
    pub(super) fn place(&self, flow: &Flow) -> Place {
        let place = flow.communicator.and_then(|id| self.places.get(&id));
        place.copied().unwrap_or_default()
    }
}

fn flows(ledger: &Ledger) -> FxHashMap<Flow, Amount> {
    let mut flows: FxHashMap<Flow, Amount> = FxHashMap::default();
    for entry in ledger.entries() {
        let key = &entry.key;
        let one = match key.elements {
            Elements::Exactly(one) | Elements::UpTo(one) => Some(one),
            Elements::Unknown => None,
        };
        let flow = Flow {
            what: What::Operation(key.operation),
            phase: key.label.phase,
            communicator: key.communicator,
            peer: key.peer,
            size_bits: one.and_then(|one| message_bytes(one.into(), key.datatype)).map(bits),
            launch: key.launch,
            path: key.path,
        };
        let bytes = |elements| message_bytes(elements, key.datatype).unwrap_or(0);
        let amount = flows.entry(flow).or_default();
        amount.count += entry.count;
        amount.bytes = amount.bytes.saturating_add(bytes(entry.elements));
        amount.merged += entry.merged;
        amount.merged_bytes = amount.merged_bytes.saturating_add(bytes(entry.merged_elements));
    }
    for (merged, label, count) in ledger.merged() {
        let bytes = message_bytes(merged.elements.into(), Some(merged.datatype)).unwrap_or(0);
        let flow = Flow {
            what: What::Merged(merged.collective),
            phase: label.phase,
            communicator: Some(merged.communicator),
            peer: merged.root,
            size_bits: Some(bits(bytes)),
            launch: merged.launch,
            path: Path::Nccl,
        };
        let amount = flows.entry(flow).or_default();
        amount.count += count;
        amount.bytes = amount.bytes.saturating_add(bytes.saturating_mul(count.into()));
    }
    flows
}

/// The smallest power of two that is no less.
fn bits(bytes: u128) -> u32 {
    u128::BITS - bytes.saturating_sub(1).leading_zeros()
}

/// Of groups of Send and Recv each rank may do its own number, so they say nothing about who is late.
fn indices(ledger: &Ledger) -> FxHashMap<CommunicatorId, u64> {
    let alike = |operation: Operation| {
        use Operation::{Gather, PutSignal, Recv, Scatter, Send};
        !matches!(operation, Send | Recv | PutSignal | Gather | Scatter)
    };
    let mut indices: FxHashMap<CommunicatorId, u64> = FxHashMap::default();
    let mut count = |entry: &Entry| {
        if let Some(id) = entry.key.communicator.filter(|_| alike(entry.key.operation)) {
            *indices.entry(id).or_default() += entry.count.saturating_sub(entry.merged);
        }
    };
    ledger.entries().iter().for_each(&mut count);
    // What its step serves is not known yet, but it was issued.
    ledger.unsettled().for_each(|entry| count(&entry));
    let settled = ledger.merged().map(|(merged, _, count)| (merged, count));
    for (merged, count) in settled.chain(ledger.unsettled_merged()) {
        if !matches!(merged.collective, Collective::Gather | Collective::Scatter) {
            *indices.entry(merged.communicator).or_default() += count;
        }
    }
    indices
}

fn inside(process: &Process) -> Option<Inside> {
    if process.life() != Life::Running {
        return None;
    }
    let calls = process.calls_in_flight().iter().filter_map(|call| {
        Some(Inside {
            function: call.function?.name(),
            group: Place::of(process, call.communicator).group,
            ns: call.age_ns?,
        })
    });
    calls.max_by_key(|call| call.ns)
}

fn library(facts: &v1::Library) -> Library {
    let through = |door: fn(&v1::Resolved) -> bool| {
        facts.resolved.iter().filter(|resolved| door(resolved)).count() as u32
    };
    Library {
        kind: match facts.kind() {
            v1::LibraryKind::CudaRuntime => nccltap_proto::Library::CudaRuntime,
            v1::LibraryKind::CudaDriver => nccltap_proto::Library::CudaDriver,
            v1::LibraryKind::Oneccl => nccltap_proto::Library::OneCcl,
            v1::LibraryKind::Hip => nccltap_proto::Library::Hip,
            v1::LibraryKind::Nccl | v1::LibraryKind::Unspecified => nccltap_proto::Library::Nccl,
        },
        path: facts.path.clone(),
        version: facts.version,
        plt: through(|resolved| resolved.plt),
        dlsym: through(|resolved| resolved.dlsym),
    }
}
