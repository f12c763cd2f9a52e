//! The wrappers: one per function of the table and copy of its library. What each of them does stands in `around.rs`.
//!
//! A wrapper has the C prototype of the function it stands for. It notes what the arguments say,
//! calls the real function of its copy, and returns what that returned. `extern "C-unwind"`: what
//! is thrown through NCCL, such as the forced unwinding of a cancelled thread, passes through us.
//! Nothing with a destructor may live across the call: to run it, the host's unwinder would call into
//! ours, which is linked statically and knows nothing of the other, and the process would abort.
#![allow(unsafe_code)]

mod around;
mod names;

pub(crate) use names::{by_name, name};

use crate::arch;
use crate::ffi::*;
use crate::kernels;
use crate::resolve::libraries::{self, Address};
use crate::resolve::linkage::{Cache, resolve_for_thunk};
use around::around;
use nccltap_proto::functions::{Function, Library};
use nccltap_proto::ringfile::{COPIES, first_copy};
use std::ffi::{c_int, c_void};
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
