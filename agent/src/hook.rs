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
use crate::kernels;
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
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};

/// How many functions the table has.
pub(crate) const FUNCTIONS: usize = Function::ALL.len();

/// Index of a function in tables of addresses: numbers begin at 1.
pub(crate) const fn index_of(function: Function) -> usize {
    function.id() as usize - 1
}

/// The exported function of a row. A launch is told by its kernel, which is the first argument or the second.
macro_rules! exported {
    (KernelLaunch, $name:ident, $index:expr, $cache:path) => {
        exported!(@launch "edi", $name, $index);
    };
    (KernelLaunchEx, $name:ident, $index:expr, $cache:path) => {
        exported!(@launch "esi", $name, $index);
    };
    (@launch $handle:literal, $name:ident, $index:expr) => {
        arch::launch_thunk!(
            #[cfg_attr(not(test), unsafe(no_mangle))]
            $name, $handle, kernels::FILTER, kernels::FILTER_BYTES, PASSES,
            ($index) * size_of::<usize>(), behind::$name
        );
    };
    ($meaning:ident, $name:ident, $index:expr, $cache:path) => {
        arch::thunk!(
            #[cfg_attr(not(test), unsafe(no_mangle))]
            $name, $index, $cache, resolve_for_thunk
        );
    };
}

macro_rules! behind {
    (KernelLaunch, $name:ident, $index:expr, $cache:path) => {
        arch::thunk!($name, $index, $cache, resolve_for_thunk);
    };
    (KernelLaunchEx, $name:ident, $index:expr, $cache:path) => {
        behind!(KernelLaunch, $name, $index, $cache);
    };
    ($meaning:ident, $name:ident, $index:expr, $cache:path) => {};
}

macro_rules! in_front {
    (KernelLaunch, $name:ident, $index:expr) => { in_front!(@launch "edi", $name, $index); };
    (KernelLaunchEx, $name:ident, $index:expr) => { in_front!(@launch "esi", $name, $index); };
    (@launch $handle:literal, $name:ident, $index:expr) => {
        arch::launch_thunk!(
            $name<const COPY: usize>, $handle, kernels::FILTER, kernels::FILTER_BYTES,
            libraries::COPIES,
            libraries::offset_of_real(first_copy(Function::$name.library()) + COPY, $index),
            wrappers::$name::<COPY>
        );
    };
    ($meaning:ident, $name:ident, $index:expr) => {};
}

macro_rules! behind_of {
    (KernelLaunch, $name:ident) => {
        behind::$name as *const ()
    };
    (KernelLaunchEx, $name:ident) => {
        behind::$name as *const ()
    };
    ($meaning:ident, $name:ident) => {
        std::ptr::null::<()>()
    };
}

macro_rules! pass {
    ($meaning:ident, $name:ident) => {
        AtomicPtr::new(behind_of!($meaning, $name) as *mut ())
    };
}

macro_rules! wrapper {
    (KernelLaunch, $name:ident, $copy:literal) => {
        arch::address_of!(in_front::$name::<$copy>)
    };
    (KernelLaunchEx, $name:ident, $copy:literal) => {
        arch::address_of!(in_front::$name::<$copy>)
    };
    ($meaning:ident, $name:ident, $copy:literal) => {
        arch::address_of!(wrappers::$name::<$copy>)
    };
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

        /// The callers of each function, and where their calls go.
        mod caches {
            use super::Cache;
            $(#[allow(non_upper_case_globals)] pub(super) static $name: Cache = Cache::new();)*
        }

        /// Where callers' linkage tables lead: each finds the wrapper for its caller.
        #[allow(non_snake_case)]
        mod thunks {
            use super::*;
            $(exported!($meaning, $name, $id - 1, caches::$name);)*
        }

        /// The same behind the exported functions that launch kernels.
        #[allow(non_snake_case)]
        mod behind {
            use super::*;
            $(behind!($meaning, $name, $id - 1, caches::$name);)*
        }

        /// In front of the wrappers of launches: what is not on the list of kernels goes to the copy at once.
        #[allow(non_snake_case)]
        mod in_front {
            use super::*;
            $(in_front!($meaning, $name, $id - 1);)*
        }

        /// Where launches go whose kernel is not on the list: to CUDA, as long as there is one copy of it, else
        /// through the cache of callers. Null for functions that launch no kernel.
        static PASSES: [AtomicPtr<()>; FUNCTIONS] = [$(pass!($meaning, $name)),*];

        /// The thunks with a cache that stand behind [`PASSES`] until it is known where they lead.
        static BEHIND: [Address; FUNCTIONS] = [$(Address(behind_of!($meaning, $name))),*];

        /// Address of a wrapper, by function and copy, or [`ANY_COPY`]. Code and no table: the loader would have to
        /// write a table of a thousand addresses into each process, also those that have no use for it.
        fn address(function: usize, copy: usize) -> Option<usize> {
            Some(match function + 1 {
                $($id => match copy {
                    0 => wrapper!($meaning, $name, 0),
                    1 => wrapper!($meaning, $name, 1),
                    2 => wrapper!($meaning, $name, 2),
                    3 => wrapper!($meaning, $name, 3),
                    ANY_COPY => arch::address_of!(wrappers::$name::<ANY_COPY>),
                    _ => return None,
                },)*
                _ => return None,
            })
        }

        /// Names of the functions, as C strings, one behind the other.
        const NAMES: &str = concat!($(stringify!($name), "\0"),*);
    };
}
nccltap_proto::wrapped_functions!(define_hooks);

/// In place of a copy: the wrapper finds out at each call which one is meant.
const ANY_COPY: usize = COPIES;

const _: () = assert!(COPIES == 4, "`address` has an arm for each copy of a library");

/// The wrapper of a function for a copy of its library.
pub(crate) fn wrapper(function: usize, library: usize) -> Option<usize> {
    let first = first_copy(Function::ALL.get(function)?.library());
    let copy = library.checked_sub(first).filter(|copy| *copy < COPIES)?;
    address(function, copy)
}

/// The wrapper of a function for callers that cannot be told apart.
pub(crate) fn wrapper_of_any(function: usize) -> Option<usize> {
    address(function, ANY_COPY)
}

/// Launches of kernels that are not on the list go to `real` from now on: the one copy there is has it there.
pub(crate) fn pass_directly(function: usize, real: usize) {
    let launches = Function::ALL.get(function).is_some_and(|function| function.launches_kernel());
    if let Some(pass) = PASSES.get(function).filter(|_| launches) {
        pass.store(real as *mut (), SeqCst);
    }
}

/// A library has several copies: which one a launch goes to, its caller tells.
pub(crate) fn pass_by_caller(library: Library) {
    for (function, (pass, behind)) in Function::ALL.iter().zip(PASSES.iter().zip(&BEHIND)) {
        if function.library() == library && function.launches_kernel() {
            pass.store(behind.0.cast_mut(), SeqCst);
        }
    }
}

/// Where each name begins in [`NAMES`], and where the last one ends: numbers, which the loader need not write.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler evaluates it, and refuses what is out of range"
)]
static BEGINS: [u16; FUNCTIONS + 1] = {
    let (names, mut begins) = (NAMES.as_bytes(), [0; FUNCTIONS + 1]);
    assert!(names.len() <= u16::MAX as usize, "a place in NAMES has 16 bits");
    let (mut at, mut function) = (0, 0);
    while at < names.len() {
        at += 1;
        if names[at - 1] == 0 {
            function += 1;
            begins[function] = at as u16;
        }
    }
    begins
};

/// The name of a function, as a C string.
pub(crate) fn name(function: usize) -> &'static CStr {
    let name = BEGINS.get(function..).and_then(|begins| match begins {
        [begin, end, ..] => NAMES.as_bytes().get(usize::from(*begin)..usize::from(*end)),
        _ => None,
    });
    name.and_then(|name| CStr::from_bytes_with_nul(name).ok()).unwrap_or_default()
}

/// Which function of the table has this name. Names of other lengths are told apart by their lengths: it is asked
/// for each name that begins like one of ours.
pub(crate) fn by_name(name: &CStr) -> Option<usize> {
    let name = name.to_bytes_with_nul();
    BEGINS.windows(2).position(|place| match place {
        [begin, end] if usize::from(end - begin) == name.len() => {
            NAMES.as_bytes().get(usize::from(*begin)..usize::from(*end)) == Some(name)
        }
        _ => false,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name_and_no_other_name_is() {
        for (index, function) in Function::ALL.iter().enumerate() {
            assert_eq!(name(index).to_str(), Ok(function.name()));
            assert_eq!(by_name(name(index)), Some(index));
        }
        assert_eq!(name(FUNCTIONS), c"");
        for other in [c"", c"ncclAllReduc", c"ncclAllReducf", c"cublasCreate_v2"] {
            assert_eq!(by_name(other), None, "{other:?}");
        }
    }
}
