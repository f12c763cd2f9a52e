//! The first door: a caller's procedure linkage table leads to our exported function.
//!
//! Which copy of NCCL is meant depends on who calls, so the thunk looks the return address up in a
//! small cache; what is not there is resolved here, once per place of call.
#![allow(unsafe_code)]

use crate::faults::{self, Fault};
use crate::ffi::{CUDA_INITIALIZATION_ERROR, SYSTEM_ERROR};
use crate::hook;
use crate::resolve::{elf, libraries, lookup};
use crate::shield::Unseen;
use crate::shield::shielded;
use nccltap_proto::functions::{Function, Library};
use nccltap_proto::ringfile::{COPIES, DOOR_PLT};
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// Ways of a thunk's cache. The thunk's machine code knows this number.
const WAYS: usize = 16;

/// Return addresses and where their calls go. Entries are written once.
#[repr(C, align(64))]
pub(crate) struct Cache([Way; WAYS]);

/// One entry.
#[repr(C)]
struct Way {
    caller: AtomicUsize,
    target: AtomicUsize,
}

/// In `caller`: some thread is writing the entry. No return address is so small.
const CLAIMED: usize = 1;

impl Way {
    const fn new() -> Self {
        Self { caller: AtomicUsize::new(0), target: AtomicUsize::new(0) }
    }

    /// Writes the entry if it is free.
    fn fill(&self, caller: usize, target: usize) -> bool {
        let free = self.caller.compare_exchange(0, CLAIMED, AcqRel, Relaxed).is_ok();
        if free {
            self.target.store(target, Relaxed);
            // The thunk reads `caller` first; on x86-64 both reads and both writes keep their order.
            self.caller.store(caller, Release);
        }
        free
    }
}

impl Cache {
    pub(crate) const fn new() -> Self {
        Self([const { Way::new() }; WAYS])
    }

    /// The way of a return address: the thunk takes the same bits.
    fn way(&self, caller: usize) -> Option<&Way> {
        self.0.get((caller >> 2) & (WAYS - 1))
    }
}

/// Where calls go whose way in the small cache belongs to another place of call.
struct Overflow([Way; OVERFLOW]);
const OVERFLOW: usize = 1024;
static OVERFLOWED: Overflow = Overflow([const { Way::new() }; OVERFLOW]);

impl Overflow {
    /// Entries are found by caller and function together.
    fn key(function: usize, caller: usize) -> usize {
        // Functions lie at least two bytes apart from each other's return addresses only by chance;
        // the high bits of an address are free to keep the function.
        caller ^ (function + 1) << 48
    }

    fn ways(&self, key: usize) -> impl Iterator<Item = &Way> {
        let start = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        (0..8).filter_map(move |step| self.0.get((start + step) % OVERFLOW))
    }

    fn find(&self, function: usize, caller: usize) -> Option<usize> {
        let key = Self::key(function, caller);
        self.ways(key)
            .find(|way| way.caller.load(Acquire) == key)
            .map(|way| way.target.load(Relaxed))
    }

    fn keep(&self, function: usize, caller: usize, target: usize) {
        let key = Self::key(function, caller);
        let _ = self.ways(key).any(|way| way.fill(key, target));
    }
}

/// Called by a thunk: where does this call go?
///
/// # Safety
/// `cache` is the thunk's own.
pub(crate) unsafe extern "C" fn resolve_for_thunk(
    function: usize,
    caller: usize,
    cache: *const Cache,
) -> usize {
    let function = function & 0xffff_ffff;
    if let Some(target) = OVERFLOWED.find(function, caller) {
        return target;
    }
    let _unseen = Unseen::new();
    let target = shielded(|| resolve(function, caller)).flatten();
    let Some(target) = target else {
        faults::count(Fault::NoLibrary);
        return match Function::ALL.get(function).map(|function| function.library()) {
            Some(Library::CudaRuntime | Library::CudaDriver | Library::Hip) => {
                no_cuda as *const () as usize
            }
            Some(Library::Nccl | Library::OneCcl) | None => no_nccl as *const () as usize,
        };
    };
    // SAFETY: by the contract of this function.
    let kept = unsafe { &*cache }.way(caller).is_some_and(|way| way.fill(caller, target));
    if !kept {
        OVERFLOWED.keep(function, caller, target);
    }
    target
}

fn resolve(function: usize, caller: usize) -> Option<usize> {
    let Some(real) = real_function(function, caller) else { return any_copy(function) };
    if libraries::is_own_call(function, caller, real) {
        return Some(real);
    }
    let Some(wrapper) = libraries::wrapped(function, real as *mut c_void, DOOR_PLT) else {
        return Some(real);
    };
    // A second copy that is met meanwhile by another thread puts it back, before or here.
    hook::pass_directly(function, real);
    if !libraries::is_only_copy(function)
        && let Some(function) = Function::ALL.get(function)
    {
        hook::pass_by_caller(function.library());
    }
    Some(wrapper)
}

/// The function the caller would have reached without us, if that can be told.
fn real_function(function: usize, caller: usize) -> Option<usize> {
    let name = hook::name(function);
    let foreign = |address: usize| (address != 0 && !elf::is_own(address)).then_some(address);
    // With one definition in the process there is nothing to choose, and no dl function is called,
    // which would clear the text that the caller may yet ask dlerror for.
    elf::only_definition(name.to_bytes())
        .or_else(|| foreign(lookup::in_libc_scope(libc::RTLD_NEXT, name)))
        .or_else(|| foreign(in_scope_of(caller, name)))
}

/// Several copies of the library are loaded, and the return address does not tell whose call this is: a
/// library that ends in a call (a tail call) leaves its own caller's. The wrapper decides at each call.
fn any_copy(function: usize) -> Option<usize> {
    let mut found = [0; COPIES];
    let count = elf::definitions(hook::name(function).to_bytes(), &mut found);
    let mut entered = 0;
    for real in found.into_iter().take(count) {
        entered += usize::from(libraries::enter(function, real as *mut c_void, DOOR_PLT).is_some());
    }
    (entered > 0).then(|| hook::wrapper_of_any(function)).flatten()
}

/// Address of `name` in the search scope of the object that holds `caller`: for callers that were
/// opened RTLD_LOCAL, as Python opens its extension modules. 0 when it is not there.
fn in_scope_of(caller: usize, name: &std::ffi::CStr) -> usize {
    unsafe extern "C" {
        fn dladdr1(
            address: *const c_void,
            info: *mut libc::Dl_info,
            extra: *mut *mut c_void,
            flags: c_int,
        ) -> c_int;
    }
    const RTLD_DL_LINKMAP: c_int = 2;
    // SAFETY: zeros are a valid Dl_info; the loader fills in what it knows; its link map begins with
    // the address and then the name.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        let mut link_map = std::ptr::null_mut();
        let known =
            dladdr1(caller as *const c_void, &mut info, &mut link_map, RTLD_DL_LINKMAP) != 0;
        if !known || link_map.is_null() {
            return 0;
        }
        let path = *link_map.cast::<*const c_char>().add(1);
        if path.is_null() || *path == 0 {
            return 0;
        }
        let handle = libc::dlopen(path, libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return 0;
        }
        let found = lookup::in_libc_scope(handle, name);
        libc::dlclose(handle);
        found
    }
}

/// Stands in for a function of NCCL or oneCCL in a process that has none. Their codes agree on what it says.
extern "C" fn no_nccl() -> c_int {
    SYSTEM_ERROR
}

/// Stands in for a function of CUDA or HIP in a process that has none.
extern "C" fn no_cuda() -> c_int {
    CUDA_INITIALIZATION_ERROR
}
