//! From the bytes of a ring file to messages. Pure.

use bytes::{BufMut, Bytes, BytesMut};
use nccltap_proto::faults::Fault;
use nccltap_proto::record::{RECORD_SIZE, Record};
use nccltap_proto::ringfile::{COPIES, DOOR_DLSYM, DOOR_PLT, RingFile, first_copy, text};
use nccltap_proto::{Function, Library, PROTOCOL_VERSION, v1};

/// Records in one Report: 1 MiB, so that no message is larger than one off the wire may be.
const RECORDS_PER_REPORT: usize = 16_384;

/// Operations of manifests in one Report, for the same reason.
const OPERATIONS_PER_REPORT: usize = 16_384;

/// What a process had to say and did not.
#[derive(Clone, Debug)]
pub struct Left {
    /// Its Hello, as far as the file has it: no settings, no agent version.
    pub hello: v1::Hello,
    /// Everything not yet taken.
    pub reports: Vec<v1::Report>,
    /// The last word: totals, and the calls that were inside NCCL.
    pub last: v1::Goodbye,
}

/// Who owns the file.
pub fn owner(file: &RingFile<'_>) -> v1::Process {
    let header = &file.header;
    v1::Process {
        host: text(&header.host),
        pid: header.pid,
        instance: header.instance,
        start_time: header.start_time,
        parent_pid: header.parent_pid,
        command_line: text(&header.command_line),
        job: text(&header.job),
    }
}

/// What the file holds beyond `taken`, which says how far each ring is taken already, if at all.
pub fn left(file: &RingFile<'_>, path: &str, taken: impl Fn(u32) -> Option<u64>) -> Left {
    let header = &file.header;
    let functions = Function::ALL.iter();
    let hello = v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        record_size: header.record_size,
        process: Some(owner(file)),
        clock: header.clock as i32,
        functions: functions
            .map(|f| v1::Function { id: f.id().into(), name: f.name().to_owned() })
            .collect(),
        ring_file: path.to_owned(),
        started: Some(header.started.into()),
        ..v1::Hello::default()
    };
    let mut reports = vec![v1::Report {
        anchor: Some(header.latest.into()),
        libraries: libraries(file),
        communicators: communicators(file),
        ..v1::Report::default()
    }];
    reports.extend(manifests(file));
    let mut last = v1::Report {
        anchor: Some(header.latest.into()),
        unrecorded: header.unrecorded,
        faults: faults(file),
        ..v1::Report::default()
    };
    for ring in file.rings() {
        let (first, records) = ring.completed(taken(ring.index).unwrap_or(0));
        for (number, chunk) in records.chunks(RECORDS_PER_REPORT).enumerate() {
            let batch = v1::Batch {
                ring: ring.index,
                first: first + (number * RECORDS_PER_REPORT) as u64,
                encoding: v1::Encoding::Raw64.into(),
                records: raw(chunk),
            };
            reports.push(v1::Report {
                anchor: Some(header.latest.into()),
                batches: vec![batch],
                ..v1::Report::default()
            });
        }
        last.rings.push(v1::RingTotals {
            ring: ring.index,
            thread: ring.header.thread,
            recorded: ring.header.head,
            dropped: ring.header.dropped,
        });
        last.in_flight.extend(ring.in_flight().map(|record| v1::InFlight {
            ring: ring.index,
            thread: ring.header.thread,
            record: raw(&[record]),
        }));
    }
    Left { hello, reports, last: v1::Goodbye { last: Some(last) } }
}

fn raw(records: &[Record]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(records.len() * RECORD_SIZE);
    for record in records {
        record.to_words().into_iter().for_each(|word| bytes.put_u64_le(word));
    }
    bytes.freeze()
}

/// Kinds that a later version of the tap may count, and this one cannot name, have a number.
fn faults(file: &RingFile<'_>) -> Vec<v1::Fault> {
    let counts = file.header.faults.iter().enumerate().filter(|(_, count)| **count > 0);
    let name = |kind: usize| match Fault::ALL.get(kind) {
        Some(fault) => fault.name().to_owned(),
        None => format!("kind_{kind}"),
    };
    counts.map(|(kind, count)| v1::Fault { name: name(kind), count: *count }).collect()
}

fn libraries(file: &RingFile<'_>) -> Vec<v1::Library> {
    let library = |(id, entry): (u32, nccltap_proto::ringfile::LibraryEntry)| {
        let doors = entry.doors.iter().enumerate().filter(|(_, doors)| **doors != 0);
        let resolved = doors.map(|(function, doors)| v1::Resolved {
            function: function as u32,
            plt: doors & DOOR_PLT != 0,
            dlsym: doors & DOOR_DLSYM != 0,
        });
        v1::Library {
            id,
            path: text(&entry.path),
            version: entry.version,
            resolved: resolved.collect(),
            kind: kind_of(id).into(),
        }
    };
    file.libraries().map(library).collect()
}

fn kind_of(id: u32) -> v1::LibraryKind {
    let copies = |kind: &Library| {
        let first = first_copy(*kind) as u32;
        (first..first + COPIES as u32).contains(&id)
    };
    let kind = Library::ALL.into_iter().find(copies);
    kind.map_or(v1::LibraryKind::Unspecified, v1::LibraryKind::from)
}

/// The manifests, in as many reports as they need.
fn manifests(file: &RingFile<'_>) -> Vec<v1::Report> {
    let mut reports: Vec<v1::Report> = Vec::new();
    let mut room = 0;
    for (id, entry, operations) in file.manifests() {
        if room < operations.len() || reports.is_empty() {
            room = OPERATIONS_PER_REPORT;
            reports.push(v1::Report {
                anchor: Some(file.header.latest.into()),
                ..v1::Report::default()
            });
        }
        room = room.saturating_sub(operations.len());
        if let Some(report) = reports.last_mut() {
            report.manifests.push(entry.message(id, &operations));
        }
    }
    reports
}

fn communicators(file: &RingFile<'_>) -> Vec<v1::Communicator> {
    file.communicators().map(|(id, entry)| entry.message(id)).collect()
}
