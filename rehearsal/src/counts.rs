//! The simulator's counts: what it was asked, by its own account.
//!
//! Where `NCCLSIM_COUNTS_DIR` is set, each process with the simulated NCCL keeps a file
//! `PID-STARTNS.counts` there. It is mapped shared: it can be read while the process runs, and it
//! outlives SIGKILL. `nccl/counts.c` writes it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"NCCLSIM1";
const HEADER_BYTES: usize = 4096;
const NAMES: usize = 56;
const NAME_BYTES: usize = 32;
const ROW_BYTES: usize = 128;
const ROW_READY: u32 = 2;

/// What all processes of a run were asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The processes, in order of their start.
    pub processes: Vec<Process>,
}

/// What one process was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When it first called NCCL: nanoseconds since 1970.
    pub started_ns: u64,
    /// One row per kind of call, in no order.
    pub rows: Vec<Row>,
}

/// How often one kind of call was made.
///
/// Calls that NCCL makes of itself, as ncclBcast does of ncclBroadcast, are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The function that was called, e.g. `ncclBcast`.
    pub function: String,
    /// Identity of the communicator, 0 when the call has none. The same on all ranks: FNV-1a 64 of
    /// the unique id; for children of a communicator see `nccl/communicators.c`.
    pub communicator: u64,
    /// Size of the communicator, 0 when the call has none.
    pub ranks: i32,
    /// Rank in the communicator, -1 when the call has none.
    pub rank: i32,
    /// The count argument, 0 when the call has none.
    pub count: u64,
    /// `ncclDataType_t`, -1 when the call has none.
    pub datatype: i32,
    /// Peer or root, -1 when the call has none.
    pub peer: i32,
    /// Calls that came in: counted before anything else was done.
    pub asked: u64,
    /// Calls that went back: counted just before returning.
    pub returned: u64,
    /// Of those returned, with an error.
    pub failed: u64,
    /// Of those returned without one: in a group that launched nothing, because it failed or was
    /// closed by ncclGroupSimulateEnd.
    pub discarded: u64,
}

/// Why counts cannot be had.
#[derive(Debug)]
pub enum CountsError {
    /// A file or the directory cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not one that the simulator wrote.
    NotCounts {
        /// Which.
        path: PathBuf,
    },
    /// More kinds of calls than the table holds: the counts are not complete.
    Overflow {
        /// In which file.
        path: PathBuf,
        /// Calls that were not counted.
        calls: u64,
    },
}

impl fmt::Display for CountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "{} cannot be read: {error}", path.display())
            }
            Self::NotCounts { path } => {
                write!(f, "{} was not written by the simulated NCCL", path.display())
            }
            Self::Overflow { path, calls } => write!(
                f,
                "{} lacks {calls} calls, because its table was full; use fewer distinct calls",
                path.display()
            ),
        }
    }
}

impl std::error::Error for CountsError {}

fn unreadable(path: &Path, error: io::Error) -> CountsError {
    CountsError::Unreadable { path: path.to_owned(), error }
}

impl Counts {
    /// Reads the counts of every process that kept them in `directory`.
    pub fn read(directory: &Path) -> Result<Self, CountsError> {
        let mut processes = Vec::new();
        for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
            let path = entry.map_err(|error| unreadable(directory, error))?.path();
            if path.extension().is_some_and(|extension| extension == "counts") {
                let bytes = fs::read(&path).map_err(|error| unreadable(&path, error))?;
                processes.extend(Process::parse(&bytes, &path)?);
            }
        }
        processes.sort_by_key(|process: &Process| (process.started_ns, process.pid));
        Ok(Self { processes })
    }

    /// The counts of one process, or `None` when it never called NCCL. Where a pid was used twice,
    /// the first of them.
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }

    /// The rows of all processes.
    pub fn rows(&self) -> impl Iterator<Item = (&Process, &Row)> {
        self.processes.iter().flat_map(|process| process.rows.iter().map(move |row| (process, row)))
    }
}

impl Process {
    /// How often `function` was asked, over all its rows.
    pub fn asked(&self, function: &str) -> u64 {
        self.rows.iter().filter(|row| row.function == function).map(|row| row.asked).sum()
    }

    /// Reads a file. `None` when its process was killed before it had begun the file.
    fn parse(bytes: &[u8], path: &Path) -> Result<Option<Self>, CountsError> {
        let not_counts = || CountsError::NotCounts { path: path.to_owned() };
        let header = bytes.get(..HEADER_BYTES).unwrap_or(bytes);
        match header.get(..8) {
            Some(magic) if magic == MAGIC => {}
            _ if header.iter().all(|byte| *byte == 0) => return Ok(None),
            _ => return Err(not_counts()),
        }
        let rows = u32_at(header, 8).ok_or_else(not_counts)? as usize;
        let row_bytes = u32_at(header, 12).ok_or_else(not_counts)? as usize;
        let pid = u32_at(header, 16).ok_or_else(not_counts)?;
        let functions = u32_at(header, 20).ok_or_else(not_counts)? as usize;
        let started_ns = u64_at(header, 24).ok_or_else(not_counts)?;
        let overflow = u64_at(header, 32).ok_or_else(not_counts)?;
        let whole = rows.checked_mul(ROW_BYTES).and_then(|table| table.checked_add(HEADER_BYTES));
        if row_bytes != ROW_BYTES || whole != Some(bytes.len()) {
            return Err(not_counts());
        }
        if overflow > 0 {
            return Err(CountsError::Overflow { path: path.to_owned(), calls: overflow });
        }
        let names = header
            .get(NAMES..)
            .unwrap_or_default()
            .chunks_exact(NAME_BYTES)
            .take(functions)
            .map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
            .collect::<Vec<_>>();
        let rows = bytes
            .get(HEADER_BYTES..)
            .unwrap_or_default()
            .chunks_exact(ROW_BYTES)
            .filter(|row| u32_at(row, 0) == Some(ROW_READY))
            .map(|row| Row::parse(row, &names).ok_or_else(not_counts))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { pid, started_ns, rows }))
    }
}

impl Row {
    fn parse(bytes: &[u8], names: &[String]) -> Option<Self> {
        Some(Self {
            function: names.get(u32_at(bytes, 8)? as usize)?.clone(),
            datatype: i32_at(bytes, 12)?,
            communicator: u64_at(bytes, 16)?,
            count: u64_at(bytes, 24)?,
            ranks: i32_at(bytes, 32)?,
            rank: i32_at(bytes, 36)?,
            peer: i32_at(bytes, 40)?,
            asked: u64_at(bytes, 48)?,
            returned: u64_at(bytes, 56)?,
            failed: u64_at(bytes, 64)?,
            discarded: u64_at(bytes, 72)?,
        })
    }
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_le_bytes)
}

fn i32_at(bytes: &[u8], offset: usize) -> Option<i32> {
    at(bytes, offset).map(i32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    at(bytes, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with one row, as the simulator lays it out.
    fn file() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + ROW_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        for (offset, value) in [(8, 1u32), (12, ROW_BYTES as u32), (16, 4711), (20, 1)] {
            bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes[24..32].copy_from_slice(&99u64.to_le_bytes());
        bytes[NAMES..NAMES + 8].copy_from_slice(b"ncclSend");
        let row = &mut bytes[HEADER_BYTES..];
        for (offset, value) in [(0, 2u32), (12, 9), (32, 2), (36, 1), (40, 0)] {
            row[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        for (offset, value) in [(16, 0xabcu64), (24, 4096), (48, 7), (56, 6), (64, 1), (72, 2)] {
            row[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Option<Process>, CountsError> {
        Process::parse(bytes, Path::new("x.counts"))
    }

    #[test]
    fn a_row_is_read_field_by_field() {
        let row = Row {
            function: "ncclSend".into(),
            communicator: 0xabc,
            ranks: 2,
            rank: 1,
            count: 4096,
            datatype: 9,
            peer: 0,
            asked: 7,
            returned: 6,
            failed: 1,
            discarded: 2,
        };
        let process = parse(&file()).unwrap().unwrap();
        assert_eq!(process, Process { pid: 4711, started_ns: 99, rows: vec![row] });
        assert_eq!(process.asked("ncclSend"), 7);
        assert_eq!(process.asked("ncclRecv"), 0);
    }

    #[test]
    fn a_row_its_process_had_not_finished_making_is_left_out() {
        let mut bytes = file();
        bytes[HEADER_BYTES] = 1;
        assert_eq!(parse(&bytes).unwrap().unwrap().rows, []);
    }

    #[test]
    fn a_file_that_was_not_begun_is_nothing_and_any_other_is_refused() {
        assert_eq!(parse(&[0; HEADER_BYTES]).unwrap(), None);
        let whole = file();
        for bytes in [&b"hello"[..], &whole[..whole.len() - 1], &whole[..40]] {
            assert!(matches!(parse(bytes), Err(CountsError::NotCounts { .. })), "{}", bytes.len());
        }
    }

    #[test]
    fn counts_that_are_not_complete_are_refused() {
        let mut bytes = file();
        bytes[32] = 3;
        let error = parse(&bytes).unwrap_err();
        assert!(matches!(error, CountsError::Overflow { calls: 3, .. }));
        assert!(error.to_string().contains("lacks 3 calls"));
    }

    proptest! {
        #[test]
        fn a_damaged_file_never_panics(at in 0usize..HEADER_BYTES + ROW_BYTES, with: [u8; 8]) {
            let mut bytes = file();
            let at = at.min(bytes.len() - with.len());
            bytes[at..at + with.len()].copy_from_slice(&with);
            let _ = parse(&bytes);
        }
    }
}
