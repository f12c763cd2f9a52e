//! From records to events: one process' calls in order, each counted once.
//!
//! Pure: no runtime, no clock of its own, no I/O. The same messages give the same events, whether
//! they come from a socket, a recording or a ring file.
//!
//! - a record that was taken before is discarded, one that is missing is counted as lost;
//! - a record belongs to the communicator with its handle that was alive when the call began;
//! - operations inside a group wait for the group's end: if `ncclGroupSimulateEnd` closes it,
//!   nothing was launched and nothing is told;
//! - operations of several threads are told in the order in which they ended;
//! - where records may be missing, the listener is told of a gap;
//! - marks of engine steps take their place among the operations of all threads;
//! - a call that went to a graph under capture carries nothing out; each launch of a graph carries out
//!   what its manifest says;
//! - a kernel that moves data beside NCCL is an operation like any other, on its own path (`kernels`).

mod clock;
mod communicators;
mod kernels;
mod manifests;
mod order;
mod rings;

pub use clock::Clock;
pub use communicators::{CommunicatorId, Communicators};
pub use manifests::{Block, Manifest, ManifestId, Manifests};
pub use order::WAITING_OPERATIONS;
pub use rings::HELD_OPERATIONS;

use nccltap_proto::record::{NO_MANIFEST, NO_PEER, Record, UNKNOWN_COUNT, records};
use nccltap_proto::{Datatype, Function, Mark, Meaning, Operation, Path, v1};
use order::{InOrder, Order};
use rings::Ring;
use std::collections::BTreeMap;

/// `ncclSuccess`.
const SUCCESS: i32 = 0;
/// `ncclInProgress`: a nonblocking communicator took the call and works on it.
const IN_PROGRESS: i32 = 7;

/// How an operation came to be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Launch {
    /// By a call of its own.
    Eager,
    /// By the launch of a CUDA graph that it was captured into.
    Graph,
}

impl Launch {
    /// The name in reports and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Graph => "graph",
        }
    }
}

/// One operation that NCCL took, or the launch of a kernel that carries one out beside NCCL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperationCall {
    /// The function that was called.
    pub function: Function,
    /// The operation it stands for.
    pub operation: Operation,
    /// The communicator, `None` when the tap never saw it made.
    pub communicator: Option<CommunicatorId>,
    /// NCCL's count argument, in elements; [`UNKNOWN_COUNT`] for a kernel
    /// that does not say it.
    pub elements: u64,
    /// The way it takes.
    pub path: Path,
    /// `None` for a data type that is not in NCCL's list.
    pub datatype: Option<Datatype>,
    /// Peer or root, as a rank of the communicator.
    pub peer: Option<i32>,
    /// How it was launched.
    pub launch: Launch,
    /// When the call ended, in ticks of the record clock.
    pub end: u64,
    /// How long the call took on the host, in nanoseconds. `None` where no call was made for it alone.
    pub duration_ns: Option<u64>,
}

impl OperationCall {
    /// NCCL's count argument, where it is known.
    pub fn known_elements(&self) -> Option<u64> {
        known_elements(self.elements, self.path)
    }
}

/// The count of an operation on `path`, where it is known. NCCL always says it, and takes every number.
pub(crate) const fn known_elements(elements: u64, path: Path) -> Option<u64> {
    match (path, elements) {
        (Path::Nccl, _) => Some(elements),
        (_, UNKNOWN_COUNT) => None,
        _ => Some(elements),
    }
}

/// Who is told what the records say.
pub trait Listener {
    /// A call was taken from a ring: each record once, whatever becomes of it.
    fn call(&mut self, function: Function);
    /// NCCL took an operation.
    fn operation(&mut self, call: &OperationCall, communicators: &Communicators);
    /// NCCL took these operations together, at the end of their group: two or more.
    fn group(&mut self, calls: &[OperationCall], communicators: &Communicators);
    /// NCCL refused the call with this `ncclResult_t`.
    fn failed(&mut self, function: Function, result: i32);
    /// Operations of a group that was simulated and not launched.
    fn simulated(&mut self, operations: u64);
    /// Calls may be missing between what was told last and what is told next.
    fn gap(&mut self);
    /// NCCL took this operation into a graph under capture: nothing was carried out.
    fn captured(&mut self, call: &OperationCall, communicators: &Communicators);
    /// A graph became known that the GPU can launch by itself, whether or not the host ever does.
    fn launched_by_device(&mut self, manifest: &Manifest);
    /// A graph was launched, and this is in it. The launch ended at `end`, in ticks of the record clock.
    fn launched(&mut self, holds: Holds<'_>, end: u64, communicators: &Communicators);
    /// The engine said something of its step, its layout or its backends.
    fn mark(&mut self, mark: &Mark);
}

/// What is in a graph that was launched.
#[derive(Clone, Copy, Debug)]
pub enum Holds<'a> {
    /// No operation of NCCL.
    Nothing,
    /// These operations.
    Operations(&'a Manifest),
    /// It is not known.
    Unknown,
    /// Whatever it is, it became part of another graph, under capture itself.
    Captured,
}

/// The calls of one process, in the order of each of its threads.
#[derive(Debug)]
pub struct Timeline {
    rings: BTreeMap<u32, Ring>,
    reading: Reading,
    order: Order,
    unrecorded: u64,
}

/// What it takes to read a record of any ring.
#[derive(Debug)]
struct Reading {
    clock: Clock,
    communicators: Communicators,
    manifests: Manifests,
    repeated: u64,
    marks: u64,
    unknown_functions: u64,
    told_before_group_end: u64,
    groups_without_end: u64,
}

/// Totals over all rings, see [`Timeline::totals`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingSums {
    /// Calls recorded or dropped.
    pub made: u64,
    /// Positions this collector has taken.
    pub taken: u64,
    /// Calls that found their ring full.
    pub dropped: u64,
    /// Records that another collector had taken before.
    pub before: u64,
    /// Records missing between two batches.
    pub lost: u64,
    /// Records completed and not yet received.
    pub pending: u64,
    /// Operations waiting for the end of their group, or for calls of other threads that ended
    /// before them.
    pub held: u64,
}

impl Timeline {
    /// A process of which nothing is known but its clock.
    pub fn new(clock: Clock) -> Self {
        let reading = Reading {
            clock,
            communicators: Communicators::default(),
            manifests: Manifests::default(),
            repeated: 0,
            marks: 0,
            unknown_functions: 0,
            told_before_group_end: 0,
            groups_without_end: 0,
        };
        Self { rings: BTreeMap::new(), reading, order: Order::default(), unrecorded: 0 }
    }

    /// Takes a Report in. Its batches are in range and whole, see
    /// [`contract`](crate::ingest::contract).
    pub fn report(&mut self, report: &v1::Report, listener: &mut impl Listener) {
        if let Some(anchor) = report.anchor {
            self.reading.clock.anchor(anchor);
        }
        for communicator in &report.communicators {
            self.reading.communicators.learn(communicator);
        }
        for manifest in &report.manifests {
            let Reading { manifests, communicators, .. } = &mut self.reading;
            if let Some(new) = manifests.learn(manifest, communicators)
                && new.device_launch()
            {
                listener.launched_by_device(new);
            }
        }
        self.totals_of(report, listener);
        let at_once = self.is_one_thread_at_a_time(report);
        for batch in &report.batches {
            self.batch(batch, at_once, listener);
        }
        self.release(listener);
    }

    /// The process has ended: what still waits for the end of its group is told. Of a process that
    /// ended in good order (`said_all`), nothing is pending.
    pub fn finish(&mut self, said_all: bool, listener: &mut impl Listener) {
        for (number, ring) in &mut self.rings {
            if said_all {
                ring.finish();
            }
            let end = ring.latest_end;
            let at_once = false;
            let mut in_order =
                InOrder { order: &mut self.order, listener, ring: *number, end, at_once };
            self.reading.close_unended(ring, &mut in_order);
        }
        let Reading { clock, communicators, .. } = &self.reading;
        self.order.release(u64::MAX, clock, communicators, listener);
    }

    /// Takes in the totals, before the batches: they say whether calls are missing among these.
    fn totals_of(&mut self, report: &v1::Report, listener: &mut impl Listener) {
        let mut missing = report.unrecorded > self.unrecorded;
        self.unrecorded = self.unrecorded.max(report.unrecorded);
        for totals in &report.rings {
            let ring = self.rings.entry(totals.ring).or_default();
            ring.recorded = ring.recorded.max(totals.recorded);
            if totals.dropped > ring.dropped {
                ring.dropped = totals.dropped;
                // Where in the ring they are missing is not known: somewhere up to here.
                ring.doubtful_until = Some(totals.recorded);
                missing = true;
            }
        }
        if missing {
            listener.gap();
        }
    }

    /// Whether everything in the report can be told as it is read: nothing waits, one ring has news,
    /// and every other ring has been received as far as it goes.
    fn is_one_thread_at_a_time(&self, report: &v1::Report) -> bool {
        let Some(first) = report.batches.first() else { return true };
        self.order.is_empty()
            && report.batches.iter().all(|batch| batch.ring == first.ring)
            && self.rings.iter().all(|(number, ring)| *number == first.ring || !ring.is_behind())
    }

    /// Tells what waits and cannot be preceded by anything that is yet to come.
    fn release(&mut self, listener: &mut impl Listener) {
        if self.order.is_empty() {
            return;
        }
        let behind = self.rings.values().filter(|ring| ring.is_behind());
        let frontier = behind.map(|ring| ring.latest_end).min().unwrap_or(u64::MAX);
        let Reading { clock, communicators, .. } = &self.reading;
        self.order.release(frontier, clock, communicators, listener);
    }

    fn batch(&mut self, batch: &v1::Batch, at_once: bool, listener: &mut impl Listener) {
        let ring = self.rings.entry(batch.ring).or_default();
        let records = records(&batch.records);
        let missing = ring.lost + ring.before;
        let repeated = ring.advance(batch.first, records.len() as u64);
        self.reading.repeated += repeated;
        let end = ring.latest_end;
        let mut in_order =
            InOrder { order: &mut self.order, listener, ring: batch.ring, end, at_once };
        if ring.lost + ring.before > missing {
            in_order.gap();
        }
        for (position, record) in (batch.first..).zip(records).skip(repeated as usize) {
            ring.latest_end = ring.latest_end.max(record.end);
            in_order.end = ring.latest_end;
            if ring.is_doubtful(position) {
                in_order.gap();
            }
            let marks = self.reading.marks;
            self.reading.record(ring, &record, &mut in_order);
            if self.reading.marks > marks && ring.doubtful_until.is_some() {
                // It holds for the calls of other threads too, and the next one may be missing.
                in_order.gap();
            }
        }
    }

    /// Where every known ring stands: the position of the first record not yet taken.
    pub fn positions(&self) -> Vec<v1::RingPosition> {
        let started = self.rings.iter().filter(|(_, ring)| ring.started);
        started.map(|(ring, at)| v1::RingPosition { ring: *ring, next: at.next }).collect()
    }

    /// The position of the first record of `ring` not yet taken, `None` for an unknown ring.
    pub fn position(&self, ring: u32) -> Option<u64> {
        self.rings.get(&ring).filter(|ring| ring.started).map(|ring| ring.next)
    }

    /// Totals over all rings.
    pub fn totals(&self) -> RingSums {
        let mut sums = RingSums::default();
        for ring in self.rings.values() {
            sums.made += ring.recorded.max(ring.next) + ring.dropped;
            sums.taken += ring.next - ring.before - ring.lost;
            sums.dropped += ring.dropped;
            sums.before += ring.before;
            sums.lost += ring.lost;
            sums.pending += ring.pending();
            sums.held += ring.held.len() as u64;
        }
        sums.held += self.order.operations() as u64;
        sums
    }

    /// The communicators of the process.
    pub fn communicators(&self) -> &Communicators {
        &self.reading.communicators
    }

    /// What the graphs of the process hold.
    pub fn manifests(&self) -> &Manifests {
        &self.reading.manifests
    }

    /// The communicator with this handle that was alive at `ticks`.
    pub fn communicator_at(&mut self, handle: u64, ticks: u64) -> Option<CommunicatorId> {
        self.reading.communicators.find(handle, ticks)
    }

    /// The clock of the process.
    pub fn clock(&self) -> &Clock {
        &self.reading.clock
    }

    /// Records that came again and were discarded.
    pub fn repeated(&self) -> u64 {
        self.reading.repeated
    }

    /// Marks of engine steps.
    pub fn marks(&self) -> u64 {
        self.reading.marks
    }

    /// Records of functions this collector does not know.
    pub fn unknown_functions(&self) -> u64 {
        self.reading.unknown_functions
    }

    /// Operations told before their group ended, because it was larger than [`HELD_OPERATIONS`].
    pub fn told_before_group_end(&self) -> u64 {
        self.reading.told_before_group_end
    }

    /// Groups whose end was never seen: their operations are told as if it had come.
    pub fn groups_without_end(&self) -> u64 {
        self.reading.groups_without_end
    }
}

impl Reading {
    #[inline]
    fn record(&mut self, ring: &mut Ring, record: &Record, listener: &mut impl Listener) {
        let Some(function) = Function::from_id(record.function) else {
            return self.no_function(record, listener);
        };
        if function.launches_kernel() {
            return self.kernel(function, record, listener);
        }
        listener.call(function);
        let went_through = matches!(record.result, SUCCESS | IN_PROGRESS);
        match function.meaning() {
            Meaning::Operation(operation) if went_through && record.is_captured() => {
                let call = self.operation(function, operation, record);
                listener.captured(&call, &self.communicators);
            }
            Meaning::GraphLaunch if record.result == SUCCESS => {
                let holds = match (record.is_captured(), record.count) {
                    (true, _) => Holds::Captured,
                    (false, NO_MANIFEST) => Holds::Nothing,
                    (false, id) => {
                        let known = u32::try_from(id).ok().and_then(|id| self.manifests.get(id));
                        known.map_or(Holds::Unknown, Holds::Operations)
                    }
                };
                listener.launched(holds, record.end, &self.communicators);
            }
            // CUDA's codes are not NCCL's: none but success means that it was launched.
            Meaning::GraphLaunch => listener.failed(function, record.result),
            Meaning::Operation(operation) if went_through => {
                let call = self.operation(function, operation, record);
                match record.group {
                    0 => listener.operation(&call, &self.communicators),
                    group => self.grouped(ring, group, call, listener),
                }
            }
            Meaning::GroupEnd | Meaning::GroupSimulateEnd if closes(ring, record) => {
                if !went_through {
                    listener.failed(function, record.result);
                }
                match function.meaning() {
                    Meaning::GroupSimulateEnd => listener.simulated(ring.held.len() as u64),
                    _ if went_through => return self.tell_held(ring, listener),
                    _ => {
                        for call in &ring.held {
                            listener.failed(call.function, record.result);
                        }
                    }
                }
                ring.close_group();
            }
            _ if !went_through => listener.failed(function, record.result),
            _ => {}
        }
    }

    /// The launch of a kernel that moves data beside NCCL.
    fn kernel(&mut self, function: Function, record: &Record, listener: &mut impl Listener) {
        let Some(call) = kernels::call(function, record, &self.communicators) else {
            // One that a later release has on its list.
            self.unknown_functions += 1;
            return;
        };
        listener.call(function);
        let duration_ns = self.clock.duration_ns(record.start, record.end);
        let call = OperationCall { duration_ns, ..call };
        match record.result {
            SUCCESS if record.is_captured() => listener.captured(&call, &self.communicators),
            SUCCESS => listener.operation(&call, &self.communicators),
            result => listener.failed(function, result),
        }
    }

    /// A record that is of no function this collector knows.
    fn no_function(&mut self, record: &Record, listener: &mut impl Listener) {
        match Mark::of(record) {
            Some(mark) => {
                self.marks += 1;
                listener.mark(&mark);
            }
            None => self.unknown_functions += 1,
        }
    }

    #[inline]
    fn operation(
        &mut self,
        function: Function,
        operation: Operation,
        record: &Record,
    ) -> OperationCall {
        OperationCall {
            function,
            operation,
            communicator: self.communicators.find(record.communicator, record.start),
            elements: record.count,
            path: Path::Nccl,
            datatype: Datatype::from_code(record.datatype),
            peer: (record.peer != NO_PEER).then_some(record.peer),
            launch: Launch::Eager,
            end: record.end,
            duration_ns: self.clock.duration_ns(record.start, record.end),
        }
    }

    /// Takes an operation inside a group: held until the group ends, unless the group is too large.
    fn grouped(
        &mut self,
        ring: &mut Ring,
        group: u32,
        call: OperationCall,
        listener: &mut impl Listener,
    ) {
        if ring.group != group {
            self.close_unended(ring, listener);
            ring.group = group;
        }
        if ring.held.len() >= HELD_OPERATIONS {
            self.told_before_group_end += ring.held.len() as u64;
            self.tell_held(ring, listener);
            ring.group = group;
            ring.outgrown = true;
        }
        if ring.outgrown {
            self.told_before_group_end += 1;
            listener.operation(&call, &self.communicators);
        } else {
            ring.held.push(call);
        }
    }

    /// Tells what a group holds whose end was never seen.
    fn close_unended(&mut self, ring: &mut Ring, listener: &mut impl Listener) {
        if !ring.held.is_empty() {
            self.groups_without_end += 1;
        }
        self.tell_held(ring, listener);
    }

    fn tell_held(&self, ring: &mut Ring, listener: &mut impl Listener) {
        match ring.held.as_slice() {
            [] => {}
            [call] => listener.operation(call, &self.communicators),
            calls => listener.group(calls, &self.communicators),
        }
        ring.close_group();
    }
}

/// Whether `record` ends the outermost group of its thread. The end of an inner group has more than
/// one group around it and launches nothing.
fn closes(ring: &Ring, record: &Record) -> bool {
    record.groups() <= 1 && record.group == ring.group
}

#[cfg(test)]
mod tests;
