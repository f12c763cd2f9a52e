//! What one record says.

use super::events::{Holds, Launch, Listener, OperationCall};
use super::rings::{HELD_OPERATIONS, Ring};
use super::{Clock, Communicators, Manifests, kernels};
use nccltap_proto::record::{NO_MANIFEST, NO_PEER, Record};
use nccltap_proto::{Datatype, Function, Mark, Meaning, Operation};

/// `ncclSuccess`.
const SUCCESS: i32 = 0;

/// What it takes to read a record of any ring.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) clock: Clock,
    pub(super) communicators: Communicators,
    pub(super) manifests: Manifests,
    pub(super) repeated: u64,
    pub(super) marks: u64,
    pub(super) unknown_functions: u64,
    pub(super) told_before_group_end: u64,
    pub(super) groups_without_end: u64,
}

impl Reading {
    /// A process of which nothing is known but its clock.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            communicators: Communicators::default(),
            manifests: Manifests::default(),
            repeated: 0,
            marks: 0,
            unknown_functions: 0,
            told_before_group_end: 0,
            groups_without_end: 0,
        }
    }

    #[inline]
    pub(super) fn record(
        &mut self,
        ring: &mut Ring,
        record: &Record,
        listener: &mut impl Listener,
    ) {
        let Some(function) = Function::from_id(record.function) else {
            return self.no_function(record, listener);
        };
        if function.launches_kernel() {
            return self.kernel(function, record, listener);
        }
        listener.call(function);
        let went_through = function.is_taken(record.result);
        match function.meaning() {
            Meaning::Operation(operation) | Meaning::PeerCopy(operation)
                if went_through && record.is_captured() =>
            {
                let call = self.operation(function, operation, record);
                listener.captured(&call, &self.communicators);
            }
            Meaning::PeerCopy(operation) if went_through => {
                let call = self.operation(function, operation, record);
                listener.operation(&call, &self.communicators);
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
            path: function.path(),
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
    pub(super) fn close_unended(&mut self, ring: &mut Ring, listener: &mut impl Listener) {
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
