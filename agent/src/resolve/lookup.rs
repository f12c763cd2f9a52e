//! The second door: `dlsym` and `dlvsym`. vLLM's pynccl takes every function by `dlsym` on a handle,
//! which no exported name of ours would ever see.
//!
//! Only a name of the table, asked for on a real handle, gets a wrapper. Everything else goes on by
//! a tail jump, so that the caller stays the caller. "On" means the next `dlsym` in line, which may
//! be another preload library's. Our own look-ups go to glibc's: such libraries keep state per call
//! (HAMi-core answers a second RTLD_NEXT for a name with NULL), and must not see ours.
#![allow(unsafe_code)]

use crate::arch::{ABSENT, PASS_ON, lookup};
use crate::faults::{self, Fault};
use crate::hook;
use crate::resolve::{driver, elf, libraries};
use crate::shield::Unseen;
use crate::shield::shielded;
use nccltap_proto::ringfile::DOOR_DLSYM;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};

type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;
type Dlvsym = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> *mut c_void;

/// The next `dlsym` and `dlvsym` in line. Until it has been looked for, what looks for it.
static NEXT_DLSYM: AtomicPtr<()> = AtomicPtr::new(first_dlsym as *const () as *mut ());
static NEXT_DLVSYM: AtomicPtr<()> = AtomicPtr::new(first_dlvsym as *const () as *mut ());
/// glibc's `dlsym`, 0 until looked for.
static LIBC_DLSYM: AtomicUsize = AtomicUsize::new(0);

lookup!(nccltap_dlsym, first_dlsym, NEXT_DLSYM, hook_dlsym, find_dlsym);
lookup!(nccltap_dlvsym, first_dlvsym, NEXT_DLVSYM, hook_dlvsym, find_dlvsym);
#[cfg(not(test))]
crate::arch::export_versions!("dlsym", nccltap_dlsym);
#[cfg(not(test))]
crate::arch::export_versions!("dlvsym", nccltap_dlvsym);

/// Finds the next `dlsym` in line. Called by the trampoline; calls no dl function.
#[cold]
unsafe extern "C" fn find_dlsym() -> usize {
    find(b"dlsym", &NEXT_DLSYM)
}

/// Finds the next `dlvsym` in line. Called by the trampoline; calls no dl function.
#[cold]
unsafe extern "C" fn find_dlvsym() -> usize {
    find(b"dlvsym", &NEXT_DLVSYM)
}

fn find(name: &[u8], next: &AtomicPtr<()>) -> usize {
    let found = elf::next_definition(name).unwrap_or(0);
    if found != 0 {
        next.store(found as *mut (), Release);
    }
    found
}

/// Decides about `dlsym(handle, name)`.
unsafe extern "C" fn hook_dlsym(
    handle: *mut c_void,
    name: *const c_char,
    _version: *const c_char,
    caller: usize,
) -> usize {
    // SAFETY: the trampoline hands on the caller's arguments; the name is a C string.
    let asked = unsafe { CStr::from_ptr(name) };
    let Some(function) = hook::by_name(asked) else { return passed_on(asked, caller) };
    if is_passed_by(function, caller) {
        return PASS_ON;
    }
    let find = || {
        // SAFETY: the address of a dlsym, and the caller's own arguments.
        unsafe { std::mem::transmute::<*mut (), Dlsym>(NEXT_DLSYM.load(Acquire))(handle, name) }
    };
    decide(handle, function, &find)
}

/// Decides about `dlvsym(handle, name, version)`.
unsafe extern "C" fn hook_dlvsym(
    handle: *mut c_void,
    name: *const c_char,
    version: *const c_char,
    caller: usize,
) -> usize {
    // SAFETY: as above.
    let asked = unsafe { CStr::from_ptr(name) };
    let Some(function) = hook::by_name(asked) else { return passed_on(asked, caller) };
    if is_passed_by(function, caller) {
        return PASS_ON;
    }
    let find = || {
        let next = NEXT_DLVSYM.load(Acquire);
        // SAFETY: the address of a dlvsym, and the caller's own arguments.
        unsafe { std::mem::transmute::<*mut (), Dlvsym>(next)(handle, name, version) }
    };
    decide(handle, function, &find)
}

/// What the caller gets for a function that is not ours. A form of one that is, which came with a later CUDA, may
/// be about to launch what is not seen.
fn passed_on(name: &CStr, caller: usize) -> usize {
    if driver::is_for_graphs(name.to_bytes()) && elf::is_defined_elsewhere(name.to_bytes()) {
        let _unseen = Unseen::new();
        if shielded(|| libraries::is_library(caller)) == Some(false) {
            faults::count(Fault::DriverGraphs);
        }
    }
    PASS_ON
}

/// Whether the caller is not to meet the wrapper of this function.
fn is_passed_by(function: usize, caller: usize) -> bool {
    let _unseen = Unseen::new();
    shielded(|| libraries::is_under_library(function, caller)) == Some(true)
}

/// What the caller gets for a function of the table.
fn decide(handle: *mut c_void, function: usize, find: &dyn Fn() -> *mut c_void) -> usize {
    let name = hook::name(function);
    if handle == libc::RTLD_DEFAULT || handle == libc::RTLD_NEXT {
        // The global scope has our exported name in front, or next. Where there is no NCCL behind
        // it, the answer must be what it would be without us.
        return if elf::is_defined_elsewhere(name.to_bytes()) { PASS_ON } else { absent(name) };
    }
    let found = find();
    if found.is_null() {
        return PASS_ON;
    }
    if elf::is_own(found as usize) {
        return if elf::is_defined_elsewhere(name.to_bytes()) { PASS_ON } else { absent(name) };
    }
    let _unseen = Unseen::new();
    shielded(|| libraries::wrapped(function, found, DOOR_DLSYM)).flatten().unwrap_or(PASS_ON)
}

/// The name is not to be found; leaves the text that dlerror gives for it.
fn absent(name: &CStr) -> usize {
    // SAFETY: libc is loaded; it does not define the name, so glibc writes its own error text.
    unsafe {
        let handle = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return PASS_ON;
        }
        in_libc_scope(handle, name);
        // dlclose would clear the text; libc is never unloaded, so its count does not matter.
    }
    ABSENT
}

/// glibc's own `dlsym`, for our look-ups. RTLD_NEXT means "behind this library". 0 when the name is
/// not there.
pub(crate) fn in_libc_scope(handle: *mut c_void, name: &CStr) -> usize {
    let mut dlsym = LIBC_DLSYM.load(Acquire);
    if dlsym == 0 {
        dlsym = elf::definition_in_libc(b"dlsym").unwrap_or(0);
        LIBC_DLSYM.store(dlsym, Release);
    }
    if dlsym == 0 {
        return 0;
    }
    // SAFETY: the address of glibc's dlsym.
    unsafe { std::mem::transmute::<usize, Dlsym>(dlsym)(handle, name.as_ptr()) as usize }
}

/// Address of `name` in the loaded object `path`. 0 when it is not there.
pub(crate) fn in_object(path: &CStr, name: &CStr) -> usize {
    // SAFETY: opens nothing new, and gives the reference back.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return 0;
        }
        let found = in_libc_scope(handle, name);
        libc::dlclose(handle);
        found
    }
}
