//! The ring file of this process, mapped.
//!
//! Memory is taken page by page with MADV_POPULATE_WRITE before it is first written: a write to a
//! page that a full tmpfs cannot give would kill the host with SIGBUS.
#![allow(unsafe_code)]

mod entries;
mod memory;

pub(crate) use memory::fill;

use crate::clock;
use crate::descriptors;
use crate::faults::{self, Fault};
use crate::leftovers;
use crate::ring::{Producer, Reader, Shared, Slot};
use crate::sync::Ordering::{Acquire, Release};
use crate::sync::{AtomicU32, AtomicU64, lock as lock_mutex};
use memory::{FREE_SHARE, fit, free_bytes, largest_file, lock, map_shared, nameless_file};
use nccltap_proto::RECORD_SIZE;
use nccltap_proto::ringfile::{
    AnchorEntry, FILE_PREFIX, FILE_SUFFIX, FileHeader, LAYOUT_VERSION, LIBRARIES, Layout, MAGIC,
    PAGE, RING_OWNED,
};
use nccltap_proto::v1;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::AtomicPtr;

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
    /// Held while an entry of a library is written.
    describing: Mutex<()>,
}

// SAFETY: the header and the rings are reached as atomics. Entries of communicators are written and read
// under the lock of `communicators`, entries of libraries under that of `describing`. A manifest is written
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
            describing: Mutex::default(),
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
