//! The wrappers: one per function of the table and copy of its library.
//!
//! A wrapper has the C prototype of the function it stands for. It notes what the arguments say,
//! calls the real function of its copy, and returns what that returned. `extern "C-unwind"`: what
//! is thrown through NCCL, such as the forced unwinding of a cancelled thread, passes through us.
//! Nothing with a destructor may live across the call: to run it, the host's unwinder would call into
//! ours, which is linked statically and knows nothing of the other, and the process would abort.
#![allow(unsafe_code)]

use crate::arch;
use crate::clock;
use crate::communicators::Creation;
use crate::ffi::*;
use crate::graphs::{self, Destination};
use crate::life::{self, Agent};
use crate::record;
use crate::resolve::driver;
use crate::resolve::libraries::{self, Address};
use crate::resolve::linkage::{Cache, resolve_for_thunk};
use crate::shield::{Unseen, shielded};
use crate::thread::State;
use nccltap_proto::functions::{Function, Library, Meaning};
use nccltap_proto::record::CAPTURED;
use nccltap_proto::ringfile::{COPIES, first_copy};
use std::ffi::{c_int, c_void};

/// How many functions the table has.
pub(crate) const FUNCTIONS: usize = Function::ALL.len();

/// Index of a function in tables of addresses: numbers begin at 1.
pub(crate) const fn index_of(function: Function) -> usize {
    function.id() as usize - 1
}

macro_rules! define_hooks {
    ($($id:literal $name:ident ( $($argument:ident : $type:ident),* ) = $meaning:ident $( ( $operation:ident ) )?, $since:literal;)*) => {
        /// The wrappers.
        #[allow(non_snake_case, clippy::too_many_arguments)]
        mod wrappers {
            use super::*;
            $(pub(super) unsafe extern "C-unwind" fn $name<const COPY: usize>($($argument: $type),*) -> c_int {
                const FUNCTION: Function = Function::$name;
                #[allow(unused_mut)]
                let mut call = Call::new();
                $($argument.note(&mut call);)*
                let library = match COPY {
                    ANY_COPY => libraries::of_call(index_of(FUNCTION), call.communicator),
                    copy => first_copy(FUNCTION.library()) + copy,
                };
                let address = libraries::real(library, index_of(FUNCTION));
                // SAFETY: a wrapper is handed out only after the address of its function was stored.
                let real = unsafe {
                    std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn($($type),*) -> c_int>(address)
                };
                around(library, FUNCTION, &call, #[inline(always)] move || {
                    // SAFETY: the caller's own arguments.
                    unsafe { real($($argument),*) }
                })
            })*
        }

        /// Where callers' linkage tables lead: each finds the wrapper for its caller.
        #[allow(non_snake_case)]
        mod thunks {
            use super::*;
            mod caches {
                use super::Cache;
                $(#[allow(non_upper_case_globals)] pub(super) static $name: Cache = Cache::new();)*
            }
            $(crate::arch::thunk!($name, $id - 1, caches::$name, resolve_for_thunk);)*
        }

        /// Addresses of the wrappers: `[function][copy]`, and one more for [`ANY_COPY`].
        static WRAPPERS: [[Address; COPIES + 1]; FUNCTIONS] = [$([
            Address(wrappers::$name::<0> as *const ()),
            Address(wrappers::$name::<1> as *const ()),
            Address(wrappers::$name::<2> as *const ()),
            Address(wrappers::$name::<3> as *const ()),
            Address(wrappers::$name::<ANY_COPY> as *const ()),
        ]),*];

        /// Names of the functions, as C strings.
        static NAMES: [&std::ffi::CStr; FUNCTIONS] = [$(
            match std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            }
        ),*];
    };
}
nccltap_proto::wrapped_functions!(define_hooks);

/// In place of a copy: the wrapper finds out at each call which one is meant.
const ANY_COPY: usize = COPIES;

const _: () = assert!(COPIES == 4, "WRAPPERS has one column per copy of a library");

/// The wrapper of a function for a copy of its library.
pub(crate) fn wrapper(function: usize, library: usize) -> Option<usize> {
    let first = first_copy(Function::ALL.get(function)?.library());
    let column = library.checked_sub(first).filter(|column| *column < COPIES)?;
    Some(WRAPPERS.get(function)?.get(column)?.0 as usize)
}

/// The wrapper of a function for callers that cannot be told apart.
pub(crate) fn wrapper_of_any(function: usize) -> Option<usize> {
    Some(WRAPPERS.get(function)?.get(ANY_COPY)?.0 as usize)
}

/// The name of a function, as a C string.
pub(crate) fn name(function: usize) -> &'static std::ffi::CStr {
    NAMES.get(function).copied().unwrap_or_default()
}

/// Which function of the table has this name.
pub(crate) fn by_name(name: &std::ffi::CStr) -> Option<usize> {
    NAMES.iter().position(|candidate| *candidate == name)
}

/// What happens around a call. `FUNCTION` is a constant where this is inlined, so each wrapper keeps
/// only its own arm.
///
/// A runtime that is linked statically calls wrappers of the driver's functions: what it does there on behalf of a
/// wrapped call of its own has been seen already.
#[inline(always)]
fn around(library: usize, function: Function, call: &Call, real: impl FnOnce() -> c_int) -> c_int {
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
                graphs::group_ended(group, launches && is_taken(result));
            }
            if life::agent().is_some_and(|agent| agent.communicators.any_unfinished()) {
                // SAFETY: the caller keeps its handles' places valid until the group has ended.
                with_agent(|agent| unsafe { agent.communicators.group_ended(agent, result) });
            }
            result
        }
        Meaning::Create => {
            life::wake();
            let started = clock::now_slow();
            let result = recorded(library, function, call, real);
            with_agent(|agent| {
                let (function, in_group) = (function.id(), record::in_group());
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

/// Whether NCCL has taken what it was asked.
const fn is_taken(result: c_int) -> bool {
    matches!(result, SUCCESS | IN_PROGRESS)
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
        if destination.is_capture() && is_taken(result) {
            graphs::captured(destination, library, function.id(), call, record::group());
        }
    }
}

fn flags(destination: Destination) -> u8 {
    if destination.is_capture() { CAPTURED } else { 0 }
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
