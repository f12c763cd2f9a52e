//! What stands before the rings: communicators, libraries, manifests, anchor and faults.
#![allow(unsafe_code)]

use super::RingFile;
use crate::faults::{self, Fault};
use crate::sync::AtomicU64;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use nccltap_proto::ringfile::{
    AnchorEntry, COMMUNICATORS, CommunicatorEntry, FileHeader, LIBRARIES, Layout, LibraryEntry,
    MANIFEST_OPERATIONS, MANIFESTS, ManifestEntry, ManifestOperation,
};
use std::mem::offset_of;

impl RingFile {
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

    /// Writes what is known of a copy of NCCL, unless another thread is about to write the same.
    pub(crate) fn write_library(&self, index: usize, entry: LibraryEntry) {
        if index < LIBRARIES
            && let Ok(_describing) = self.describing.try_lock()
        {
            // SAFETY: within the mapping and reserved; written by one thread at a time, under the lock.
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
}
