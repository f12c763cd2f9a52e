//! The ring file of this process, mapped.
//!
//! Memory is taken page by page with MADV_POPULATE_WRITE before it is first written: a write to a
//! page that a full tmpfs cannot give would kill the host with SIGBUS.
#![allow(unsafe_code)]

use crate::clock;
use crate::descriptors;
use crate::faults::{self, Fault};
use crate::leftovers;
use crate::ring::{Producer, Reader, Shared, Slot};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::{AtomicU32, AtomicU64, lock as lock_mutex};
use nccltap_proto::RECORD_SIZE;
use nccltap_proto::ringfile::{
    AnchorEntry, COMMUNICATORS, CommunicatorEntry, FILE_PREFIX, FILE_SUFFIX, FileHeader,
    LAYOUT_VERSION, LIBRARIES, Layout, LibraryEntry, MAGIC, MANIFEST_OPERATIONS, MANIFESTS,
    ManifestEntry, ManifestOperation, PAGE, RING_OWNED,
};
use nccltap_proto::v1;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::AtomicPtr;

/// A new ring takes memory only while this many times its size is free: shared memory is the host's.
const FREE_SHARE: u64 = 4;

/// Rings are made smaller, down to [`FEWEST_RECORDS`], until so many of them would fit into what is
/// free when the tap comes to life: eight workers with a ring each may not take more than a quarter.
const ROOM_FOR_RINGS: u64 = 8 * FREE_SHARE;

/// Records of a ring that is not made smaller.
const FEWEST_RECORDS: u64 = 4096;

/// The mapped file. It stays mapped until the process ends.
pub(crate) struct RingFile {
    /// Everything before the first ring.
    prefix: NonNull<u8>,
    /// Where each ring is mapped, null for those that were never used: a host that locks all its future
    /// memory (mlockall) pays for what is mapped, and even to read a hole in the file takes memory.
    rings: Box<[AtomicPtr<u8>]>,
    layout: Layout,
    /// Empty when the rings are in memory without a name.
    path: PathBuf,
    /// Holds the lock that says the owner is alive; closing it would give the lock up.
    file: File,
    /// Rings that have memory: those below this number.
    in_use: AtomicU32,
    /// Held while a ring is added.
    adding: Mutex<()>,
}

// SAFETY: the header and the rings are reached as atomics. Entries of communicators are written and read
// under the lock of `communicators`, entries of libraries by the drain thread only. A manifest is written
// under the lock of `graphs`, and read only once it is published.
unsafe impl Send for RingFile {}
// SAFETY: as above.
unsafe impl Sync for RingFile {}

impl RingFile {
    /// Makes, locks and maps the ring file of `process` in `directory`; in memory without a name,
    /// and with the fault counted, where that cannot be done.
    pub(crate) fn create(
        directory: &Path,
        layout: Layout,
        process: &v1::Process,
        started: AnchorEntry,
    ) -> io::Result<Self> {
        leftovers::bound(directory);
        let made = Self::create_in(directory, layout, process);
        let made = made.or_else(|_| {
            faults::count(Fault::NoRingFile);
            Self::map(nameless_file()?, PathBuf::new(), layout)
        })?;
        made.write_header(process, started);
        Ok(made)
    }

    fn create_in(directory: &Path, layout: Layout, process: &v1::Process) -> io::Result<Self> {
        let name = format!("{FILE_PREFIX}{}-{:x}{FILE_SUFFIX}", process.pid, process.instance);
        let path = directory.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(&path)?;
        let mapped = lock(&file).and_then(|()| Self::map(file, path.clone(), layout));
        if mapped.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        mapped
    }

    fn map(file: File, path: PathBuf, layout: Layout) -> io::Result<Self> {
        let layout = fit(layout, free_bytes(&file), largest_file());
        let bytes = layout.file_bytes() as u64;
        if largest_file().is_some_and(|largest| bytes > largest) {
            // To make it larger all the same would kill the host with SIGXFSZ.
            return Err(io::Error::other("files of this process may not be so large"));
        }
        file.set_len(bytes)?;
        let prefix = map_shared(&file, 0, Layout::prefix_bytes())?;
        let mapped = Self {
            prefix,
            rings: (0..layout.rings).map(|_| AtomicPtr::default()).collect(),
            layout,
            path,
            file,
            in_use: AtomicU32::new(0),
            adding: Mutex::default(),
        };
        let libraries = Layout::library(0);
        let room = mapped.reserve(prefix, 0, 0, PAGE)
            && mapped.reserve(prefix, 0, libraries, Layout::library(LIBRARIES) - libraries);
        match room {
            true => Ok(mapped),
            false => Err(io::Error::other("no room for the ring file")),
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
            self.prefix.as_ptr().cast::<FileHeader>().write(header);
            // Written last: without it the file is not a ring file.
            self.prefix.as_ptr().cast::<[u8; 8]>().write_volatile(MAGIC);
        }
    }

    /// Where the file lies; empty when it has no name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor that holds the lock.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The rings that have been used, in order of their numbers.
    pub(crate) fn rings(&self) -> impl Iterator<Item = (u32, Ring)> {
        (0..self.in_use.load(Acquire)).filter_map(|index| Some((index, self.ring(index)?)))
    }

    /// A ring that has been used.
    pub(crate) fn ring(&self, index: u32) -> Option<Ring> {
        let base = self.rings.get(index as usize)?.load(Acquire);
        (!base.is_null()).then(|| {
            // SAFETY: mapped and reserved by `add_ring`, aligned, made of atomics; the mapping lasts as
            // long as the process.
            unsafe {
                let slots = base.add(PAGE).cast::<Slot>();
                Ring {
                    shared: &*base.cast::<Shared>(),
                    slots: std::slice::from_raw_parts(slots, self.layout.ring_records as usize),
                }
            }
        })
    }

    /// One ring more, owned by the caller. None when there are no more, or no memory for one.
    pub(crate) fn add_ring(&self) -> Option<(u32, Ring)> {
        let _adding = lock_mutex(&self.adding);
        let index = self.in_use.load(Acquire);
        let place = self.rings.get(index as usize)?;
        let (offset, bytes) = (self.layout.ring(index), self.layout.ring_bytes());
        let spare = free_bytes(&self.file).is_none_or(|free| free >= FREE_SHARE * bytes as u64);
        let mapped = spare.then(|| map_shared(&self.file, offset, bytes).ok()).flatten();
        let Some(base) = mapped.filter(|base| self.reserve(*base, offset, offset, bytes)) else {
            if let Some(base) = mapped {
                // SAFETY: nothing refers to the mapping.
                unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
            }
            faults::count(Fault::NoRoom);
            return None;
        };
        place.store(base.as_ptr(), Release);
        let ring = self.ring(index)?;
        ring.shared.state.store(RING_OWNED, Release);
        self.in_use.store(index + 1, Release);
        Some((index, ring))
    }

    /// Takes the memory of the pages that hold these bytes of the file, which is mapped at `base`
    /// from `mapped_from` on.
    fn reserve(&self, base: NonNull<u8>, mapped_from: usize, offset: usize, bytes: usize) -> bool {
        let first = offset / PAGE * PAGE;
        let length = (offset + bytes).next_multiple_of(PAGE) - first;
        // SAFETY: within the mapping.
        let start = unsafe { base.as_ptr().add(first - mapped_from) };
        // SAFETY: the range is within the mapping; populating does not change what it holds.
        if unsafe { libc::madvise(start.cast(), length, libc::MADV_POPULATE_WRITE) } == 0 {
            return true;
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL)
            || !descriptors::is_ring_file(self.descriptor())
        {
            return false;
        }
        // Linux before 5.14 does not know the advice: allocate through the file.
        // SAFETY: the descriptor is ours, and the range is within the file.
        unsafe { libc::posix_fallocate(self.descriptor(), first as i64, length as i64) == 0 }
    }

    /// Writes communicator `index`, which nobody reads before it is counted by
    /// [`RingFile::publish_communicators`]. False when there is no room.
    pub(crate) fn write_communicator(&self, index: usize, entry: CommunicatorEntry) -> bool {
        let offset = Layout::communicator(index);
        if index >= COMMUNICATORS
            || !self.reserve(self.prefix, 0, offset, size_of::<CommunicatorEntry>())
        {
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

    /// Writes manifest `index`, which nobody reads before it is counted by
    /// [`RingFile::publish_manifests`]. False when there is no room.
    pub(crate) fn write_manifest(
        &self,
        index: usize,
        entry: ManifestEntry,
        operations: &[ManifestOperation],
    ) -> bool {
        let (offset, first) = (Layout::manifest(index), entry.first as usize);
        let place = Layout::manifest_operation(first);
        if index >= MANIFESTS
            || first + operations.len() > MANIFEST_OPERATIONS
            || !self.reserve(self.prefix, 0, offset, size_of::<ManifestEntry>())
            || !self.reserve(self.prefix, 0, place, size_of_val(operations))
        {
            return false;
        }
        // SAFETY: within the mapping and reserved; written by one thread at a time, under the lock of
        // `graphs`.
        unsafe {
            let place = self.at::<ManifestOperation>(place).cast_mut();
            for (index, operation) in operations.iter().enumerate() {
                place.add(index).write_volatile(*operation);
            }
            self.at::<ManifestEntry>(offset).cast_mut().write_volatile(entry);
        }
        true
    }

    /// Says how many manifests there are.
    pub(crate) fn publish_manifests(&self, count: u32) {
        self.header_u32(offset_of!(FileHeader, manifests)).store(count, Release);
    }

    /// How many manifests there are.
    pub(crate) fn manifests(&self) -> u32 {
        self.header_u32(offset_of!(FileHeader, manifests)).load(Acquire)
    }

    /// Manifest `index`, which is one of those published, and its operations.
    pub(crate) fn manifest(&self, index: usize) -> (ManifestEntry, Vec<ManifestOperation>) {
        // SAFETY: within the mapping, and published: it does not change any more.
        unsafe {
            let entry = self.at::<ManifestEntry>(Layout::manifest(index)).read_volatile();
            let first = entry.first as usize;
            let place = self.at::<ManifestOperation>(Layout::manifest_operation(first));
            let all = (0..entry.operations as usize).map(|at| place.add(at).read_volatile());
            (entry, all.collect())
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
        unsafe { self.prefix.as_ptr().add(offset).cast() }
    }
}

/// One ring of the file.
#[derive(Clone, Copy)]
pub(crate) struct Ring {
    pub(crate) shared: &'static Shared,
    slots: &'static [Slot],
}

impl Ring {
    /// Its reading end.
    pub(crate) fn reader(&self) -> Reader<'static> {
        Reader::new(self.shared, self.slots)
    }

    /// Its writing end.
    ///
    /// # Safety
    /// The caller has made the ring its own (`RING_OWNED`).
    pub(crate) unsafe fn producer(&self) -> Producer {
        // SAFETY: by the contract of this function; the mapping lasts as long as the process.
        unsafe { Producer::new(self.shared, self.slots.as_ptr(), self.slots.len() as u64) }
    }
}

/// The layout with rings no larger than the free bytes allow, and no longer than a file may be.
fn fit(mut layout: Layout, free: Option<u64>, largest: Option<u64>) -> Layout {
    let too_large = |layout: &Layout| {
        free.is_some_and(|free| layout.ring_bytes() as u64 * ROOM_FOR_RINGS > free)
            || largest.is_some_and(|largest| layout.file_bytes() as u64 > largest)
    };
    while layout.ring_records > FEWEST_RECORDS && too_large(&layout) {
        layout.ring_records /= 2;
    }
    while layout.rings > 1 && largest.is_some_and(|most| layout.file_bytes() as u64 > most) {
        layout.rings /= 2;
    }
    layout
}

/// Longest file this process may write, where there is a limit (RLIMIT_FSIZE).
fn largest_file() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Maps a part of the file, for reading and writing, shared.
fn map_shared(file: &File, offset: usize, bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping of a file that is ours, at a place of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    match NonNull::new(base.cast::<u8>()) {
        Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(base),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A file in memory that has no name, for processes whose directory cannot hold one.
fn nameless_file() -> io::Result<File> {
    // SAFETY: the name is a C string; the descriptor is new, and nobody else has it.
    unsafe {
        match libc::memfd_create(c"nccltap".as_ptr(), libc::MFD_CLOEXEC) {
            descriptor if descriptor >= 0 => Ok(File::from_raw_fd(descriptor)),
            _ => Err(io::Error::last_os_error()),
        }
    }
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
    // A tmpfs without a limit says that it has no blocks at all.
    (known && status.f_blocks != 0).then(|| status.f_bavail.saturating_mul(status.f_frsize))
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
        let records = |free| fit(WISH, free, None).ring_records;
        assert_eq!(records(None), 65_536);
        assert_eq!(records(Some(16 << 30)), 65_536);
        // The 64 MiB that a container gets when nobody asks for more.
        assert_eq!(records(Some(64 << 20)), 16_384);
        assert_eq!(records(Some(0)), FEWEST_RECORDS);
    }

    #[test]
    fn the_file_stays_below_what_the_process_may_write() {
        for largest in [100 << 20, 8 << 20, 2 << 20] {
            let layout = fit(WISH, None, Some(largest));
            assert!(layout.file_bytes() as u64 <= largest, "{layout:?} of {largest}");
            assert!(layout.is_valid());
        }
    }

    #[test]
    fn a_ring_that_was_asked_to_be_small_stays_as_it_is() {
        let wish = Layout { rings: 1, ring_records: 64 };
        assert_eq!(fit(wish, Some(0), None), wish);
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
