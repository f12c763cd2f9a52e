//! What the simulated CUDA was asked, by its own account: captures, the executables that graphs were
//! made into, their launches, and kernels and copies that move data between GPUs beside NCCL.
//!
//! Beside the file of [`crate::counts`], each process with the simulated CUDA keeps a file
//! `PID-STARTNS.cuda`, from its first capture, such kernel or copy on. `cuda/core/record.c` writes it. It
//! has room for 65536 rows: captures, executables with one row per entry of their manifests, kernels and
//! copies; a process that makes more is an error to read, never silently short.
//!
//! Two independent accounts tell what graph launches carried out. Each launch counts every operation
//! in its row ([`crate::counts::Row::replayed`]); and launches times manifest times captured calls say
//! the same, which [`Graphs::check`] verifies.

use crate::account::{Account, CountsError, read_all, text};
use crate::bytes::{i32_at, u32_at, u64_at};
use crate::counts::Counts;
use std::collections::BTreeMap;
use std::path::Path;

const MAGIC: &[u8; 8] = b"CUDASIM1";
const ROW_BYTES: usize = 256;
const CAPTURE: u32 = 1;
const EXECUTABLE: u32 = 2;
const PART: u32 = 3;
const KERNEL: u32 = 4;
const PEER_COPY: u32 = 5;
const KERNEL_NAME: usize = 40;
const UNKNOWN_BYTES: u64 = u64::MAX;

/// What all processes of a run asked of CUDA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graphs {
    /// The processes, in order of their first such call.
    pub processes: Vec<Process>,
}

/// What one process asked of CUDA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When the file was begun: nanoseconds since 1970.
    pub started_ns: u64,
    /// Stream captures, in order of their beginning.
    pub captures: Vec<Capture>,
    /// What graphs were made into, in order.
    pub executables: Vec<Executable>,
    /// Kernels that move data between GPUs.
    pub kernels: Vec<Kernel>,
    /// Copies that name both devices.
    pub peer_copies: Vec<PeerCopy>,
}

/// A stream capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// As cudaStreamGetCaptureInfo tells it; unique in the process.
    pub id: u64,
    /// The graph that it fills; unique in the process.
    pub graph: u64,
    /// The device of its stream.
    pub device: i32,
    /// Nodes that it added.
    pub nodes: u64,
    /// Of these, operations of NCCL.
    pub operations: u64,
    /// Of these, kernels, with operations.
    pub kernels: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on, or its process ended in the midst of it.
    GoingOn,
    /// It became a graph.
    Ended,
    /// It failed: there is no graph.
    Failed,
}

/// What a graph was made into. An update that changes it begins a new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Unique in the process.
    pub id: u64,
    /// 0 as instantiated, then one more with each update.
    pub generation: u64,
    /// The graph it was made from.
    pub graph: u64,
    /// The device.
    pub device: i32,
    /// Nodes that one launch carries out, with those of child graphs.
    pub nodes: u64,
    /// Of these, operations of NCCL, and kernels and copies that move data between GPUs.
    pub operations: u64,
    /// Launches of this generation.
    pub launches: u64,
    /// Whether it was destroyed, or updated away.
    pub destroyed: bool,
    /// The manifest: captures, and how often one launch carries out each.
    pub parts: Vec<(u64, u64)>,
}

/// A kernel that moves data between GPUs by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Mangled name; past 199 bytes it is cut.
    pub name: String,
    /// Bytes that the GPU puts in, per launch, where the kernel's arguments tell.
    pub bytes: Option<u64>,
    /// The device of the first launch.
    pub device: i32,
    /// Launches that were carried out at once.
    pub launched: u64,
    /// Launches that became part of graphs.
    pub captured: u64,
    /// How often graph launches carried those out.
    pub replayed: u64,
}

/// Copies that name both devices, of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCopy {
    /// The device that they come from.
    pub from: i32,
    /// The device that they go to; it may be the same.
    pub to: i32,
    /// Bytes of one.
    pub bytes: u64,
    /// Those that were carried out at once.
    pub carried_out: u64,
    /// Those that became part of graphs.
    pub captured: u64,
    /// How often graph launches carried those out.
    pub replayed: u64,
}

impl Graphs {
    /// Reads what every process kept in `directory`.
    pub fn read(directory: &Path) -> Result<Self, CountsError> {
        let mut processes = read_all(directory, "cuda", Process::parse)?;
        processes.sort_by_key(|process: &Process| (process.started_ns, process.pid));
        Ok(Self { processes })
    }

    /// What one process asked, or `None` when it never captured. Where a pid was used twice, the
    /// first of them.
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }

    /// Compares the two accounts of what graph launches carried out; see the module. One sentence per
    /// difference. Meaningful once the processes have ended, and only for graphs out of which no node
    /// was taken by hand.
    pub fn check(&self, counts: &Counts) -> Vec<String> {
        let mut differences = Vec::new();
        for process in &counts.processes {
            let replays = self.process(process.pid).map(Process::replays).unwrap_or_default();
            for row in process.rows.iter().filter(|row| row.capture != 0) {
                let replays = replays.get(&row.capture).copied().unwrap_or(0);
                if row.accepted() * replays != row.replayed {
                    differences.push(format!(
                        "process {}: {} of {} elements was captured {} times in capture {}, which was \
                         replayed {replays} times, but carried out {} times",
                        process.pid, row.function, row.count, row.accepted(), row.capture, row.replayed
                    ));
                }
            }
        }
        differences
    }
}

impl Process {
    /// How often each capture was carried out: launches of executables times their manifests.
    pub fn replays(&self) -> BTreeMap<u64, u64> {
        let mut replays = BTreeMap::new();
        for executable in &self.executables {
            for (capture, times) in &executable.parts {
                *replays.entry(*capture).or_default() += times * executable.launches;
            }
        }
        replays
    }

    /// Graph launches, over all executables.
    pub fn launches(&self) -> u64 {
        self.executables.iter().map(|executable| executable.launches).sum()
    }

    /// Reads a file. `None` when its process was killed before it had begun the file.
    fn parse(bytes: &[u8], path: &Path) -> Result<Option<Self>, CountsError> {
        let Some(account) = Account::parse(bytes, path, MAGIC, ROW_BYTES)? else { return Ok(None) };
        let mut process =
            Self { pid: account.pid, started_ns: account.started_ns, ..Self::default() };
        for row in account.rows() {
            process.take(row).ok_or_else(|| CountsError::NotCounts { path: path.to_owned() })?;
        }
        Ok(Some(process))
    }

    fn take(&mut self, row: &[u8]) -> Option<()> {
        match u32_at(row, 0)? {
            CAPTURE => self.captures.push(Capture::parse(row)?),
            EXECUTABLE => self.executables.push(Executable::parse(row)?),
            PART => {
                let of = (u64_at(row, 8)?, u64_at(row, 16)?);
                let mut executables = self.executables.iter_mut().rev();
                let executable = executables.find(|it| (it.id, it.generation) == of)?;
                executable.parts.push((u64_at(row, 24)?, u64_at(row, 32)?));
            }
            KERNEL => self.kernels.push(Kernel::parse(row)?),
            PEER_COPY => self.peer_copies.push(PeerCopy::parse(row)?),
            0 => {}
            _ => return None,
        }
        Some(())
    }
}

impl Capture {
    fn parse(row: &[u8]) -> Option<Self> {
        Some(Self {
            device: i32_at(row, 4)?,
            id: u64_at(row, 8)?,
            graph: u64_at(row, 16)?,
            nodes: u64_at(row, 24)?,
            operations: u64_at(row, 32)?,
            kernels: u64_at(row, 40)?,
            outcome: match u32_at(row, 48)? {
                0 => Outcome::GoingOn,
                1 => Outcome::Ended,
                2 => Outcome::Failed,
                _ => return None,
            },
        })
    }
}

impl Executable {
    fn parse(row: &[u8]) -> Option<Self> {
        Some(Self {
            device: i32_at(row, 4)?,
            id: u64_at(row, 8)?,
            generation: u64_at(row, 16)?,
            graph: u64_at(row, 24)?,
            nodes: u64_at(row, 32)?,
            operations: u64_at(row, 40)?,
            launches: u64_at(row, 48)?,
            destroyed: u32_at(row, 56)? != 0,
            parts: Vec::new(),
        })
    }
}

impl Kernel {
    fn parse(row: &[u8]) -> Option<Self> {
        Some(Self {
            device: i32_at(row, 4)?,
            bytes: Some(u64_at(row, 8)?).filter(|bytes| *bytes != UNKNOWN_BYTES),
            launched: u64_at(row, 16)?,
            captured: u64_at(row, 24)?,
            replayed: u64_at(row, 32)?,
            name: text(row.get(KERNEL_NAME..KERNEL_NAME + 200)?),
        })
    }
}

impl PeerCopy {
    fn parse(row: &[u8]) -> Option<Self> {
        Some(Self {
            from: i32_at(row, 8)?,
            to: i32_at(row, 12)?,
            bytes: u64_at(row, 16)?,
            carried_out: u64_at(row, 24)?,
            captured: u64_at(row, 32)?,
            replayed: u64_at(row, 40)?,
        })
    }
}
