//! The copies of NCCL, of oneCCL, of CUDA's runtime and driver and of HIP in this process, and where their functions are.
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
use nccltap_proto::functions::{Function, Library as Kind};
use nccltap_proto::ringfile::{COPIES as COPIES_OF_A_KIND, LIBRARIES, first_copy};
use std::ffi::{CStr, CString, OsStr, c_int, c_void};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering::*};

/// Address of a function, in a table.
#[repr(transparent)]
pub(crate) struct Address(pub(crate) *const ());
// SAFETY: code does not change.
unsafe impl Sync for Address {}

/// One copy.
pub(crate) struct Library {
    /// Where the object lies; 0 while the place is free.
    base: AtomicUsize,
    real: [AtomicPtr<c_void>; FUNCTIONS],
    doors: [AtomicU8; FUNCTIONS],
    /// Leaked; null until known. Nothing here waits for another thread: a fork may catch any thread
    /// at any point, and its child would wait for ever.
    path: AtomicPtr<CString>,
    getters: [AtomicUsize; GETTERS],
}

/// Functions of a copy that the tap itself calls. They only read. Looked up when the copy is first
/// met, since later the caller may hold locks that the loader's must not wait for.
const fn getters_of(kind: Kind) -> [&'static CStr; 4] {
    match kind {
        Kind::Nccl => {
            [c"ncclGetVersion", c"ncclCommCount", c"ncclCommUserRank", c"ncclCommCuDevice"]
        }
        Kind::Hip => [
            c"hipRuntimeGetVersion",
            c"hipStreamGetCaptureInfo",
            c"hipPeekAtLastError",
            c"hipGetLastError",
        ],
        Kind::OneCcl => {
            [c"onecclGetVersion", c"onecclCommCount", c"onecclCommUserRank", c"onecclCommDevice"]
        }
        Kind::CudaRuntime => [
            c"cudaRuntimeGetVersion",
            c"cudaStreamGetCaptureInfo",
            c"cudaPeekAtLastError",
            c"cudaGetLastError",
        ],
        Kind::CudaDriver => [
            c"cuDriverGetVersion",
            c"cuStreamGetCaptureInfo",
            c"cuStreamGetCaptureInfo_v2",
            c"cuStreamGetCaptureInfo_v3",
        ],
    }
}
/// How many getters a copy has.
const GETTERS: usize = getters_of(Kind::Nccl).len();
/// Index of the getter that gives the version, whatever the library.
const VERSION: usize = 0;
/// Indices of getters of NCCL and oneCCL.
const COUNT: usize = 1;
const USER_RANK: usize = 2;
const DEVICE: usize = 3;
/// Index of a getter of CUDA, runtime or driver, and of HIP: what a stream captures.
pub(crate) const CAPTURE_INFO: usize = 1;
/// Indices of getters of the driver that answer the same in later forms.
pub(crate) const LATER_CAPTURE_INFO: [usize; 2] = [2, 3];
/// Index of a getter of the CUDA runtime and of HIP: `cudaPeekAtLastError`.
pub(crate) const PEEK_AT_LAST_ERROR: usize = 2;
/// The same: `cudaGetLastError`.
pub(crate) const GET_LAST_ERROR: usize = 3;

/// The copies. The machine code of launches reads addresses of functions from here, see [`offset_of_real`].
pub(crate) static COPIES: [Library; LIBRARIES] = [const {
    Library {
        base: AtomicUsize::new(0),
        real: [const { AtomicPtr::new(std::ptr::null_mut()) }; FUNCTIONS],
        doors: [const { AtomicU8::new(0) }; FUNCTIONS],
        path: AtomicPtr::new(std::ptr::null_mut()),
        getters: [const { AtomicUsize::new(0) }; GETTERS],
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

/// Where in [`COPIES`] the address of a function of a copy stands, in bytes.
pub(crate) const fn offset_of_real(library: usize, function: usize) -> usize {
    library * size_of::<Library>()
        + std::mem::offset_of!(Library, real)
        + function * size_of::<AtomicPtr<c_void>>()
}

/// Whether there is one copy of the library that a function belongs to.
pub(crate) fn is_only_copy(function: usize) -> bool {
    let kind = Function::ALL.get(function).map(|function| function.library());
    let copies = COPIES.iter().enumerate().filter(|(index, copy)| {
        kind.is_some() && kind_at(*index) == kind && copy.base.load(SeqCst) != 0
    });
    copies.count() == 1
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

/// The places of the copies of a library.
fn places(kind: Kind) -> std::ops::Range<usize> {
    let first = first_copy(kind);
    first..first + COPIES_OF_A_KIND
}

/// The library that the copy at this place is one of.
pub(crate) fn kind_at(library: usize) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| places(*kind).contains(&library))
}

/// The place of the copy that has `function` at `real`; a new copy takes the next free one.
///
/// One object can take several places: a tool that wraps NCCL for its callers may keep one wrapper for
/// each copy behind it, all in one object.
fn place_of(function: usize, real: *mut c_void) -> Option<usize> {
    let object = object_of(real as usize)?;
    let kind = Function::ALL.get(function)?.library();
    for index in places(kind) {
        let copy = COPIES.get(index)?;
        let base = match copy.base.load(Acquire) {
            // A copy that cannot be kept must not be wrapped: its wrappers would outlive it.
            0 if !keep_loaded(object.path) => return None,
            0 => match copy.base.compare_exchange(0, object.base, SeqCst, Acquire) {
                Ok(_) => {
                    if index > first_copy(kind) {
                        hook::pass_by_caller(kind);
                    }
                    copy.meet(kind, object.path);
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
    let kind = Function::ALL.get(function).map(|function| function.library());
    let Some(copy) = COPIES.get(library).filter(|_| kind_at(library) == kind) else {
        return false;
    };
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

/// Whether a call is the library's own, as when ncclBcast calls ncclBroadcast through its linkage table,
/// and no second operation of the application. An object that has NCCL inside, linked statically, is an
/// application all the same.
pub(crate) fn is_own_call(function: usize, caller: usize, real: usize) -> bool {
    if is_under_library(function, caller) {
        return true;
    }
    let bases = (object_of(caller), object_of(real));
    matches!(bases, (Some(caller), Some(real)) if caller.base == real.base) && is_library(real)
}

/// Whether a function is the driver's and the caller one of the libraries above it. What the runtime does
/// there, its own callers have asked for, and were seen to; and what NCCL does is no operation of the application.
pub(crate) fn is_under_library(function: usize, caller: usize) -> bool {
    let of_driver = Function::ALL.get(function).is_some_and(|f| f.library() == Kind::CudaDriver);
    of_driver && is_library(caller)
}

/// Whether `address` lies in a copy of one of the libraries, by the name of its file.
pub(crate) fn is_library(address: usize) -> bool {
    let Some(object) = object_of(address) else { return false };
    let name = object.path.to_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    Kind::ALL.iter().any(|kind| kind.is_file(name))
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
    fn meet(&self, kind: Kind, path: &CStr) {
        for (place, name) in self.getters.iter().zip(getters_of(kind)) {
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
    Answers { ranks: ask(COUNT), rank: ask(USER_RANK), device: ask(DEVICE) }
}

/// A function of a copy of CUDA that the tap itself calls, by its index.
pub(crate) fn cuda_getter(library: usize, index: usize) -> Option<usize> {
    COPIES.get(library)?.getter(index)
}

/// What is known of one copy.
pub(crate) struct Description {
    /// Its place.
    pub(crate) index: usize,
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    pub(crate) version: u32,
    /// The doors through which each function was reached.
    pub(crate) doors: Vec<u8>,
}

/// What is known of the copies, in order of their places.
pub(crate) fn describe() -> impl Iterator<Item = Description> {
    COPIES.iter().enumerate().filter_map(|(index, copy)| {
        let (path, kind) = (copy.path()?, kind_at(index)?);
        let doors = copy.doors.iter().map(|door| door.load(Acquire)).collect();
        Some(Description { index, kind, path: file_of(path), version: version(index), doors })
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

/// The version of a copy, as ncclGetVersion, cudaRuntimeGetVersion or cuDriverGetVersion gives it; 0 when it
/// does not.
pub(crate) fn version(library: usize) -> u32 {
    let getter = COPIES.get(library).and_then(|copy| copy.getter(VERSION));
    let Some(getter) = getter else { return 0 };
    let mut version: c_int = 0;
    // SAFETY: the prototype of all three.
    let result = unsafe {
        let getter: unsafe extern "C-unwind" fn(*mut c_int) -> c_int = std::mem::transmute(getter);
        getter(&mut version)
    };
    if result == SUCCESS { u32::try_from(version).unwrap_or(0) } else { 0 }
}
