//! What the ring files of tapped processes say by themselves, with no collector to take it.

use crate::tally::{Call, Tally, datatype};
use nccltap_proto::record::NO_PEER;
use nccltap_proto::ringfile::{self, CommunicatorEntry, RingFile};
use nccltap_proto::{Function, Record};
use std::fs;
use std::path::{Path, PathBuf};

/// One ring file.
#[derive(Clone, Debug)]
pub struct RingsOfProcess {
    /// Where it lies.
    pub path: PathBuf,
    /// Process id of its owner.
    pub pid: u32,
    /// Records that are complete and not yet taken, ring by ring.
    pub completed: Vec<Record>,
    /// Records whose place in the ring and whose times contradict each other.
    pub torn: u64,
    /// Calls that were inside NCCL.
    pub in_flight: Vec<Record>,
    /// Calls that found their ring full.
    pub dropped: u64,
    /// Calls that found no ring.
    pub unrecorded: u64,
    communicators: Vec<CommunicatorEntry>,
}

/// Paths of the ring files in `directory`.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(ringfile::FILE_PREFIX) && name.ends_with(ringfile::FILE_SUFFIX)
    };
    entries.map(|entry| entry.path()).filter(named).collect()
}

/// Reads every ring file in `directory`.
///
/// # Panics
/// When one of them is not a ring file.
pub fn read(directory: &Path) -> Vec<RingsOfProcess> {
    files(directory).iter().map(|path| RingsOfProcess::read(path)).collect()
}

impl RingsOfProcess {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file =
            RingFile::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut this = Self {
            path: path.to_owned(),
            pid: file.header.pid,
            completed: Vec::new(),
            torn: 0,
            in_flight: Vec::new(),
            dropped: 0,
            unrecorded: file.header.unrecorded,
            communicators: file.communicators().map(|(_, entry)| entry).collect(),
        };
        for ring in file.rings() {
            let (first, records) = ring.completed(0);
            // `completed` ends early at a record that is not where it belongs.
            this.torn += ring.header.head - first - records.len() as u64;
            this.torn += records.iter().filter(|r| r.end == 0 || r.end < r.start).count() as u64;
            this.completed.extend(records);
            this.in_flight.extend(ring.in_flight());
            this.dropped += ring.header.dropped;
        }
        this
    }

    /// The operations among the completed records that were carried out by a call of their own.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for record in
            self.completed.iter().filter(|record| record.result == 0 && !record.is_captured())
        {
            if let Some(call) = self.call(record) {
                tally.add(call, 1);
            }
        }
        tally
    }

    /// The call that a record stands for, if it is an operation.
    pub fn call(&self, record: &Record) -> Option<Call> {
        let operation = Function::from_id(record.function)?.operation()?;
        let communicator = self.communicators.iter().rev().find(|communicator| {
            communicator.handle == record.communicator && communicator.created <= record.start
        });
        Some(Call {
            pid: self.pid,
            op: operation.name().to_owned(),
            elements: Some(record.count),
            path: "nccl".to_owned(),
            dtype: datatype(i32::from(record.datatype)),
            peer: (record.peer != NO_PEER).then_some(record.peer),
            group: communicator.map(|it| it.group).filter(|group| *group != 0),
            ranks: communicator.map(|it| it.ranks as i32).filter(|ranks| *ranks > 0),
            rank: communicator.map(|it| it.rank).filter(|rank| *rank >= 0),
            launch: "eager".to_owned(),
        })
    }
}
