//! The ring file of this process, mapped.
//!
//! Memory is taken page by page with MADV_POPULATE_WRITE before it is first written: a write to a
//! page that a full tmpfs cannot give would kill the host with SIGBUS.
#![allow(unsafe_code)]

use crate::clock;
use crate::faults::{self, Fault};
use crate::ring::{Producer, Reader, Shared, Slot};
use crate::sync::Ordering::{AcqRel, Relaxed, Release};
use crate::sync::{AtomicU32, AtomicU64, lock as lock_mutex};
use nccltap_proto::RECORD_SIZE;
use nccltap_proto::ringfile::{
    AnchorEntry, COMMUNICATORS, CommunicatorEntry, FILE_PREFIX, FILE_SUFFIX, FileHeader,
    LAYOUT_VERSION, LIBRARIES, Layout, LibraryEntry, MAGIC, PAGE, RING_OWNED,
};
use nccltap_proto::v1;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Mutex;

/// A new ring takes memory only while this many times its size is free: shared memory is the host's.
const FREE_SHARE: u64 = 4;

/// Rings are made smaller, down to [`FEWEST_RECORDS`], until so many of them would fit into what is
/// free when the tap comes to life: eight workers with a ring each may not take more than a quarter.
const ROOM_FOR_RINGS: u64 = 8 * FREE_SHARE;

/// Records of a ring that is not made smaller.
const FEWEST_RECORDS: u64 = 4096;

/// The mapped file. It stays mapped until the process ends.
pub(crate) struct RingFile {
    base: NonNull<u8>,
    layout: Layout,
    path: PathBuf,
    /// Holds the lock that says the owner is alive; closing it would give the lock up.
    lock: File,
    /// Rings that have memory. The others are holes in the file: even to read a hole takes memory.
    in_use: Mutex<u32>,
}

// SAFETY: what is shared through the mapping is reached as atomics, or written once under the lock
// of `communicators` before an atomic flag publishes it.
unsafe impl Send for RingFile {}
// SAFETY: as above.
unsafe impl Sync for RingFile {}

impl RingFile {
    /// Makes, locks and maps the ring file of `process` in the first of `directories` that can
    /// hold it.
    pub(crate) fn create(
        directories: &[&Path],
        layout: Layout,
        process: &v1::Process,
        started: AnchorEntry,
    ) -> io::Result<Self> {
        let mut outcome = Err(io::Error::other("there is no directory for the ring file"));
        for directory in directories {
            outcome = Self::create_in(directory, layout, process, started);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn create_in(
        directory: &Path,
        layout: Layout,
        process: &v1::Process,
        started: AnchorEntry,
    ) -> io::Result<Self> {
        let name = format!("{FILE_PREFIX}{}-{:x}{FILE_SUFFIX}", process.pid, process.instance);
        let path = directory.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(&path)?;
        let layout = fit(layout, free_bytes(&file), file_size_limit());
        let mapped = Self::map(file, &path, layout);
        match mapped {
            Ok(mapped) => {
                mapped.write_header(process, started);
                Ok(mapped)
            }
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn map(file: File, path: &Path, layout: Layout) -> io::Result<Self> {
        if layout.file_bytes() as u64 > file_size_limit() {
            // To try would be answered with SIGXFSZ, which ends the process.
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        lock(&file)?;
        file.set_len(layout.file_bytes() as u64)?;
        // SAFETY: a new shared mapping of a file this process has just made.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                layout.file_bytes(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        let base = match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => base,
            _ => return Err(io::Error::last_os_error()),
        };
        let mapped =
            Self { base, layout, path: path.to_owned(), lock: file, in_use: Mutex::new(0) };
        let room = mapped.reserve(0, PAGE)
            && mapped.reserve(Layout::library(0), Layout::prefix_bytes() - Layout::library(0));
        if room {
            Ok(mapped)
        } else {
            // SAFETY: nothing refers to the mapping yet.
            unsafe { libc::munmap(mapped.base.as_ptr().cast(), layout.file_bytes()) };
            Err(io::Error::other("no room for the ring file"))
        }
    }

    fn write_header(&self, process: &v1::Process, started: AnchorEntry) {
        let mut header: FileHeader = bytemuck::Zeroable::zeroed();
        header.layout_version = LAYOUT_VERSION;
        header.record_size = RECORD_SIZE as u32;
        header.pid = process.pid;
        header.parent_pid = process.parent_pid;
        header.start_time = process.start_time;
        header.instance = process.instance;
        header.clock = clock::kind() as u32;
        header.rings = self.layout.rings;
        header.ring_records = self.layout.ring_records;
        header.started = started;
        header.latest = started;
        fill(&mut header.host, process.host.as_bytes());
        fill(&mut header.job, process.job.as_bytes());
        fill(&mut header.command_line, process.command_line.as_bytes());
        // SAFETY: the page was reserved, and nobody else knows the mapping yet.
        unsafe {
            self.base.as_ptr().cast::<FileHeader>().write(header);
            // Written last: without it the file is not a ring file.
            self.base.as_ptr().cast::<[u8; 8]>().write_volatile(MAGIC);
        }
    }

    /// Where the file lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What producer and reader share of a ring.
    pub(crate) fn shared(&self, ring: u32) -> &'static Shared {
        // SAFETY: within the mapping, aligned, made of atomics; the mapping lasts as long as the
        // process. A page of the file that was never written reads as zeros, a valid ring.
        unsafe { &*self.at(self.layout.ring(ring.min(self.layout.rings - 1))) }
    }

    /// The reading end of a ring.
    pub(crate) fn reader(&self, ring: u32) -> Reader<'static> {
        // SAFETY: as for `shared`.
        let slots = unsafe { std::slice::from_raw_parts(self.slots(ring), self.capacity()) };
        Reader::new(self.shared(ring), slots)
    }

    /// The writing end of a ring.
    ///
    /// # Safety
    /// The caller has made the ring its own (`RING_OWNED`) and reserved its memory.
    pub(crate) unsafe fn producer(&self, ring: u32) -> Producer {
        // SAFETY: by the contract of this function; the mapping lasts as long as the process.
        unsafe { Producer::new(self.shared(ring), self.slots(ring), self.layout.ring_records) }
    }

    fn slots(&self, ring: u32) -> *const Slot {
        self.at(self.layout.records(ring.min(self.layout.rings - 1)))
    }

    fn capacity(&self) -> usize {
        self.layout.ring_records as usize
    }

    /// How many rings have been used, from 0 on.
    pub(crate) fn rings_in_use(&self) -> u32 {
        *lock_mutex(&self.in_use)
    }

    /// One ring more, owned by the caller. None when there are no more, or no memory for one.
    pub(crate) fn add_ring(&self) -> Option<(u32, &'static Shared)> {
        let mut in_use = lock_mutex(&self.in_use);
        let index = *in_use;
        if index >= self.layout.rings {
            return None;
        }
        let bytes = self.layout.ring_bytes();
        let spare = free_bytes(&self.lock).is_none_or(|free| free >= FREE_SHARE * bytes as u64);
        if !spare || !self.reserve(self.layout.ring(index), bytes) {
            faults::count(Fault::NoRoom);
            return None;
        }
        let shared = self.shared(index);
        shared.state.store(RING_OWNED, Release);
        *in_use = index + 1;
        Some((index, shared))
    }

    /// Takes the memory of the pages that hold these bytes.
    fn reserve(&self, offset: usize, bytes: usize) -> bool {
        let first = offset / PAGE * PAGE;
        let length = (offset + bytes).next_multiple_of(PAGE) - first;
        // SAFETY: within the mapping.
        let start = unsafe { self.base.as_ptr().add(first) };
        // SAFETY: the range is within the mapping; populating does not change what it holds.
        if unsafe { libc::madvise(start.cast(), length, libc::MADV_POPULATE_WRITE) } == 0 {
            return true;
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            return false;
        }
        // Linux before 5.14 does not know the advice: allocate through the file.
        // SAFETY: the descriptor is open; the range is within the file.
        unsafe { libc::posix_fallocate(self.lock.as_raw_fd(), first as i64, length as i64) == 0 }
    }

    /// Writes communicator `index`, which nobody reads before it is counted by
    /// [`RingFile::publish_communicators`]. False when there is no room.
    pub(crate) fn write_communicator(&self, index: usize, entry: CommunicatorEntry) -> bool {
        let offset = Layout::communicator(index);
        if index >= COMMUNICATORS || !self.reserve(offset, size_of::<CommunicatorEntry>()) {
            return false;
        }
        // SAFETY: within the mapping and reserved; written by one thread at a time, under the lock
        // of `communicators`.
        unsafe { self.at::<CommunicatorEntry>(offset).cast_mut().write_volatile(entry) };
        true
    }

    /// Communicator `index` as it stands.
    pub(crate) fn communicator(&self, index: usize) -> CommunicatorEntry {
        // SAFETY: within the mapping; any bytes are a valid entry.
        unsafe { self.at::<CommunicatorEntry>(Layout::communicator(index)).read_volatile() }
    }

    /// Says how many communicators there are.
    pub(crate) fn publish_communicators(&self, count: u32) {
        self.header_u32(offset_of!(FileHeader, communicators)).store(count, Release);
    }

    /// Writes what is known of a copy of NCCL.
    pub(crate) fn write_library(&self, index: usize, entry: LibraryEntry) {
        if index < LIBRARIES {
            // SAFETY: within the mapping and reserved; written by the drain thread only.
            unsafe {
                self.at::<LibraryEntry>(Layout::library(index)).cast_mut().write_volatile(entry)
            };
            self.header_u32(offset_of!(FileHeader, libraries)).fetch_max(index as u32 + 1, AcqRel);
        }
    }

    /// Writes the latest anchor and the fault counts.
    pub(crate) fn write_status(&self, anchor: AnchorEntry) {
        let latest = offset_of!(FileHeader, latest);
        for (index, value) in
            [anchor.ticks, anchor.monotonic_ns, anchor.realtime_ns].into_iter().enumerate()
        {
            self.header_u64(latest + index * 8).store(value, Release);
        }
        for (fault, count) in faults::counts() {
            self.write_fault(fault, count);
        }
    }

    /// Writes how often a kind of trouble has occurred.
    pub(crate) fn write_fault(&self, fault: Fault, count: u64) {
        let offset = offset_of!(FileHeader, faults) + fault as usize * 8;
        self.header_u64(offset).fetch_max(count, Relaxed);
    }

    /// Calls that found no ring.
    pub(crate) fn unrecorded(&self) -> &AtomicU64 {
        self.header_u64(offset_of!(FileHeader, unrecorded))
    }

    fn header_u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: an aligned field of the header.
        unsafe { &*self.at(offset) }
    }

    fn header_u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: an aligned field of the header.
        unsafe { &*self.at(offset) }
    }

    fn at<T>(&self, offset: usize) -> *const T {
        // SAFETY: all offsets come from the layout that the file was sized for.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }
}

/// The layout with rings no larger than the free bytes, and the largest file there may be, allow.
fn fit(mut layout: Layout, free: Option<u64>, largest: u64) -> Layout {
    let too_large = |layout: &Layout| {
        free.is_some_and(|free| layout.ring_bytes() as u64 * ROOM_FOR_RINGS > free)
            || layout.file_bytes() as u64 > largest
    };
    while layout.ring_records > FEWEST_RECORDS && too_large(&layout) {
        layout.ring_records /= 2;
    }
    layout
}

/// Takes the lock that says the owner lives. It goes with the process, whatever ends it.
fn lock(file: &File) -> io::Result<()> {
    // SAFETY: all zeros is a valid flock: the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: the descriptor is open, `lock` is valid.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes free in the file system of `file`.
fn free_bytes(file: &File) -> Option<u64> {
    // SAFETY: zeros are a valid statvfs.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, `status` is valid.
    let known = unsafe { libc::fstatvfs(file.as_raw_fd(), &mut status) } == 0;
    known.then(|| status.f_bavail.saturating_mul(status.f_frsize))
}

/// Bytes of the largest file that this process may make: RLIMIT_FSIZE.
fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is valid; it stays as it is if the call fails.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    limit.rlim_cur
}

/// Writes `text` into a field and fills it up with zeros, at least one.
pub(crate) fn fill(field: &mut [u8], text: &[u8]) {
    let zero = std::iter::repeat(&0);
    let room = field.len().saturating_sub(1);
    for (place, byte) in field.iter_mut().zip(text.iter().take(room).chain(zero)) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Layout = Layout { rings: 64, ring_records: 65_536 };

    #[test]
    fn rings_shrink_with_the_room_there_is() {
        let records = |free| fit(WISH, free, u64::MAX).ring_records;
        assert_eq!(records(None), 65_536);
        assert_eq!(records(Some(16 << 30)), 65_536);
        // The 64 MiB that a container gets when nobody asks for more.
        assert_eq!(records(Some(64 << 20)), 16_384);
        assert_eq!(records(Some(0)), FEWEST_RECORDS);
    }

    #[test]
    fn a_ring_that_was_asked_to_be_small_stays_as_it_is() {
        let wish = Layout { rings: 1, ring_records: 64 };
        assert_eq!(fit(wish, Some(0), u64::MAX), wish);
    }

    #[test]
    fn rings_shrink_until_the_process_may_make_the_file() {
        let wish = WISH.file_bytes() as u64;
        assert_eq!(fit(WISH, None, wish), WISH);
        let smaller = fit(WISH, None, wish - 1);
        assert_eq!(smaller.ring_records, WISH.ring_records / 2);
        assert_eq!(fit(WISH, None, 0).ring_records, FEWEST_RECORDS);
    }

    #[test]
    fn text_is_cut_so_that_a_zero_ends_it() {
        let mut field = [9; 4];
        fill(&mut field, b"abcdef");
        assert_eq!(field, *b"abc\0");
        fill(&mut field, b"a");
        assert_eq!(field, *b"a\0\0\0");
    }
}
