//! The ring file of a dead process, as anything may have left it: a file that is right, with some of
//! its bytes changed, and cut.
#![no_main]

use bytemuck::Zeroable;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nccltap_collector::collector::Collector;
use nccltap_collector::recovery::watch::take_into;
use nccltap_fuzz::holds_together;
use nccltap_proto::record::{RECORD_SIZE, Record};
use nccltap_proto::ringfile::*;
use std::path::Path;

const LAYOUT: Layout = Layout { rings: 2, ring_records: 8 };

#[derive(Arbitrary, Debug)]
struct Change {
    place: Place,
    offset: u16,
    bytes: [u8; 8],
}

/// Parts of the file, so that changes fall where something stands.
#[derive(Arbitrary, Debug)]
enum Place {
    Header,
    Communicator(bool),
    Library(bool),
    Ring(bool),
    Records(bool),
}

impl Place {
    fn range(&self) -> std::ops::Range<usize> {
        let (start, length) = match *self {
            // Of the texts at its end the beginning is enough.
            Self::Header => (0, 640),
            Self::Communicator(i) => {
                (Layout::communicator(i.into()), size_of::<CommunicatorEntry>())
            }
            Self::Library(i) => (Layout::library(i.into()), 128),
            Self::Ring(i) => (LAYOUT.ring(i.into()), size_of::<RingHeader>()),
            Self::Records(i) => (LAYOUT.records(i.into()), 8 * RECORD_SIZE),
        };
        start..start + length
    }
}

fn whole_file() -> Vec<u8> {
    let mut bytes = vec![0; LAYOUT.file_bytes()];
    let mut put = |offset: usize, part: &[u8]| {
        bytes[offset..offset + part.len()].copy_from_slice(part);
    };
    let mut header = FileHeader::zeroed();
    header.magic = MAGIC;
    header.layout_version = LAYOUT_VERSION;
    header.record_size = RECORD_SIZE as u32;
    header.pid = 7;
    header.clock = 2;
    header.rings = LAYOUT.rings;
    header.ring_records = LAYOUT.ring_records;
    header.latest = AnchorEntry { ticks: 9_000, monotonic_ns: 9_000, realtime_ns: 9_000 };
    header.communicators = 2;
    header.libraries = 1;
    header.host[..4].copy_from_slice(b"node");
    put(0, bytemuck::bytes_of(&header));
    for index in 0..2 {
        let mut communicator = CommunicatorEntry::zeroed();
        communicator.handle = 1 + index as u64;
        communicator.ranks = 2;
        communicator.ready = 1;
        put(Layout::communicator(index), bytemuck::bytes_of(&communicator));
        let mut ring = RingHeader::zeroed();
        (ring.head, ring.open, ring.tail, ring.state) = (11, 12, 5, RING_OWNED);
        put(LAYOUT.ring(index as u32), bytemuck::bytes_of(&ring));
        for position in 4..12u64 {
            let record = Record {
                start: position * 10,
                end: position * 10 + 5,
                communicator: 1,
                count: 8,
                function: 1,
                sequence: position as u32,
                ..Record::default()
            };
            let slot = (position % LAYOUT.ring_records) as usize;
            let at = LAYOUT.records(index as u32) + slot * RECORD_SIZE;
            put(at, &record.to_words().map(u64::to_le_bytes).concat());
        }
    }
    bytes
}

fuzz_target!(|input: (Vec<Change>, Option<u16>)| {
    let (changes, cut) = input;
    let mut bytes = whole_file();
    for change in changes {
        let range = change.place.range();
        let at = range.start + usize::from(change.offset) % (range.len() - 8);
        bytes[at..at + 8].copy_from_slice(&change.bytes);
    }
    if let Some(cut) = cut {
        bytes.truncate(bytes.len() * usize::from(cut) / usize::from(u16::MAX));
    }
    let collector = Collector::new(3);
    if let Ok(file) = RingFile::parse(&bytes)
        && take_into(&collector, &file, Path::new("/a.ring")).is_err()
    {
        assert!(collector.followed().is_empty(), "what is refused is refused whole");
    }
    holds_together(collector);
});
