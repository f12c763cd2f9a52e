//! From a call to a record. This is the hot path: no lock, no allocation, no system call.
#![allow(unsafe_code)]

use crate::arch;
use crate::clock;
use crate::faults::{self, Fault};
use crate::ffi::{self, Call, CommunicatorHandle};
use crate::life;
use crate::shield::Unseen;
use crate::shield::shielded;
use crate::thread::State;
use nccltap_proto::record::{CAPTURED, UNWOUND};
use nccltap_proto::{Mark, Record};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Groups around a call that a record can say.
const MOST_GROUPS: u16 = CAPTURED as u16 - 1;

/// Writes what is known before the call, with `flags` in the record's `depth`. True when a record was
/// opened: then [`finish`] must follow.
#[inline(always)]
pub(crate) fn begin(function: u16, call: &Call, flags: u8) -> bool {
    begin_at(arch::stack_pointer(), function, call, flags)
}

/// The same for a wrapper whose stack stands at `frame`.
#[inline(always)]
pub(crate) fn begin_at(frame: usize, function: u16, call: &Call, flags: u8) -> bool {
    // SAFETY: the reference ends before NCCL is called.
    let state = unsafe { State::current() };
    if (!state.producer.is_some() || state.frame != 0)
        && !may_record(state, call.communicator, frame)
    {
        return false;
    }
    let record = Record {
        start: clock::now(state.monotonic),
        end: 0,
        communicator: call.communicator as u64,
        stream: call.stream as u64,
        count: call.count as u64,
        function,
        datatype: call.datatype,
        depth: state.depth.min(MOST_GROUPS) as u8 | flags,
        peer: call.peer,
        reduction: call.reduction,
        result: 0,
        group: state.group,
        sequence: state.producer.position() as u32,
    };
    let opened = state.producer.open(record.to_words());
    state.frame = if opened { frame } else { 0 };
    opened
}

/// Completes the record after the call, and sees to it that its communicator is described.
#[inline(always)]
pub(crate) fn finish(library: usize, communicator: CommunicatorHandle, result: i32) {
    // SAFETY: the reference ends before `meet`, which asks NCCL.
    let state = unsafe { State::current() };
    // In a child that was forked inside the call the ring is gone.
    if !state.producer.is_some() {
        return;
    }
    let end = clock::now(state.monotonic);
    if communicator as u64 != state.last_communicator
        && !communicator.is_null()
        && result == ffi::SUCCESS
    {
        // Before the record is published: no report may have it without its communicator.
        state.last_communicator = communicator as u64;
        meet(library, communicator);
    }
    // SAFETY: the reference ends at once.
    let state = unsafe { State::current() };
    state.producer.close(end, result);
    state.frame = 0;
}

/// Records what an engine says of its step: opened and closed at once.
pub(crate) fn mark(mark: &Mark) {
    let [communicator, stream, count] = mark.words();
    let call = Call {
        communicator: std::ptr::without_provenance_mut(communicator as usize),
        stream: std::ptr::without_provenance_mut(stream as usize),
        count: count as usize,
        ..Call::new()
    };
    if begin(mark.kind().id(), &call, 0) {
        finish(0, std::ptr::null_mut(), ffi::SUCCESS);
    }
}

/// The thread is in a call that will not return: an exception, a jump, or the end of the thread has left
/// it. Closes its record.
#[cold]
pub(crate) fn left_behind(state: &mut State) {
    if state.producer.is_some() && state.frame != 0 {
        state.producer.close(clock::now(state.monotonic), UNWOUND);
        state.frame = 0;
    }
}

/// Whether a call may be recorded on a thread that has no ring yet, or is inside another call.
#[cold]
#[inline(never)]
fn may_record(state: &mut State, communicator: CommunicatorHandle, frame: usize) -> bool {
    let Some(agent) = life::agent() else {
        // Nothing is missed while no communicator exists.
        if !communicator.is_null() && !life::is_off() {
            faults::count(Fault::BeforeStart);
        }
        return false;
    };
    if state.frame != 0 {
        if frame < state.frame {
            // Deeper in the stack than the open call: inside it. Or so it seems, after an exception; but
            // either way this call was made and is not recorded.
            faults::count(Fault::NestedCall);
            agent.count_unrecorded();
            return false;
        }
        left_behind(state);
        return true;
    }
    let _unseen = Unseen::new();
    state.acquire_ring(agent)
}

/// The communicator is another than that of the call before.
#[inline(never)]
fn meet(library: usize, communicator: CommunicatorHandle) {
    let Some(agent) = life::agent() else { return };
    if agent.communicators.knows(communicator as u64) {
        return;
    }
    let _unseen = Unseen::new();
    let _ = shielded(|| agent.communicators.found(agent, library, communicator));
}

/// Numbers the outermost groups of all threads, so that none is confused with one of another thread
/// that had the same ring.
static GROUPS: AtomicU32 = AtomicU32::new(1);

/// NCCL has opened a group.
#[inline(always)]
pub(crate) fn group_started() {
    // SAFETY: the reference ends at once.
    let state = unsafe { State::current() };
    if state.depth == 0 {
        state.group = GROUPS.fetch_add(1, Relaxed).max(1);
    }
    state.depth = state.depth.saturating_add(1);
}

/// NCCL has closed a group. True when it was the outermost one.
#[inline(always)]
pub(crate) fn group_ended() -> bool {
    // SAFETY: the reference ends at once.
    let state = unsafe { State::current() };
    let outermost = state.depth == 1;
    state.depth = state.depth.saturating_sub(1);
    if state.depth == 0 {
        state.group = 0;
    }
    outermost
}

/// Number of the outermost group that is open on this thread, 0 when none is.
pub(crate) fn group() -> u32 {
    // SAFETY: the reference ends at once.
    unsafe { State::current() }.group
}

/// Whether a group is open on this thread.
pub(crate) fn in_group() -> bool {
    // SAFETY: the reference ends at once.
    unsafe { State::current() }.depth > 0
}
