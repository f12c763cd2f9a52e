//! Reading a ring file: the bytes that a process left behind, checked and taken apart.

use super::*;
use crate::record::Record;
use std::fmt;

/// Why bytes are not a ring file that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFileError {
    /// Shorter than a header.
    TooShort {
        /// Bytes there are.
        bytes: usize,
    },
    /// The first bytes are not [`MAGIC`].
    NotARingFile,
    /// Another layout version.
    Version {
        /// The version the file has.
        found: u32,
    },
    /// The header contradicts itself or the layout.
    Impossible,
    /// The file ends before the last ring that its header announces.
    Truncated {
        /// Bytes there are.
        bytes: usize,
        /// Bytes there should be.
        expected: usize,
    },
}

impl fmt::Display for RingFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { bytes } => {
                write!(f, "it has {bytes} bytes, fewer than the header of a ring file")
            }
            Self::NotARingFile => write!(f, "it is not a ring file of nccltap"),
            Self::Version { found } => write!(
                f,
                "it has ring layout {found}, this version of nccltap reads {LAYOUT_VERSION}; \
                 read it with the version that wrote it"
            ),
            Self::Impossible => write!(f, "its header is damaged"),
            Self::Truncated { bytes, expected } => {
                write!(f, "it is cut off: {bytes} bytes of {expected}")
            }
        }
    }
}

impl std::error::Error for RingFileError {}

/// A ring file, read as bytes.
#[derive(Clone, Copy, Debug)]
pub struct RingFile<'a> {
    bytes: &'a [u8],
    /// The first page.
    pub header: FileHeader,
    /// Where things lie.
    pub layout: Layout,
}

impl<'a> RingFile<'a> {
    /// Reads the header and checks that everything it announces is there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RingFileError> {
        let Some(first) = bytes.get(..HEADER_BYTES) else {
            return Err(RingFileError::TooShort { bytes: bytes.len() });
        };
        let header: FileHeader = read(first, 0);
        if header.magic != MAGIC {
            return Err(RingFileError::NotARingFile);
        }
        if header.layout_version != LAYOUT_VERSION {
            return Err(RingFileError::Version { found: header.layout_version });
        }
        let layout = Layout { rings: header.rings, ring_records: header.ring_records };
        if !layout.is_valid()
            || header.record_size as usize != RECORD_SIZE
            || header.communicators as usize > COMMUNICATORS
            || header.libraries as usize > LIBRARIES
        {
            return Err(RingFileError::Impossible);
        }
        if bytes.len() < layout.file_bytes() {
            return Err(RingFileError::Truncated {
                bytes: bytes.len(),
                expected: layout.file_bytes(),
            });
        }
        Ok(Self { bytes, header, layout })
    }

    /// The communicators that are completely described, with their numbers.
    pub fn communicators(&self) -> impl Iterator<Item = (u32, CommunicatorEntry)> + use<'a> {
        let bytes = self.bytes;
        (0..self.header.communicators)
            .map(move |index| (index, read(bytes, Layout::communicator(index as usize))))
            .filter(|(_, entry): &(u32, CommunicatorEntry)| entry.ready == 1)
    }

    /// The manifests that are completely described, with their numbers and their operations.
    pub fn manifests(
        &self,
    ) -> impl Iterator<Item = (u32, ManifestEntry, Vec<ManifestOperation>)> + use<'a> {
        let bytes = self.bytes;
        let known = self.header.manifests.min(MANIFESTS as u32);
        (0..known).filter_map(move |index| {
            let entry: ManifestEntry = read(bytes, Layout::manifest(index as usize));
            let (first, count) = (entry.first as usize, entry.operations as usize);
            let there = count <= LARGEST_MANIFEST && first + count <= MANIFEST_OPERATIONS;
            (entry.ready == 1 && there).then(|| {
                let all =
                    (first..first + count).map(|at| read(bytes, Layout::manifest_operation(at)));
                (index + 1, entry, all.collect())
            })
        })
    }

    /// The copies of libraries that are completely described, with their numbers.
    pub fn libraries(&self) -> impl Iterator<Item = (u32, LibraryEntry)> + use<'a> {
        let bytes = self.bytes;
        (0..self.header.libraries)
            .map(move |index| (index, read(bytes, Layout::library(index as usize))))
            .filter(|(_, entry): &(u32, LibraryEntry)| entry.ready == 1)
    }

    /// The rings that some thread has used.
    pub fn rings(&self) -> impl Iterator<Item = RingView<'a>> + use<'a> {
        let Self { bytes, layout, .. } = *self;
        (0..layout.rings)
            .map(move |index| {
                let records = layout.records(index);
                let length = layout.ring_records as usize * RECORD_SIZE;
                RingView {
                    index,
                    header: read(bytes, layout.ring(index)),
                    slots: bytes.get(records..records + length).unwrap_or_default(),
                }
            })
            .filter(|ring| ring.header.state != RING_UNUSED)
    }
}

/// One ring of a [`RingFile`].
#[derive(Clone, Copy, Debug)]
pub struct RingView<'a> {
    /// The ring, from 0.
    pub index: u32,
    /// Its header.
    pub header: RingHeader,
    slots: &'a [u8],
}

impl RingView<'_> {
    /// Position of the first record that is still there and was not taken.
    pub fn first(&self) -> u64 {
        let capacity = (self.slots.len() / RECORD_SIZE) as u64;
        self.header.tail.max(self.header.head.saturating_sub(capacity))
    }

    /// The completed records from `from` on, as many as are still there, with the position of the
    /// first of them. Ends early at a record whose sequence number shows that it is torn.
    pub fn completed(&self, from: u64) -> (u64, Vec<Record>) {
        let first = from.max(self.first());
        let records = (first..self.header.head)
            .map_while(|position| self.at(position).filter(|r| r.sequence == position as u32))
            .collect();
        (first, records)
    }

    /// The call that was inside NCCL when the process died, if there was one.
    pub fn in_flight(&self) -> Option<Record> {
        (self.header.open == self.header.head.wrapping_add(1))
            .then(|| self.at(self.header.head))
            .flatten()
            .filter(|record| record.sequence == self.header.head as u32)
    }

    fn at(&self, position: u64) -> Option<Record> {
        let capacity = (self.slots.len() / RECORD_SIZE) as u64;
        let index = position.checked_rem(capacity)? as usize * RECORD_SIZE;
        let bytes = self.slots.get(index..index + RECORD_SIZE)?.try_into().ok()?;
        Some(Record::from_bytes(bytes))
    }
}

/// The text in a field that is padded with zeros.
pub fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// The value at `offset`, or zeros where the bytes end before it does.
fn read<T: Pod>(bytes: &[u8], offset: usize) -> T {
    bytes
        .get(offset..offset.saturating_add(size_of::<T>()))
        .map_or_else(T::zeroed, bytemuck::pod_read_unaligned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(layout: Layout) -> Vec<u8> {
        let mut bytes = vec![0; layout.file_bytes()];
        let header = FileHeader {
            magic: MAGIC,
            layout_version: LAYOUT_VERSION,
            record_size: RECORD_SIZE as u32,
            rings: layout.rings,
            ring_records: layout.ring_records,
            ..FileHeader::zeroed()
        };
        write(&mut bytes, 0, &header);
        bytes
    }

    fn write<T: Pod>(bytes: &mut [u8], offset: usize, value: &T) {
        bytes[offset..offset + size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
    }

    const SMALL: Layout = Layout { rings: 2, ring_records: 8 };

    #[test]
    fn a_ring_gives_back_what_is_completed_and_names_what_is_in_flight() {
        let mut bytes = file(SMALL);
        let header =
            RingHeader { head: 11, open: 12, tail: 5, state: RING_OWNED, ..RingHeader::zeroed() };
        write(&mut bytes, SMALL.ring(1), &header);
        for position in 5..12u64 {
            let record = Record { sequence: position as u32, count: position, ..Record::default() };
            let slot = SMALL.records(1) + (position % 8) as usize * RECORD_SIZE;
            write(&mut bytes, slot, &record);
        }
        let file = RingFile::parse(&bytes).unwrap();
        let rings: Vec<_> = file.rings().collect();
        assert_eq!(rings.len(), 1);
        let (first, records) = rings[0].completed(0);
        assert_eq!(first, 5);
        assert_eq!(records.iter().map(|r| r.count).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
        assert_eq!(rings[0].completed(9).0, 9);
        assert_eq!(rings[0].in_flight().unwrap().count, 11);
    }

    #[test]
    fn what_is_not_a_ring_file_is_refused_with_its_reason() {
        assert_eq!(RingFile::parse(&[]).unwrap_err(), RingFileError::TooShort { bytes: 0 });
        assert_eq!(RingFile::parse(&[7; PAGE]).unwrap_err(), RingFileError::NotARingFile);
        let whole = file(SMALL);
        let cut = &whole[..whole.len() - 1];
        assert!(matches!(RingFile::parse(cut), Err(RingFileError::Truncated { .. })));
        let mut other = whole.clone();
        other[8] = 9;
        assert_eq!(RingFile::parse(&other).unwrap_err(), RingFileError::Version { found: 9 });
    }

    proptest! {
        #[test]
        fn a_damaged_file_never_panics(at in 0usize..16384, with: [u8; 16]) {
            let mut bytes = file(SMALL);
            let at = at.min(bytes.len() - with.len());
            bytes[at..at + with.len()].copy_from_slice(&with);
            for offset in [SMALL.ring(0), SMALL.ring(1)] {
                write(&mut bytes, offset + 128, &RING_OWNED);
                bytes[offset..offset + 16].copy_from_slice(&with);
            }
            if let Ok(file) = RingFile::parse(&bytes) {
                for ring in file.rings() {
                    prop_assert!(ring.completed(0).1.len() <= SMALL.ring_records as usize);
                    ring.in_flight();
                }
                file.communicators().count();
                file.libraries().count();
                file.manifests().count();
            }
        }
    }
}
