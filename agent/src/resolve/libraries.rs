//! The copies of NCCL in this process, and where their functions are.
//!
//! A process can have several: PyTorch's own, and one that vLLM was told to open by path. A call
//! goes to the copy its caller would have reached without us. A copy that was wrapped once stays
//! loaded, so that no wrapper ever jumps into a hole.
#![allow(unsafe_code)]

use crate::faults::{self, Fault};
use crate::ffi::{CommunicatorHandle, SUCCESS};
use crate::hook::{self, FUNCTIONS};
use crate::life;
use crate::resolve::lookup;
use crate::shield::Unseen;
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
    getters: [AtomicUsize; GETTERS.len()],
}

/// Functions of a copy that the tap itself calls. They only read. Looked up when the copy is first
/// met, since later the caller may hold locks that the loader's must not wait for.
const GETTERS: [&CStr; 4] =
    [c"ncclCommCount", c"ncclCommUserRank", c"ncclCommCuDevice", c"ncclGetVersion"];
/// Index of `ncclGetVersion` in [`GETTERS`].
const VERSION: usize = 3;

static COPIES: [Library; LIBRARIES] = [const {
    Library {
        base: AtomicUsize::new(0),
        real: [const { AtomicPtr::new(std::ptr::null_mut()) }; FUNCTIONS],
        doors: [const { AtomicU8::new(0) }; FUNCTIONS],
        path: AtomicPtr::new(std::ptr::null_mut()),
        getters: [const { AtomicUsize::new(0) }; GETTERS.len()],
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
    hook::wrapper(function, enter(function, real, door)?)
}

/// Notes that a copy has `function` at `real`, and gives the place of the copy.
pub(crate) fn enter(function: usize, real: *mut c_void, door: u8) -> Option<usize> {
    let known =
        |copy: &Library| copy.real.get(function).is_some_and(|stored| stored.load(Acquire) == real);
    let library = COPIES.iter().position(known).or_else(|| place_of(function, real))?;
    let doors = COPIES.get(library)?.doors.get(function)?;
    if doors.fetch_or(door, AcqRel) & door != door {
        CHANGES.fetch_add(1, AcqRel);
    }
    Some(library)
}

/// The place of the copy that has `function` at `real`; a new copy takes the next free one.
///
/// One object can take several places: a tool that wraps NCCL for its callers may keep one wrapper for
/// each copy behind it, all in one object.
fn place_of(function: usize, real: *mut c_void) -> Option<usize> {
    let object = object_of(real as usize)?;
    for (index, copy) in COPIES.iter().enumerate() {
        let base = match copy.base.load(Acquire) {
            // A copy that cannot be kept must not be wrapped: its wrappers would outlive it.
            0 if !keep_loaded(object.path) => return None,
            0 => match copy.base.compare_exchange(0, object.base, AcqRel, Acquire) {
                Ok(_) => {
                    copy.meet(object.path);
                    object.base
                }
                Err(base) => base,
            },
            base => base,
        };
        let place = copy.real.get(function)?;
        if base == object.base
            && place
                .compare_exchange(std::ptr::null_mut(), real, AcqRel, Acquire)
                .map_or_else(|stored| stored == real, |_| true)
        {
            return Some(index);
        }
    }
    faults::count(Fault::TooManyLibraries);
    None
}

/// The copy for a caller that cannot be told apart: that of the call's communicator; else the first,
/// and the fault counted.
#[cold]
#[inline(never)]
pub(crate) fn of_call(function: usize, communicator: CommunicatorHandle) -> usize {
    let _unseen = Unseen::new();
    let known = life::agent().and_then(|agent| agent.communicators.library_of(communicator));
    let library = known.map(|library| library as usize).filter(|library| has(*library, function));
    library.unwrap_or_else(|| {
        faults::count(Fault::AmbiguousCaller);
        (0..LIBRARIES).find(|library| has(*library, function)).unwrap_or(0)
    })
}

/// Whether a copy has a function; looks it up if nobody has yet.
fn has(library: usize, function: usize) -> bool {
    let Some(copy) = COPIES.get(library) else { return false };
    let Some(place) = copy.real.get(function) else { return false };
    if place.load(Acquire).is_null()
        && let Some(path) = copy.path()
    {
        let found = lookup::in_object(path, hook::name(function)) as *mut c_void;
        let _ = place.compare_exchange(std::ptr::null_mut(), found, AcqRel, Acquire);
    }
    !place.load(Acquire).is_null()
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

/// Whether a call is NCCL's own, as when ncclBcast calls ncclBroadcast through its linkage table, and no
/// second operation of the application. An object that has NCCL inside, linked statically, is an
/// application all the same.
pub(crate) fn is_nccls_own_call(caller: usize, real: usize) -> bool {
    let (Some(caller), Some(real)) = (object_of(caller), object_of(real)) else { return false };
    let name = real.path.to_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    caller.base == real.base && name.starts_with(b"libnccl")
}

/// Marks an object as not to be unloaded. False when it cannot be found by its path.
fn keep_loaded(path: &CStr) -> bool {
    let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // SAFETY: opens nothing new; the reference is given back, the mark stays.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), flags);
        !handle.is_null() && libc::dlclose(handle) == 0
    }
}

impl Library {
    /// File it was loaded from.
    fn path(&self) -> Option<&'static CStr> {
        // SAFETY: null, or a leaked box.
        unsafe { self.path.load(Acquire).as_ref() }.map(CString::as_c_str)
    }

    /// Notes what there is to know of a new copy.
    fn meet(&self, path: &CStr) {
        for (place, name) in self.getters.iter().zip(GETTERS) {
            place.store(lookup::in_object(path, name), Release);
        }
        self.path.store(Box::into_raw(Box::new(path.to_owned())), Release);
    }

    fn getter(&self, index: usize) -> Option<usize> {
        self.getters.get(index).map(|getter| getter.load(Acquire)).filter(|getter| *getter != 0)
    }
}

/// What NCCL says of a communicator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) ranks: Option<c_int>,
    pub(crate) rank: Option<c_int>,
    pub(crate) device: Option<c_int>,
}

/// Asks a copy of NCCL what a communicator is. It must be one that is complete: of one that is still
/// being made, NCCL would warn in the host's log.
pub(crate) fn ask(library: usize, communicator: CommunicatorHandle) -> Answers {
    let ask = |getter: usize| {
        let getter = COPIES.get(library)?.getter(getter)?;
        let mut answer = 0;
        // SAFETY: the prototype that all three have; the communicator is complete, so says the
        // contract of this function.
        let result = unsafe {
            let getter: unsafe extern "C-unwind" fn(CommunicatorHandle, *mut c_int) -> c_int =
                std::mem::transmute(getter);
            getter(communicator, &mut answer)
        };
        (result == SUCCESS).then_some(answer)
    };
    Answers { ranks: ask(0), rank: ask(1), device: ask(2) }
}

/// What is known of the copies, in order of their places: path, version, and the doors through
/// which each function was reached.
pub(crate) fn describe() -> impl Iterator<Item = (usize, Vec<u8>, u32, Vec<u8>)> {
    COPIES.iter().enumerate().filter_map(|(index, copy)| {
        let path = copy.path()?;
        let doors = copy.doors.iter().map(|door| door.load(Acquire)).collect();
        Some((index, file_of(path), version(copy), doors))
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
fn version(copy: &Library) -> u32 {
    let Some(getter) = copy.getter(VERSION) else { return 0 };
    let mut version: c_int = 0;
    // SAFETY: the prototype of ncclGetVersion.
    let result = unsafe {
        let getter: unsafe extern "C-unwind" fn(*mut c_int) -> c_int = std::mem::transmute(getter);
        getter(&mut version)
    };
    if result == SUCCESS { u32::try_from(version).unwrap_or(0) } else { 0 }
}
