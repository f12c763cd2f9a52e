//! The copies of NCCL in this process, and where their functions are.
//!
//! A process can have several: PyTorch's own, and one that vLLM was told to open by path. A call
//! goes to the copy its caller would have reached without us. A copy that was wrapped once stays
//! loaded, so that no wrapper ever jumps into a hole.
#![allow(unsafe_code)]

use crate::faults::{self, Fault};
use crate::ffi::{CommunicatorHandle, SUCCESS};
use crate::hook::{self, FUNCTIONS};
use crate::resolve::lookup;
use nccltap_proto::ringfile::LIBRARIES;
use std::ffi::{CStr, CString, OsStr, c_int, c_void};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering::*};

/// Address of a function, in a table.
#[repr(transparent)]
pub(crate) struct Address(pub(crate) *const ());
// SAFETY: code does not change.
unsafe impl Sync for Address {}

/// One copy.
struct Library {
    /// Where the object lies; 0 while the place is free.
    base: AtomicUsize,
    real: [AtomicPtr<c_void>; FUNCTIONS],
    doors: [AtomicU8; FUNCTIONS],
    /// Leaked; null until known. Nothing here waits for another thread: a fork may catch any thread
    /// at any point, and its child would wait for ever.
    path: AtomicPtr<CString>,
}

/// Functions of a copy that the tap itself calls. They only read.
#[derive(Clone, Copy)]
pub(crate) struct Getters {
    pub(crate) count: usize,
    pub(crate) user_rank: usize,
    pub(crate) cu_device: usize,
}

static COPIES: [Library; LIBRARIES] = [const {
    Library {
        base: AtomicUsize::new(0),
        real: [const { AtomicPtr::new(std::ptr::null_mut()) }; FUNCTIONS],
        doors: [const { AtomicU8::new(0) }; FUNCTIONS],
        path: AtomicPtr::new(std::ptr::null_mut()),
    }
}; LIBRARIES];

/// Goes up when a copy or a door is added.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// How often something was added.
pub(crate) fn changes() -> u64 {
    CHANGES.load(Acquire)
}

/// The real function of a copy, as stored by [`wrapped`].
#[inline(always)]
pub(crate) fn real(library: usize, function: usize) -> *mut c_void {
    match COPIES.get(library).and_then(|copy| copy.real.get(function)) {
        Some(real) => real.load(Relaxed),
        None => std::ptr::null_mut(),
    }
}

/// The wrapper to stand in front of `real`, or None where the call must pass unrecorded.
pub(crate) fn wrapped(function: usize, real: *mut c_void, door: u8) -> Option<usize> {
    let known =
        |copy: &Library| copy.real.get(function).is_some_and(|stored| stored.load(Acquire) == real);
    let library = COPIES.iter().position(known).or_else(|| place_of(real as usize))?;
    let copy = COPIES.get(library)?;
    copy.real.get(function)?.store(real, Release);
    if copy.doors.get(function)?.fetch_or(door, AcqRel) & door == 0 {
        CHANGES.fetch_add(1, AcqRel);
    }
    hook::wrapper(function, library)
}

/// The place of the copy that holds `address`; a new copy takes the next free one.
fn place_of(address: usize) -> Option<usize> {
    let object = object_of(address)?;
    for (index, copy) in COPIES.iter().enumerate() {
        match copy.base.compare_exchange(0, object.base, AcqRel, Acquire) {
            Ok(_) => {
                keep_loaded(object.path);
                let path = Box::into_raw(Box::new(object.path.to_owned()));
                copy.path.store(path, Release);
                return Some(index);
            }
            Err(base) if base == object.base => return Some(index),
            Err(_) => {}
        }
    }
    faults::count(Fault::TooManyLibraries);
    None
}

/// A loaded object.
struct LoadedObject {
    base: usize,
    path: &'static CStr,
}

/// The object that holds `address`.
fn object_of(address: usize) -> Option<LoadedObject> {
    // SAFETY: zeros are a valid Dl_info.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address may be asked for.
    let known = unsafe { libc::dladdr(address as *const c_void, &mut info) } != 0;
    if !known || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: a C string of the loader; the object is kept loaded if it is used.
    let path = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(LoadedObject { base: info.dli_fbase as usize, path })
}

/// Whether two addresses lie in the same object: then a call is NCCL's own, as when ncclBcast calls
/// ncclBroadcast through its own linkage table, and no second operation of the application.
pub(crate) fn same_object(one: usize, other: usize) -> bool {
    match (object_of(one), object_of(other)) {
        (Some(one), Some(other)) => one.base == other.base,
        _ => false,
    }
}

/// Marks an object as not to be unloaded.
fn keep_loaded(path: &CStr) {
    let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // SAFETY: opens nothing new; the reference is given back, the mark stays.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), flags);
        if !handle.is_null() {
            libc::dlclose(handle);
        }
    }
}

impl Library {
    /// File it was loaded from.
    fn path(&self) -> Option<&'static CStr> {
        // SAFETY: null, or a leaked box.
        unsafe { self.path.load(Acquire).as_ref() }.map(CString::as_c_str)
    }
}

/// The functions of a copy that tell what a communicator is.
pub(crate) fn getters(library: usize) -> Option<Getters> {
    let path = COPIES.get(library)?.path()?;
    Some(Getters {
        count: lookup::in_object(path, c"ncclCommCount"),
        user_rank: lookup::in_object(path, c"ncclCommUserRank"),
        cu_device: lookup::in_object(path, c"ncclCommCuDevice"),
    })
}

/// What NCCL says of a communicator through one of the [`Getters`].
pub(crate) fn ask(getter: usize, communicator: CommunicatorHandle) -> Option<c_int> {
    if getter == 0 {
        return None;
    }
    let mut answer = 0;
    // SAFETY: the prototype of ncclCommCount, ncclCommUserRank and ncclCommCuDevice; the
    // communicator is one on which a call has just succeeded.
    let result = unsafe {
        let getter: unsafe extern "C-unwind" fn(CommunicatorHandle, *mut c_int) -> c_int =
            std::mem::transmute(getter);
        getter(communicator, &mut answer)
    };
    (result == SUCCESS).then_some(answer)
}

/// What is known of the copies, in order of their places: path, version, and the doors through
/// which each function was reached.
pub(crate) fn describe() -> impl Iterator<Item = (usize, Vec<u8>, u32, Vec<u8>)> {
    COPIES.iter().enumerate().filter_map(|(index, copy)| {
        let path = copy.path()?;
        let doors = copy.doors.iter().map(|door| door.load(Acquire)).collect();
        Some((index, file_of(path), version(path), doors))
    })
}

/// The file behind the name by which an object was opened, as /proc/PID/maps has it: the name may be
/// relative, and PyTorch's leads through `lib/../../nvidia`.
fn file_of(path: &CStr) -> Vec<u8> {
    let opened = path.to_bytes();
    match std::fs::canonicalize(OsStr::from_bytes(opened)) {
        Ok(file) => file.into_os_string().into_vec(),
        Err(_) => opened.to_vec(),
    }
}

/// The version of a copy, as ncclGetVersion gives it; 0 when it does not.
fn version(path: &CStr) -> u32 {
    let getter = lookup::in_object(path, c"ncclGetVersion");
    if getter == 0 {
        return 0;
    }
    let mut version: c_int = 0;
    // SAFETY: the prototype of ncclGetVersion.
    let result = unsafe {
        let getter: unsafe extern "C-unwind" fn(*mut c_int) -> c_int = std::mem::transmute(getter);
        getter(&mut version)
    };
    if result == SUCCESS { u32::try_from(version).unwrap_or(0) } else { 0 }
}
