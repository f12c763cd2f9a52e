//! When the simulated NCCL was asked for each operation, by its own account.
//!
//! Where `NCCLTAP_REHEARSAL_TIMES` is set beside `NCCLTAP_REHEARSAL_COUNTS_DIR`, each process keeps a
//! file `PID-STARTNS.times` there: operation by operation what [`crate::counts`] sums up.
//! `nccl/times.c` writes it. It has room for 1048576 operations; a process that makes more is an
//! error to read, never silently short.

use crate::account::{Account, read_all};
use crate::bytes::{i32_at, u32_at, u64_at};
use crate::counts::{CountsError, Launch};
use std::path::Path;

const MAGIC: &[u8; 8] = b"NCCLTIM1";
const ROW_BYTES: usize = 64;
const ROW_ASKED: u32 = 1;
const ROW_REPLAYED: u32 = 2;

/// The operations of one process, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When it made its first operation: nanoseconds since 1970.
    pub started_ns: u64,
    /// What it was asked for, failed calls too.
    pub operations: Vec<Operation>,
}

/// An operation. Fields as in [`crate::counts::Row`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it was asked for or, of a graph, when the launch came to it: nanoseconds of
    /// `CLOCK_MONOTONIC`.
    pub ns: u64,
    /// By what it was carried out.
    pub launch: Launch,
    /// The function that was called.
    pub function: String,
    /// Identity of the communicator.
    pub communicator: u64,
    /// Size of the communicator.
    pub ranks: i32,
    /// Rank in the communicator.
    pub rank: i32,
    /// The count argument.
    pub count: u64,
    /// `ncclDataType_t`.
    pub datatype: i32,
    /// Peer or root, -1 when the call has none.
    pub peer: i32,
}

/// Reads the times of every process that kept them in `directory`, in order of their start.
pub fn read(directory: &Path) -> Result<Vec<Process>, CountsError> {
    let mut processes = read_all(directory, "times", Process::parse)?;
    processes.sort_by_key(|process: &Process| (process.started_ns, process.pid));
    Ok(processes)
}

impl Process {
    /// Reads a file. `None` when its process was killed before it had begun the file.
    fn parse(bytes: &[u8], path: &Path) -> Result<Option<Self>, CountsError> {
        let Some(account) = Account::parse(bytes, path, MAGIC, ROW_BYTES)? else { return Ok(None) };
        let names = account.functions();
        // A row that its process was killed in is all zero or has no state yet.
        let written = account.rows().filter(|row| u32_at(row, 0) != Some(0));
        let mut operations = written
            .map(|row| Operation::parse(row, &names))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| CountsError::NotCounts { path: path.to_owned() })?;
        operations.sort_by_key(|operation| operation.ns);
        Ok(Some(Self { pid: account.pid, started_ns: account.started_ns, operations }))
    }
}

impl Operation {
    fn parse(bytes: &[u8], names: &[String]) -> Option<Self> {
        Some(Self {
            launch: match u32_at(bytes, 0)? {
                ROW_ASKED => Launch::Eager,
                ROW_REPLAYED => Launch::Graph,
                _ => return None,
            },
            ns: u64_at(bytes, 8)?,
            function: names.get(u32_at(bytes, 16)? as usize)?.clone(),
            datatype: i32_at(bytes, 20)?,
            communicator: u64_at(bytes, 24)?,
            count: u64_at(bytes, 32)?,
            ranks: i32_at(bytes, 40)?,
            rank: i32_at(bytes, 44)?,
            peer: i32_at(bytes, 48)?,
        })
    }
}
