//! What happens around the call of a wrapped function, by what the function means.
#![allow(unsafe_code)]

use crate::arch;
use crate::clock;
use crate::communicators::Creation;
use crate::ffi::{Call, SUCCESS};
use crate::graphs::{self, Destination};
use crate::kernels;
use crate::life::{self, Agent};
use crate::record;
use crate::resolve::driver;
use crate::shield::{Unseen, shielded};
use crate::thread::State;
use nccltap_proto::functions::{Function, Library, Meaning};
use nccltap_proto::record::CAPTURED;
use std::ffi::c_int;

/// What happens around a call. `FUNCTION` is a constant where this is inlined, so each wrapper keeps
/// only its own arm.
///
/// A runtime that is linked statically calls wrappers of the driver's functions: what it does there on behalf of a
/// wrapped call of its own has been seen already.
#[inline(always)]
pub(super) fn around(
    library: usize,
    function: Function,
    call: &Call,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let of_driver = matches!(function.library(), Library::CudaDriver)
        && !matches!(function.meaning(), Meaning::DriverLookUp);
    if of_driver && State::is_inside_runtime(arch::stack_pointer()) {
        return real();
    }
    let of_runtime = matches!(function.library(), Library::CudaRuntime);
    seen(
        library,
        function,
        call,
        #[inline(always)]
        || {
            let outer = if of_runtime { State::enter_runtime(arch::stack_pointer()) } else { 0 };
            let result = real();
            if of_runtime {
                State::leave_runtime(outer);
            }
            result
        },
    )
}

/// What happens around a call that is the application's own.
#[inline(always)]
fn seen(library: usize, function: Function, call: &Call, real: impl FnOnce() -> c_int) -> c_int {
    match function.meaning() {
        Meaning::Operation(_) => match graphs::any_open() {
            false => recorded(library, function, call, real),
            true => recorded_while_capturing(library, function, call, real),
        },
        Meaning::PeerCopy(_) => copied(library, function, call, real),
        Meaning::Manage => recorded(library, function, call, real),
        Meaning::GroupStart => {
            let result = real();
            if result == SUCCESS {
                record::group_started();
            }
            result
        }
        Meaning::GroupEnd | Meaning::GroupSimulateEnd => {
            let group = record::group();
            let result = recorded(library, function, call, real);
            if !record::group_ended() {
                return result;
            }
            if graphs::any_open() {
                let launches = function.meaning() == Meaning::GroupEnd;
                graphs::group_ended(group, launches && function.is_taken(result));
            }
            if life::agent().is_some_and(|agent| agent.communicators.any_unfinished()) {
                // SAFETY: the caller keeps its handles' places valid until the group has ended.
                with_agent(|agent| unsafe {
                    agent.communicators.group_ended(agent, function, result)
                });
            }
            result
        }
        Meaning::Create => {
            life::wake();
            let started = clock::now_slow();
            let result = recorded(library, function, call, real);
            with_agent(|agent| {
                let in_group = record::in_group();
                let creation = Creation { library, function, call, result, in_group, started };
                // SAFETY: the caller's own pointers, which are valid until this call returns.
                unsafe { agent.communicators.created(agent, &creation) };
            });
            result
        }
        Meaning::Destroy => {
            let now = clock::now_slow();
            with_agent(|agent| agent.communicators.ends(agent, call.communicator, now));
            let opened = record::begin(function.id(), call, 0);
            let result = real();
            if opened {
                // The handle is nobody's after the call: do not ask what it is.
                record::finish(library, std::ptr::null_mut(), result);
            }
            result
        }
        Meaning::Query => {
            life::wake_if_asked();
            recorded(library, function, call, real)
        }
        Meaning::GraphLaunch => launched(library, function, call, real),
        Meaning::BeginCapture => {
            let result = real();
            if result == SUCCESS {
                graphs::began(library, call, true);
            }
            result
        }
        Meaning::BeginCaptureToGraph => {
            let result = real();
            if result == SUCCESS {
                graphs::began(library, call, false);
            }
            result
        }
        Meaning::EndCapture => {
            let ending = graphs::ending(call);
            let result = real();
            graphs::ended(ending, call, result);
            result
        }
        // What ends is forgotten before the call: after it, the handle may be another's.
        Meaning::GraphDestroy => {
            graphs::destroyed(call);
            real()
        }
        Meaning::GraphDestroyNode => {
            graphs::node_destroyed(call);
            real()
        }
        Meaning::ExecutableDestroy => {
            graphs::executable_destroyed(call);
            real()
        }
        Meaning::GraphClone => after(real, || graphs::cloned(call)),
        Meaning::GraphAddChild => after(real, || graphs::child_added(call)),
        Meaning::GraphAddNode => after(real, || graphs::node_added(library, call)),
        Meaning::GraphSetNode => after(real, || graphs::node_of_graph_set(library, call)),
        Meaning::GraphOfNode => after(real, || graphs::opened(library, call)),
        Meaning::GraphFindNode => after(real, || graphs::found_in_clone(call)),
        Meaning::Instantiate => after(real, || graphs::instantiated(call)),
        Meaning::ExecutableUpdate => after(real, || graphs::updated(call)),
        Meaning::ExecutableSetChild => after(real, || graphs::child_set(call)),
        Meaning::ExecutableSetNode => after(real, || graphs::node_set(library, call)),
        Meaning::KernelLaunch | Meaning::KernelLaunchEx => {
            kernel_launched(library, function, call, real)
        }
        // It gives no result.
        Meaning::KernelRegistered => {
            let result = real();
            kernels::registered(call);
            result
        }
        Meaning::KernelFound => after(real, || kernels::found(call)),
        Meaning::KernelOfFunction => after(real, || kernels::other_handle(call)),
        // SAFETY: the call succeeded, so what the caller passed is valid.
        Meaning::DriverLookUp => after(real, || unsafe { driver::found(library, call) }),
    }
}

/// The call, and then `work`, if the call succeeded.
#[inline(always)]
fn after(real: impl FnOnce() -> c_int, work: impl FnOnce()) -> c_int {
    let result = real();
    if result == SUCCESS {
        work();
    }
    result
}

/// The call, with a record around it.
#[inline(always)]
fn recorded(
    library: usize,
    function: Function,
    call: &Call,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let opened = record::begin(function.id(), call, 0);
    let result = real();
    if opened {
        record::finish(library, call.communicator, result);
    }
    result
}

/// The same while a capture is open somewhere: the call may go to a graph.
///
/// Inlined for the sake of the other path: what a function that is not inlined is given by reference,
/// every call would write to the stack.
#[inline(always)]
fn recorded_while_capturing(
    library: usize,
    function: Function,
    call: &Call,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let Call { count, datatype, reduction, peer, communicator, stream, .. } = *call;
    let call = Call { count, datatype, reduction, peer, communicator, stream, ..Call::new() };
    let capturing = Capturing::begin(arch::stack_pointer(), library, function, &call);
    let result = real();
    capturing.finish(&call, result);
    result
}

/// A call under way while a capture is open. A plain value: it lives across the call of NCCL.
#[derive(Clone, Copy)]
struct Capturing {
    library: usize,
    function: Function,
    destination: Destination,
    opened: bool,
}

impl Capturing {
    #[cold]
    #[inline(never)]
    fn begin(frame: usize, library: usize, function: Function, call: &Call) -> Self {
        let destination = graphs::destination(call.stream);
        let opened = record::begin_at(frame, function.id(), call, flags(destination));
        Self { library, function, destination, opened }
    }

    #[cold]
    #[inline(never)]
    fn finish(self, call: &Call, result: c_int) {
        let Self { library, function, destination, opened } = self;
        if opened {
            record::finish(library, call.communicator, result);
        }
        if destination.is_capture() && function.is_taken(result) {
            // A group is of one library's operations: what goes past it is issued at once.
            let group = if function.is_grouped() { record::group() } else { 0 };
            graphs::captured(destination, library, function.id(), call, group);
        }
    }
}

fn flags(destination: Destination) -> u8 {
    if destination.is_capture() { CAPTURED } else { 0 }
}

/// A kernel is launched that may be on the list.
#[inline(always)]
fn kernel_launched(
    library: usize,
    function: Function,
    call: &Call,
    real: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller's own arguments, which CUDA reads next.
    let Some(said) = (unsafe { kernels::launched(call) }) else { return real() };
    life::wake();
    match graphs::any_open() {
        false => recorded(library, function, &said, real),
        true => recorded_while_capturing(library, function, &said, real),
    }
}

/// Memory is copied from one GPU to another; or within one, and then nothing is between GPUs.
#[inline(always)]
fn copied(library: usize, function: Function, call: &Call, real: impl FnOnce() -> c_int) -> c_int {
    if call.copied_from == call.copied_to {
        return real();
    }
    life::wake();
    match graphs::any_open() {
        false => recorded(library, function, call, real),
        true => recorded_while_capturing(library, function, call, real),
    }
}

/// A graph is launched: one record, whatever is in it.
#[inline(always)]
fn launched(
    library: usize,
    function: Function,
    call: &Call,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let executable = call.executable as u64;
    if life::agent().is_none() && !wakes_for(executable) {
        return real();
    }
    let (number, manifest) = graphs::launch_of(executable);
    let communicator = std::ptr::without_provenance_mut(number as usize);
    let call = Call { communicator, count: manifest as usize, ..*call };
    let mut destination = Destination::Execution;
    if graphs::any_open() {
        destination = graphs::destination(call.stream);
    }
    let opened = record::begin(function.id(), &call, flags(destination));
    let result = real();
    if opened {
        record::finish(library, std::ptr::null_mut(), result);
    }
    if destination.is_capture() && result == SUCCESS {
        graphs::launch_captured(destination, executable);
    }
    result
}

/// Whether the tap comes to life for a launch, and has.
#[cold]
#[inline(never)]
fn wakes_for(executable: u64) -> bool {
    if graphs::wakes(executable) {
        life::wake();
    }
    life::agent().is_some()
}

/// Does something that is not on the hot path with the tap, if it is alive.
#[inline(never)]
fn with_agent(work: impl FnOnce(&'static Agent)) {
    if let Some(agent) = life::agent() {
        let _unseen = Unseen::new();
        let _ = shielded(|| work(agent));
    }
}
