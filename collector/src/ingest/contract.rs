//! What a message must look like before anything in it is believed.
//!
//! Pure. Each rule is stated by tap.proto or record.rs; a message that breaks one is refused whole,
//! so that nothing of it is half applied.

use nccltap_proto::record::{RECORD_SIZE, Record, records};
use nccltap_proto::ringfile::{
    COMMUNICATORS, FAULTS, LARGEST_MANIFEST, LIBRARIES, MANIFEST_OPERATIONS, MANIFESTS, MAX_RINGS,
};
use nccltap_proto::{Function, MarkKind, PROTOCOL_VERSION, v1};
use std::fmt;

/// A rule that a message breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Another protocol version.
    Version {
        /// The version the peer speaks.
        spoken: u32,
    },
    /// Another record layout.
    RecordSize {
        /// Bytes per record that the peer states.
        stated: u32,
    },
    /// A message where the contract has another one.
    Order(&'static str),
    /// A value that cannot be.
    Impossible(String),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { spoken } => write!(
                f,
                "the agent speaks protocol version {spoken} and this collector speaks \
                 {PROTOCOL_VERSION}; use an agent and a collector of the same release"
            ),
            Self::RecordSize { stated } => write!(
                f,
                "the agent's records have {stated} bytes and this collector reads {RECORD_SIZE}; \
                 use an agent and a collector of the same release"
            ),
            Self::Order(rule) => write!(f, "{rule}"),
            Self::Impossible(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for Breach {}

/// Positions stay far below this: at a million calls a second it is reached after 142 years. The sum
/// over all rings of a process fits 64 bits.
const LAST_POSITION: u64 = 1 << 52;

/// Longest text of any kind in a Hello or Report, in bytes.
const LONGEST_TEXT: usize = 4096;

/// Longest name, in bytes.
const LONGEST_NAME: usize = 256;

/// Most settings and functions that a Hello may state.
const MOST_ROWS: usize = 1024;

fn impossible<T>(what: impl Into<String>) -> Result<T, Breach> {
    Err(Breach::Impossible(what.into()))
}

fn text(name: &str, text: &str, longest: usize) -> Result<(), Breach> {
    if text.len() > longest {
        return impossible(format!(
            "{name} has {} bytes, at most {longest} are allowed",
            text.len()
        ));
    }
    Ok(())
}

fn at_most(what: &str, count: usize, most: usize) -> Result<(), Breach> {
    if count > most {
        return impossible(format!("the message has {count} {what}, at most {most} are allowed"));
    }
    Ok(())
}

/// Checks the first message of a stream.
pub fn hello(hello: &v1::Hello) -> Result<(), Breach> {
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(Breach::Version { spoken: hello.protocol_version });
    }
    if hello.record_size as usize != RECORD_SIZE {
        return Err(Breach::RecordSize { stated: hello.record_size });
    }
    let Some(process) = &hello.process else {
        return impossible("the Hello does not say which process it is from");
    };
    if process.host.is_empty() || process.pid == 0 {
        return impossible("the Hello names no host or no process id");
    }
    text("the host name", &process.host, LONGEST_NAME)?;
    text("the job name", &process.job, LONGEST_NAME)?;
    text("the command line", &process.command_line, LONGEST_TEXT)?;
    text("the agent version", &hello.agent_version, LONGEST_NAME)?;
    text("the path of the ring file", &hello.ring_file, LONGEST_TEXT)?;
    if !matches!(hello.clock(), v1::Clock::Tsc | v1::Clock::Monotonic) {
        return impossible(format!("the Hello names clock {}, which is unknown", hello.clock));
    }
    if hello.started.is_none() {
        return impossible("the Hello does not say when the tap came to life");
    }
    at_most("settings", hello.settings.len(), MOST_ROWS)?;
    for setting in &hello.settings {
        text("the name of a setting", &setting.name, LONGEST_NAME)?;
        text("the value of a setting", &setting.value, LONGEST_TEXT)?;
        text("the problem of a setting", &setting.problem, LONGEST_TEXT)?;
    }
    at_most("functions", hello.functions.len(), MOST_ROWS)?;
    for function in &hello.functions {
        text("the name of a function", &function.name, LONGEST_NAME)?;
        let known = u16::try_from(function.id).ok().and_then(Function::from_id);
        if let Some(known) = known.filter(|known| known.name() != function.name) {
            return impossible(format!(
                "function {} is {} here and {} at the agent",
                function.id,
                known.name(),
                function.name
            ));
        }
    }
    Ok(())
}

/// Checks a Report of a process that said `functions` in its Hello.
pub fn report(report: &v1::Report, functions: &[v1::Function]) -> Result<(), Breach> {
    at_most("copies of libraries", report.libraries.len(), LIBRARIES)?;
    for library in &report.libraries {
        if library.id as usize >= LIBRARIES {
            return impossible(format!("copy {} of a library is out of range", library.id));
        }
        text("the path of a library", &library.path, LONGEST_TEXT)?;
        at_most("functions of a library", library.resolved.len(), MOST_ROWS)?;
    }
    at_most("communicators", report.communicators.len(), COMMUNICATORS)?;
    for communicator in &report.communicators {
        if communicator.id as usize >= COMMUNICATORS {
            return impossible(format!("communicator {} is out of range", communicator.id));
        }
        text("the name of a communicator", &communicator.name, LONGEST_NAME)?;
    }
    manifests(&report.manifests, functions)?;
    at_most("rings", report.rings.len(), MAX_RINGS as usize)?;
    for totals in &report.rings {
        ring(totals.ring)?;
        if totals.recorded > LAST_POSITION || totals.dropped > LAST_POSITION {
            return impossible(format!(
                "ring {} states totals out of range: {} recorded, {} dropped",
                totals.ring, totals.recorded, totals.dropped
            ));
        }
    }
    at_most("kinds of trouble", report.faults.len(), FAULTS)?;
    for fault in &report.faults {
        text("the name of a kind of trouble", &fault.name, LONGEST_NAME)?;
    }
    at_most("calls in flight", report.in_flight.len(), MAX_RINGS as usize)?;
    for call in &report.in_flight {
        ring(call.ring)?;
        let Ok(bytes) = <&[u8; RECORD_SIZE]>::try_from(call.record.as_ref()) else {
            return impossible(format!(
                "a call in flight has {} bytes, a record has {RECORD_SIZE}",
                call.record.len()
            ));
        };
        known_function(Record::from_bytes(bytes).function, functions)?;
    }
    if report.unrecorded > LAST_POSITION {
        return impossible(format!("{} unrecorded calls are out of range", report.unrecorded));
    }
    report.batches.iter().try_for_each(|one| batch(one, functions))
}

fn manifests(manifests: &[v1::Manifest], functions: &[v1::Function]) -> Result<(), Breach> {
    at_most("manifests", manifests.len(), MANIFESTS)?;
    let operations = manifests.iter().map(|manifest| manifest.operations.len()).sum();
    at_most("operations in manifests", operations, MANIFEST_OPERATIONS)?;
    for manifest in manifests {
        let id = manifest.id;
        if id == 0 || id as usize > MANIFESTS {
            return impossible(format!("manifest {id} is out of range"));
        }
        at_most("operations in one manifest", manifest.operations.len(), LARGEST_MANIFEST)?;
        for operation in &manifest.operations {
            let Ok(function) = u16::try_from(operation.function) else {
                return impossible(format!("function {} is out of range", operation.function));
            };
            known_function(function, functions)?;
            let moves = |known: Function| known.operation().is_some() || known.launches_kernel();
            if Function::from_id(function).is_some_and(|known| !moves(known)) {
                return impossible(format!(
                    "manifest {id} has function {function} in it, which is no operation"
                ));
            }
            if operation.communicator.is_some_and(|number| number as usize >= COMMUNICATORS) {
                return impossible(format!("a communicator of manifest {id} is out of range"));
            }
        }
    }
    Ok(())
}

fn ring(ring: u32) -> Result<(), Breach> {
    if ring >= MAX_RINGS {
        return impossible(format!("ring {ring} is out of range, there are at most {MAX_RINGS}"));
    }
    Ok(())
}

fn known_function(id: u16, functions: &[v1::Function]) -> Result<(), Breach> {
    if Function::from_id(id).is_none() && !functions.iter().any(|f| f.id == u32::from(id)) {
        return impossible(format!("function {id} is neither known nor named in the Hello"));
    }
    Ok(())
}

fn batch(batch: &v1::Batch, functions: &[v1::Function]) -> Result<(), Breach> {
    let v1::Batch { ring: number, first, records: bytes, .. } = batch;
    ring(*number)?;
    if batch.encoding() != v1::Encoding::Raw64 {
        return impossible(format!("encoding {} of a batch is unknown", batch.encoding));
    }
    if !bytes.len().is_multiple_of(RECORD_SIZE) {
        return impossible(format!(
            "a batch of ring {number} has {} bytes, not a multiple of {RECORD_SIZE}",
            bytes.len()
        ));
    }
    if *first > LAST_POSITION {
        return impossible(format!("a batch of ring {number} starts at {first}, out of range"));
    }
    for (offset, record) in records(bytes).enumerate() {
        let position = first + offset as u64;
        if record.sequence != position as u32 {
            return impossible(format!(
                "the record at position {position} of ring {number} says it is record {}",
                record.sequence
            ));
        }
        if record.end == 0 {
            return impossible(format!(
                "the record at position {position} of ring {number} has not ended"
            ));
        }
        if MarkKind::from_id(record.function).is_none() {
            known_function(record.function, functions)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
