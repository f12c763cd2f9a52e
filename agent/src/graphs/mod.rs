//! CUDA graphs: what is captured is carried out later, as often as the graph is launched.
//!
//! ```text
//! capture begins ──> NCCL is called on a capturing stream ──> capture ends
//!                       │ the operation goes to the graph           │ the graph has what was captured
//!                       v                                           v
//!                     book (captures, graphs, executables) ──> instantiate: a manifest
//!                                                                   │ in the ring file, once
//!                                                                   v
//!                     executables (handle -> manifest) <── launch: one record with its number
//! ```
//! - [`book`]: what each capture, graph and executable holds; pure;
//! - [`manifest`]: the operations in a graph, what is repeated stated once; pure;
//! - [`store`]: manifests in the ring file;
//! - [`executables`]: the one thing a launch looks at;
//! - [`cuda`]: what CUDA says of streams and nodes.
//!
//! While no capture is open, a call of NCCL pays one load for all this.
#![allow(unsafe_code)]

mod book;
mod cuda;
pub(crate) mod executables;
mod manifest;
mod store;

use crate::faults::{self, Fault};
use crate::ffi::{Call, SUCCESS};
use crate::life::{self, Agent};
use crate::shield::{Unseen, shielded};
use crate::sync::lock;
use book::{Book, Full, Origin, Set};
use cuda::{NodeOf, Status};
use executables::{Executable, Holds};
use manifest::Manifest;
use nccltap_proto::record::{NO_MANIFEST, UNKNOWN_MANIFEST};
use nccltap_proto::ringfile::{ManifestOperation, NO_COMMUNICATOR};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// Captures that have begun and not ended, in the whole process.
static OPEN: AtomicU32 = AtomicU32::new(0);

/// Graphs and manifests of a process in which the tap is alive.
#[derive(Default)]
pub(crate) struct Graphs {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    book: Book,
    store: store::Store,
    /// What the manifests with these numbers hold, for launches that are captured themselves.
    manifests: HashMap<u16, Manifest>,
    /// Executables that the GPU can launch by itself.
    launched_by_device: HashSet<u64>,
}

/// Whether a capture is open anywhere in the process.
#[inline(always)]
pub(crate) fn any_open() -> bool {
    OPEN.load(Relaxed) != 0
}

/// In a forked child: graphs and captures are the parent's.
pub(crate) fn forked() {
    OPEN.store(0, Relaxed);
    executables::forked();
}

/// The capture that a call goes to. A plain value: it lives across the call of NCCL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// It is carried out.
    Execution,
    /// It goes to the graph of this capture.
    Capture(u64),
    /// It goes to a capture that is void already.
    Nowhere,
}

impl Destination {
    /// Whether nothing is carried out.
    pub(crate) fn is_capture(self) -> bool {
        self != Self::Execution
    }
}

/// Where a call on this stream goes. Asked only while some capture is open.
#[cold]
#[inline(never)]
pub(crate) fn destination(stream: *mut std::ffi::c_void) -> Destination {
    let _unseen = Unseen::new();
    match shielded(|| cuda::status(stream)) {
        Some(Status::Executes) => Destination::Execution,
        Some(Status::Captures(capture)) => Destination::Capture(capture),
        Some(Status::Invalidated) => Destination::Nowhere,
        Some(Status::Unknown) | None => {
            faults::count(Fault::UnknownCapture);
            Destination::Execution
        }
    }
}

/// NCCL has taken a call that went to a capture.
#[cold]
#[inline(never)]
pub(crate) fn captured(
    destination: Destination,
    library: usize,
    function: u16,
    call: &Call,
    group: u32,
) {
    let Destination::Capture(capture) = destination else { return };
    with_state(|agent, state| {
        let operation = ManifestOperation {
            count: call.count as u64,
            communicator: match call.communicator.is_null() {
                // A kernel that goes past NCCL.
                true => None,
                false => agent.communicators.number_of(agent, library, call.communicator),
            }
            .unwrap_or(NO_COMMUNICATOR),
            times: 0,
            function,
            datatype: call.datatype,
            conditional: 0,
            peer: call.peer,
            reduction: call.reduction,
            group: 0,
        };
        lock(state).book.captured(capture, operation, group)
    });
}

/// The outermost group of this thread has ended.
#[cold]
#[inline(never)]
pub(crate) fn group_ended(group: u32, launched: bool) {
    with_state(|_, state| lock(state).book.group_ended(group, launched));
}

/// A capture has begun.
#[cold]
#[inline(never)]
pub(crate) fn began(library: usize, call: &Call, replaces: bool) {
    OPEN.fetch_add(1, Relaxed);
    let _unseen = Unseen::new();
    let _ = shielded(|| cuda::meet(library));
    with_state(|_, state| {
        let Status::Captures(capture) = cuda::status(call.stream) else { return Ok(()) };
        let replaces = (replaces && !call.graph.is_null()).then_some(call.graph as u64);
        let origin = Origin { capture, replaces };
        lock(state).book.begin(call.stream as u64, origin)
    });
}

/// A capture that is about to end. A plain value: it lives across the call of CUDA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    captures: bool,
    origin: Option<Origin>,
}

/// A capture is about to end. Says which.
#[cold]
#[inline(never)]
pub(crate) fn ending(call: &Call) -> Ending {
    let mut known = None;
    with_state(|_, state| {
        known = lock(state).book.take_origin(call.stream as u64);
        Ok(())
    });
    match known {
        Some(_) => Ending { captures: true, origin: known },
        None if any_open() => {
            let _unseen = Unseen::new();
            // It began before the tap came to life, or in a way that was not seen.
            let origin = match shielded(|| cuda::status(call.stream)) {
                Some(Status::Captures(capture)) => Some(Origin { capture, replaces: None }),
                _ => None,
            };
            Ending { captures: origin.is_some() || is_capturing(call), origin }
        }
        None => Ending { captures: false, origin: None },
    }
}

/// Whether the stream of a call captures, or has captured what is void.
fn is_capturing(call: &Call) -> bool {
    let status = shielded(|| cuda::status(call.stream));
    matches!(status, Some(Status::Captures(_) | Status::Invalidated))
}

/// A capture has ended, or CUDA has refused to end it.
#[cold]
#[inline(never)]
pub(crate) fn ended(ending: Ending, call: &Call, result: i32) {
    let Ending { captures, origin } = ending;
    let _unseen = Unseen::new();
    // A refusal ends the capture too, unless it came from a thread that may not end it.
    let goes_on = captures && result != SUCCESS && is_capturing(call);
    if captures && !goes_on {
        let _ = OPEN.fetch_update(Relaxed, Relaxed, |open| open.checked_sub(1));
    }
    let Some(origin) = origin else { return };
    // SAFETY: where the call succeeded, CUDA has put the graph where its caller said.
    let graph = (result == SUCCESS).then(|| unsafe { handle_at(call.new_graph) }).flatten();
    with_state(|_, state| match goes_on {
        true => lock(state).book.begin(call.stream as u64, origin),
        false => lock(state).book.end(origin, graph),
    });
}

/// A graph has been copied.
#[cold]
#[inline(never)]
pub(crate) fn cloned(call: &Call) {
    // SAFETY: the call succeeded, so CUDA has put the graph where its caller said.
    let Some(clone) = (unsafe { handle_at(call.new_graph) }) else { return };
    with_state(|_, state| lock(state).book.clone_graph(clone, call.graph as u64));
}

/// A graph has become a node of another.
#[cold]
#[inline(never)]
pub(crate) fn child_added(call: &Call) {
    // SAFETY: the call succeeded, so CUDA has put the node where its caller said.
    let node = unsafe { handle_at(call.new_node) }.unwrap_or_default();
    let (graph, child) = (call.graph as u64, call.child as u64);
    with_state(|_, state| lock(state).book.add_copy(graph, node, child));
}

/// A graph has a node more.
#[cold]
#[inline(never)]
pub(crate) fn node_added(library: usize, call: &Call) {
    with_state(|_, state| {
        // SAFETY: the call succeeded, so its parameters are valid, and CUDA has put the node where its
        // caller said.
        let (node, made_of) = unsafe { (handle_at(call.new_node), cuda::node_of(library, call)) };
        let (graph, node) = (call.graph as u64, node.unwrap_or_default());
        let book = &mut lock(state).book;
        match made_of {
            NodeOf::Other => Ok(()),
            NodeOf::Copy(child) => book.add_copy(graph, node, child),
            NodeOf::Owned(child) => book.add_owned(graph, node, child),
            NodeOf::Condition(bodies) => book.add_condition(graph, node, bodies),
        }
    });
}

/// A node of a graph has been given new parameters.
#[cold]
#[inline(never)]
pub(crate) fn node_of_graph_set(library: usize, call: &Call) {
    with_state(|_, state| {
        // SAFETY: the call succeeded, so its parameters are valid.
        let made_of = unsafe { cuda::node_of(library, call) };
        let (node, book) = (call.node as u64, &mut lock(state).book);
        let known = match made_of {
            NodeOf::Copy(child) => book.set_copy(node, child),
            NodeOf::Owned(child) => book.set_owned(node, child),
            NodeOf::Condition(_) | NodeOf::Other => true,
        };
        if !known {
            faults::count(Fault::UnknownNode);
        }
        Ok(())
    });
}

/// Somebody was told the graph inside a node, and may change it from now on.
#[cold]
#[inline(never)]
pub(crate) fn opened(library: usize, call: &Call) {
    with_state(|_, state| {
        // SAFETY: the call succeeded, so CUDA has put the graph where its caller said, there or in the parameters.
        let graph = match unsafe { (handle_at(call.new_graph), cuda::node_of(library, call)) } {
            (Some(graph), _) | (None, NodeOf::Copy(graph) | NodeOf::Owned(graph)) => graph,
            (None, NodeOf::Condition(_) | NodeOf::Other) => return Ok(()),
        };
        lock(state).book.open(call.node as u64, graph)
    });
}

/// Somebody was told which node of a clone stands for a node of the graph that was cloned.
#[cold]
#[inline(never)]
pub(crate) fn found_in_clone(call: &Call) {
    with_state(|_, state| {
        // SAFETY: the call succeeded, so CUDA has put the node where its caller said.
        let Some(found) = (unsafe { handle_at(call.new_node) }) else { return Ok(()) };
        lock(state).book.found_in_clone(call.graph as u64, found, call.node as u64)
    });
}

/// A node is about to be taken out of its graph.
#[cold]
#[inline(never)]
pub(crate) fn node_destroyed(call: &Call) {
    with_state(|_, state| {
        lock(state).book.destroy_node(call.node as u64);
        Ok(())
    });
}

/// A graph is about to be destroyed.
#[cold]
#[inline(never)]
pub(crate) fn destroyed(call: &Call) {
    with_state(|_, state| {
        lock(state).book.destroy(call.graph as u64);
        Ok(())
    });
}

/// An executable has been made.
#[cold]
#[inline(never)]
pub(crate) fn instantiated(call: &Call) {
    // SAFETY: the call succeeded, so CUDA has put the executable where its caller said, and the
    // parameters are valid.
    let (executable, device) =
        unsafe { (handle_at(call.new_executable), cuda::launches_by_device(call)) };
    let Some(executable) = executable else { return };
    with_state(|_, state| {
        let devices = &mut lock(state).launched_by_device;
        let _ = if device { devices.insert(executable) } else { devices.remove(&executable) };
        Ok(())
    });
    take_over(executable, call.graph as u64);
}

/// An executable has been given what another graph holds.
#[cold]
#[inline(never)]
pub(crate) fn updated(call: &Call) {
    take_over(call.executable as u64, call.graph as u64);
}

/// What a launch of `executable` carries out is what `graph` holds now.
fn take_over(executable: u64, graph: u64) {
    // Before the tap came to life there was no communicator, and so no operation to capture.
    let mut holds = Holds::Nothing;
    with_state(|agent, state| {
        let state = &mut *lock(state);
        let manifest = state.book.instantiate(executable, graph);
        holds = state.enter(agent, executable, &manifest);
        Ok(())
    });
    enter(executable, holds);
}

/// A node of an executable has been given what another graph holds.
#[cold]
#[inline(never)]
pub(crate) fn child_set(call: &Call) {
    set_child(call, call.child as u64);
}

/// A node of an executable has been given new parameters.
#[cold]
#[inline(never)]
pub(crate) fn node_set(library: usize, call: &Call) {
    // SAFETY: the call succeeded, so its parameters are valid.
    if let NodeOf::Copy(child) = unsafe { cuda::node_of(library, call) } {
        set_child(call, child);
    }
}

fn set_child(call: &Call, child: u64) {
    let executable = call.executable as u64;
    let mut holds = None;
    with_state(|agent, state| {
        let state = &mut *lock(state);
        holds = match state.book.set_child(executable, call.node as u64, child) {
            Set::Holds(manifest) => Some(state.enter(agent, executable, &manifest)),
            // Neither before nor now did it hold anything of NCCL's, as far as this node goes.
            Set::Unknown { child_is_empty: true } if holds_nothing(executable) => None,
            Set::Unknown { .. } => {
                faults::count(Fault::UnknownNode);
                Some(Holds::Unknown)
            }
        };
        Ok(())
    });
    if let Some(holds) = holds {
        enter(executable, holds);
    }
}

fn holds_nothing(executable: u64) -> bool {
    executables::find(executable).is_none_or(|known| known.holds == Holds::Nothing)
}

/// An executable is about to be destroyed.
#[cold]
#[inline(never)]
pub(crate) fn executable_destroyed(call: &Call) {
    let executable = call.executable as u64;
    executables::remove(executable);
    with_state(|_, state| {
        let state = &mut *lock(state);
        state.book.destroy_executable(executable);
        state.launched_by_device.remove(&executable);
        Ok(())
    });
}

/// What the record of a launch says: number of the executable, and of its manifest.
#[inline(always)]
pub(crate) fn launch_of(executable: u64) -> (u64, u64) {
    match executables::find(executable) {
        Some(Executable { number, holds: Holds::Manifest(manifest), inherited: false }) => {
            (number.into(), manifest.into())
        }
        Some(Executable { number, holds: Holds::Nothing, .. }) => (number.into(), NO_MANIFEST),
        // Why it is not known was counted when the executable was made.
        Some(Executable { number, inherited: false, .. }) => (number.into(), UNKNOWN_MANIFEST),
        _ => unknown_executable(),
    }
}

#[cold]
#[inline(never)]
fn unknown_executable() -> (u64, u64) {
    faults::count(Fault::UnknownExecutable);
    (0, UNKNOWN_MANIFEST)
}

/// Whether the tap, which sleeps, must come to life for this launch: the process was forked from one that
/// made the executable, and what that holds is not known here.
pub(crate) fn wakes(executable: u64) -> bool {
    executables::find(executable)
        .is_some_and(|known| known.inherited && known.holds != Holds::Nothing)
}

/// A graph was launched on a capturing stream, and is now part of what is captured.
#[cold]
#[inline(never)]
pub(crate) fn launch_captured(destination: Destination, executable: u64) {
    let Destination::Capture(capture) = destination else { return };
    with_state(|_, state| {
        let state = &mut *lock(state);
        let known = executables::find(executable).filter(|known| !known.inherited);
        match known.map(|known| known.holds) {
            Some(Holds::Nothing) => Ok(()),
            Some(Holds::Manifest(number)) => {
                state.book.launched_into(capture, state.manifests.get(&number))
            }
            _ => state.book.launched_into(capture, None),
        }
    });
}

impl State {
    /// What a launch of `executable` carries out, as the record of one says it.
    fn enter(&mut self, agent: &Agent, executable: u64, manifest: &Manifest) -> Holds {
        let device_launch = self.launched_by_device.contains(&executable);
        let holds = self.store.enter(&agent.file, manifest, device_launch);
        if let Holds::Manifest(number) = holds {
            self.manifests.entry(number).or_insert_with(|| manifest.clone());
        }
        holds
    }
}

fn enter(executable: u64, holds: Holds) {
    if !executables::put(executable, holds) {
        faults::count(Fault::TooManyGraphs);
    }
}

/// Does something with the book, if the tap is alive. What had no room is counted.
fn with_state(work: impl FnOnce(&'static Agent, &Mutex<State>) -> Result<(), Full>) {
    let Some(agent) = life::agent() else { return };
    let _unseen = Unseen::new();
    if shielded(|| work(agent, &agent.graphs.state)) == Some(Err(Full)) {
        faults::count(Fault::TooManyGraphs);
    }
}

/// The handle at `place`, if there is one.
///
/// # Safety
/// `place` is null, or what a caller passed to CUDA, which has written there.
unsafe fn handle_at(place: *const *mut std::ffi::c_void) -> Option<u64> {
    if place.is_null() {
        return None;
    }
    // SAFETY: by the contract of this function.
    let handle = unsafe { place.read_volatile() };
    (!handle.is_null()).then_some(handle as u64)
}
