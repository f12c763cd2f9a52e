//! Ring files as a process leaves them behind, written by hand.

use bytemuck::{Pod, Zeroable};
use nccltap_proto::faults::Fault;
use nccltap_proto::record::{RECORD_SIZE, Record};
use nccltap_proto::ringfile::*;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

pub const LAYOUT: Layout = Layout { rings: 2, ring_records: 64 };

/// What one ring of a dead process holds.
#[derive(Default)]
pub struct Ring<'a> {
    pub records: &'a [Record],
    pub tail: u64,
    pub dropped: u64,
    pub in_flight: Option<Record>,
}

/// Writes the ring file of process `pid` into `dir`.
pub fn write(dir: &Path, pid: u32, ring: &Ring<'_>) -> PathBuf {
    let mut bytes = vec![0; LAYOUT.file_bytes()];
    let mut header = FileHeader::zeroed();
    header.magic = MAGIC;
    header.layout_version = LAYOUT_VERSION;
    header.record_size = RECORD_SIZE as u32;
    header.pid = pid;
    header.instance = 1_000_000 + u64::from(pid);
    header.clock = 2;
    header.rings = LAYOUT.rings;
    header.ring_records = LAYOUT.ring_records;
    header.latest = AnchorEntry { ticks: 9_000, monotonic_ns: 9_000, realtime_ns: 9_000 };
    header.communicators = 1;
    header.host[..6].copy_from_slice(b"node-1");
    put(&mut bytes, 0, &header);

    let mut communicator = CommunicatorEntry::zeroed();
    communicator.handle = super::HANDLE;
    communicator.group = super::GROUP;
    communicator.created = 1;
    communicator.ranks = 2;
    communicator.rank = 1;
    communicator.created_by = 24;
    communicator.ready = 1;
    put(&mut bytes, Layout::communicator(0), &communicator);

    let head = ring.records.len() as u64;
    let mut ring_header = RingHeader::zeroed();
    ring_header.head = head;
    ring_header.open = head + u64::from(ring.in_flight.is_some());
    ring_header.dropped = ring.dropped;
    ring_header.tail = ring.tail;
    ring_header.state = RING_OWNED;
    ring_header.thread = 4711;
    put(&mut bytes, LAYOUT.ring(0), &ring_header);
    for (position, record) in ring.records.iter().chain(&ring.in_flight).enumerate() {
        let record = Record { sequence: position as u32, ..*record };
        let slot = position % LAYOUT.ring_records as usize;
        put(&mut bytes, LAYOUT.records(0) + slot * RECORD_SIZE, &record);
    }
    let path = dir.join(format!("{FILE_PREFIX}{pid}-{:x}{FILE_SUFFIX}", header.instance));
    std::fs::write(&path, bytes).expect("the ring file is written");
    path
}

/// Notes in the ring file at `path` that a kind of trouble has occurred so often.
pub fn note_fault(path: &Path, fault: Fault, count: u64) {
    let mut bytes = std::fs::read(path).expect("the ring file is there");
    put(&mut bytes, offset_of!(FileHeader, faults) + 8 * fault as usize, &count);
    std::fs::write(path, bytes).expect("the ring file is written");
}

fn put<T: Pod>(bytes: &mut [u8], offset: usize, value: &T) {
    bytes[offset..offset + size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
}
