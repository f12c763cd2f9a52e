//! What the simulated NCCL was asked, by its own account.
//!
//! Where `NCCLTAP_REHEARSAL_COUNTS_DIR` is set, each process with the simulated NCCL keeps a file
//! `PID-STARTNS.counts` there. It is mapped shared: it can be read while the process runs, and it
//! outlives SIGKILL. `nccl/counts.c` writes it. It has room for 65536 kinds of calls; a process that
//! makes more is an error to read, never silently short.

pub use crate::account::CountsError;
use crate::account::{Account, read_all};
use crate::bytes::{i32_at, u32_at, u64_at};
use std::path::Path;

const MAGIC: &[u8; 8] = b"NCCLSIM2";
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
    /// Id of the stream capture that the calls became part of, 0 where they were carried out at
    /// once. Unique in the process; [`crate::graphs::Capture::id`].
    pub capture: u64,
    /// Calls that came in: counted before anything else was done.
    pub asked: u64,
    /// Calls that went back: counted just before returning.
    pub returned: u64,
    /// Of those returned, with an error.
    pub failed: u64,
    /// Of those returned without one: in a group that launched nothing, because it failed or was
    /// closed by ncclGroupSimulateEnd.
    pub discarded: u64,
    /// How often launches of graphs carried out what the captured calls asked for: the sum over all
    /// these calls, counted launch by launch. 0 where `capture` is.
    pub replayed: u64,
}

/// By what an operation was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Launch {
    /// By the call itself, or by the end of its group.
    Eager,
    /// By launches of graphs.
    Graph,
}

impl Row {
    /// Calls that went well and whose group was launched: operations that were carried out, or, where
    /// `capture` is not 0, that are in the graph.
    pub fn accepted(&self) -> u64 {
        self.returned.saturating_sub(self.failed).saturating_sub(self.discarded)
    }

    /// How often the operation was carried out, and by what: what a ledger must hold.
    pub fn carried_out(&self) -> (Launch, u64) {
        match self.capture {
            0 => (Launch::Eager, self.accepted()),
            _ => (Launch::Graph, self.replayed),
        }
    }
}

impl Counts {
    /// Reads the counts of every process that kept them in `directory`.
    pub fn read(directory: &Path) -> Result<Self, CountsError> {
        let mut processes = read_all(directory, "counts", Process::parse)?;
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
        let Some(account) = Account::parse(bytes, path, MAGIC, ROW_BYTES)? else { return Ok(None) };
        let names = account.functions();
        let rows = account
            .rows()
            .filter(|row| u32_at(row, 0) == Some(ROW_READY))
            .map(|row| Row::parse(row, &names))
            .collect::<Option<_>>()
            .ok_or_else(|| CountsError::NotCounts { path: path.to_owned() })?;
        Ok(Some(Self { pid: account.pid, started_ns: account.started_ns, rows }))
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
            capture: u64_at(bytes, 48)?,
            asked: u64_at(bytes, 56)?,
            returned: u64_at(bytes, 64)?,
            failed: u64_at(bytes, 72)?,
            discarded: u64_at(bytes, 80)?,
            replayed: u64_at(bytes, 88)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{FUNCTIONS, HEADER_BYTES};
    use proptest::prelude::*;

    /// A file with one row, as the simulator lays it out.
    fn file() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + ROW_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        for (offset, value) in [(8, 1u32), (12, ROW_BYTES as u32), (16, 4711), (20, 1)] {
            bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes[24..32].copy_from_slice(&99u64.to_le_bytes());
        bytes[FUNCTIONS..FUNCTIONS + 8].copy_from_slice(b"ncclSend");
        let row = &mut bytes[HEADER_BYTES..];
        for (offset, value) in [(0, 2u32), (12, 9), (32, 2), (36, 1), (40, 0)] {
            row[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        for (offset, value) in
            [(16, 0xabcu64), (24, 4096), (48, 5), (56, 7), (64, 6), (72, 1), (80, 2), (88, 30)]
        {
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
            capture: 5,
            asked: 7,
            returned: 6,
            failed: 1,
            discarded: 2,
            replayed: 30,
        };
        assert_eq!((row.accepted(), row.carried_out()), (3, (Launch::Graph, 30)));
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
