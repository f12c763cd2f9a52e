//! The second library, `libnccltap_uplink.so`: found, opened, and called.
//!
//! It lies beside this one. It is opened by the drain thread, once in a process, so that a program that
//! never uses NCCL does not pay for the gRPC stack at each exec.
#![allow(unsafe_code)]

use crate::descriptors;
use crate::drain;
use crate::faults::{self, Fault};
use crate::ffi;
use crate::resolve::lookup;
use nccltap_proto::uplink::{
    self, Borrowed, Destination, Host, Interface, LIBRARY, Outcome, SYMBOL, VERSION,
};
use std::ffi::{CStr, CString, OsStr, c_int, c_void};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

/// Why there is no uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The library is not there, or of another version.
    Library,
    /// It has no resources to start with.
    Resources,
}

/// What waiting has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    Message(&'a [u8]),
    /// Time is up, or [`Waker::wake`] was called.
    Nothing,
    /// The collector has ended the stream in good order.
    Ended,
    Broken,
}

/// The second library, opened. Belongs to the drain thread.
pub(crate) struct Uplink {
    functions: &'static Interface,
    handle: NonNull<uplink::Uplink>,
}

impl Uplink {
    /// Opens the library.
    pub(crate) fn open() -> Result<Self, Missing> {
        let functions = load().ok_or(Missing::Library)?;
        let host = Host { panicked, socket_opened, socket_closing };
        // SAFETY: the library is of our version; both functions live as long as this one.
        let handle = unsafe { (functions.open)(host) };
        Ok(Self { functions, handle: NonNull::new(handle).ok_or(Missing::Resources)? })
    }

    /// Connects to `address` and opens a stream for `method`, with this as its first message.
    pub(crate) fn connect(
        &mut self,
        address: &str,
        method: &str,
        patience: Duration,
        first: &[u8],
    ) -> Outcome {
        let destination = Destination {
            address: Borrowed::of(address.as_bytes()),
            method: Borrowed::of(method.as_bytes()),
            user: ffi::user_id(),
            patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        };
        // SAFETY: the handle is its own; what is borrowed lives until the call is over.
        unsafe { (self.functions.connect)(self.handle.as_ptr(), destination, Borrowed::of(first)) }
    }

    /// Whether a message can be sent now.
    pub(crate) fn has_room(&self) -> bool {
        // SAFETY: the handle is its own.
        unsafe { (self.functions.has_room)(self.handle.as_ptr()) != 0 }
    }

    /// Sends a message; false when it could not be sent.
    pub(crate) fn send(&mut self, message: &[u8]) -> bool {
        // SAFETY: the handle is its own; the message lives until the call is over.
        let outcome = unsafe { (self.functions.send)(self.handle.as_ptr(), Borrowed::of(message)) };
        outcome == Outcome::DONE
    }

    /// Waits for a message; without a stream, rests.
    pub(crate) fn receive(&mut self, patience: Duration) -> Received<'_> {
        let patience = u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        let mut message = Borrowed::none();
        // SAFETY: the handle is its own, and `message` a valid place.
        let outcome =
            unsafe { (self.functions.receive)(self.handle.as_ptr(), patience, &raw mut message) };
        match outcome {
            // SAFETY: valid until the next call, and the next call needs `self` to itself.
            Outcome::MESSAGE => Received::Message(unsafe {
                std::slice::from_raw_parts(message.start, message.length)
            }),
            Outcome::NOTHING => Received::Nothing,
            Outcome::ENDED => Received::Ended,
            _ => Received::Broken,
        }
    }

    /// Says that nothing more will be sent on this stream.
    pub(crate) fn finish(&mut self) {
        // SAFETY: the handle is its own.
        unsafe { (self.functions.finish)(self.handle.as_ptr()) }
    }

    /// Gives up the stream.
    pub(crate) fn close(&mut self) {
        // SAFETY: the handle is its own.
        unsafe { (self.functions.close)(self.handle.as_ptr()) }
    }

    /// What ends a wait from another thread.
    pub(crate) fn waker(&self) -> Waker {
        Waker { functions: self.functions, handle: self.handle }
    }
}

/// Ends a wait of the drain thread.
pub(crate) struct Waker {
    functions: &'static Interface,
    handle: NonNull<uplink::Uplink>,
}

// SAFETY: the one function it calls may be called by any thread, and the handle is never freed.
unsafe impl Send for Waker {}
// SAFETY: as above.
unsafe impl Sync for Waker {}

impl Waker {
    /// Ends the wait that is under way, or else the next one.
    pub(crate) fn wake(&self) {
        // SAFETY: the handle is the library's own.
        unsafe { (self.functions.wake)(self.handle.as_ptr()) }
    }
}

extern "C" fn panicked() {
    drain::panicked();
}

extern "C" fn socket_opened(number: c_int) {
    descriptors::note_socket(number);
}

extern "C" fn socket_closing(number: c_int) {
    descriptors::forget_socket(number);
}

/// Loads the library from beside this one.
fn load() -> Option<&'static Interface> {
    let _load = Load::begin()?;
    places().into_iter().find_map(|path| load_from(&path))
}

fn load_from(path: &Path) -> Option<&'static Interface> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: a C string. What the library does when it is loaded is ours to answer for; it is found by
    // no other library, and never unloaded.
    let handle = unsafe {
        libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE)
    };
    if handle.is_null() {
        return None;
    }
    // Not through `dlsym`, which is this library's own or another tool's.
    let found = lookup::in_libc_scope(handle, SYMBOL) as *const Interface;
    if found.is_null() {
        return None;
    }
    // SAFETY: in every version the symbol names an interface that begins with its version.
    let version = unsafe { (&raw const (*found).version).read() };
    // SAFETY: of this version, it is the whole interface, and stays.
    (version == VERSION).then(|| unsafe { &*found })
}

/// Where the library may lie: beside the name by which this one was loaded, which may be a link, and
/// beside the file that it is.
fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    for own in [own_name(), own_file()].into_iter().flatten() {
        if let Some(folder) = own.parent() {
            let place = folder.join(LIBRARY);
            if own.is_absolute() && !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// The name by which this library was loaded.
fn own_name() -> Option<PathBuf> {
    let own = own_name as *const () as *const c_void;
    // SAFETY: zeros are a valid Dl_info; when the loader knows the address, the name is a C string.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        let known = libc::dladdr(own, &mut info) != 0 && !info.dli_fname.is_null();
        known.then(|| OsStr::from_bytes(CStr::from_ptr(info.dli_fname).to_bytes()).into())
    }
}

/// The file that this library is, as the kernel knows it: also when it was named by a path that leads
/// nowhere any more, since the process has changed its directory.
fn own_file() -> Option<PathBuf> {
    let own = own_file as *const () as usize;
    let maps = std::fs::read("/proc/self/maps").ok()?;
    maps.split(|byte| *byte == b'\n').find_map(|line| file_mapped_at(own, line))
}

/// The file of a line of /proc/PID/maps, when the address lies in it.
fn file_mapped_at(address: usize, line: &[u8]) -> Option<PathBuf> {
    // start-end permissions offset device inode path
    let text = str::from_utf8(line.get(..line.iter().position(|byte| *byte == b' ')?)?).ok()?;
    let (start, end) = text.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let path = line.get(line.iter().position(|byte| *byte == b'/')?..)?;
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    (start..end).contains(&address).then(|| std::ffi::OsString::from_vec(path.to_vec()).into())
}

/// Loads and forks under way: [`LOADING`] for the one load, and [`FORK`] for each fork.
///
/// A fork in the middle of a load would leave the child with a list of libraries that is half changed, and
/// with locks of glibc's loader that nobody releases.
static UNDER_WAY: AtomicU32 = AtomicU32::new(0);
const LOADING: u32 = 1;
const FORK: u32 = 2;
/// This process was forked in the middle of a load, and must not touch that library.
static TORN: AtomicBool = AtomicBool::new(false);
/// How long a fork waits for a load to end. It does not wait for ever, since the forking thread may be in
/// a library's initialiser, and so hold what the load waits for; the load has not begun then.
const FORK_PATIENCE: Duration = Duration::from_millis(500);

/// The right to load.
struct Load;

impl Load {
    fn begin() -> Option<Self> {
        while UNDER_WAY.compare_exchange(0, LOADING, Acquire, Relaxed).is_err() {
            std::thread::yield_now();
        }
        let load = Self;
        (!TORN.load(Acquire)).then_some(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        UNDER_WAY.fetch_and(!LOADING, Release);
    }
}

/// Before a fork: lets a load that is under way end, and none begin.
pub(crate) fn hold_loads() {
    let before = UNDER_WAY.fetch_add(FORK, AcqRel);
    if before & LOADING != 0 {
        let until = Instant::now() + FORK_PATIENCE;
        while UNDER_WAY.load(Acquire) & LOADING != 0 && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

/// After a fork, in the parent.
pub(crate) fn release_loads() {
    let _ = UNDER_WAY.fetch_update(Release, Relaxed, |forks| forks.checked_sub(FORK));
}

/// In a forked child.
pub(crate) fn forked() {
    if UNDER_WAY.swap(0, AcqRel) & LOADING != 0 {
        TORN.store(true, Release);
    }
}

/// Counts that nothing can be sent.
pub(crate) fn count_missing(missing: Missing) {
    faults::count(match missing {
        Missing::Library => Fault::NoUplink,
        Missing::Resources => Fault::NoThread,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_that_of_the_line_with_the_address() {
        let line = b"7f00-7f10 r-xp 00000000 08:01 11                 /opt/a b/libnccltap.so";
        let found = Some(PathBuf::from("/opt/a b/libnccltap.so"));
        assert_eq!(file_mapped_at(0x7f00, line), found);
        assert_eq!(file_mapped_at(0x7f10, line), None);
        assert_eq!(file_mapped_at(0x7f05, &[line, &b" (deleted)"[..]].concat()), found);
        assert_eq!(file_mapped_at(0x7f05, b"7f00-7f10 rw-p 00000000 00:00 0"), None);
        assert_eq!(file_mapped_at(0x7f05, b""), None);
        assert_eq!(file_mapped_at(0x7f05, b"garbage"), None);
    }

    #[test]
    fn the_second_library_is_looked_for_beside_this_program() {
        let program = std::env::current_exe().unwrap();
        let beside = program.parent().unwrap().join(LIBRARY);
        assert!(places().contains(&beside), "{:?}", places());
    }
}
