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
//! - a kernel that moves data beside NCCL is an operation like any other, on its own path (`kernels`), and so is a
//!   copy between GPUs; neither is part of a group.

mod clock;
mod communicators;
mod events;
mod kernels;
mod manifests;
mod order;
mod reading;
mod rings;

pub use clock::Clock;
pub use communicators::{CommunicatorId, Communicators};
pub(crate) use events::known_elements;
pub use events::{Holds, Launch, Listener, OperationCall};
pub use manifests::{Block, Manifest, ManifestId, Manifests};
pub use order::WAITING_OPERATIONS;
pub use rings::HELD_OPERATIONS;

use nccltap_proto::record::records;
use nccltap_proto::v1;
use order::{InOrder, Order};
use reading::Reading;
use rings::Ring;
use std::collections::BTreeMap;

/// The calls of one process, in the order of each of its threads.
#[derive(Debug)]
pub struct Timeline {
    rings: BTreeMap<u32, Ring>,
    reading: Reading,
    order: Order,
    unrecorded: u64,
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
        let reading = Reading::new(clock);
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

#[cfg(test)]
mod tests;
