//! Files in which the simulator keeps its own account: one per process and library, a header and a
//! table of rows. `common/account.c` makes them.

use crate::bytes::{u32_at, u64_at};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) const HEADER_BYTES: usize = 4096;

/// Where in the header of NCCL's files the names of its functions begin.
pub(crate) const FUNCTIONS: usize = 56;
const FUNCTION_BYTES: usize = 32;

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
                write!(f, "{} was not written by the simulator", path.display())
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

/// Reads every file with this extension in the directory, by `parse`.
pub(crate) fn read_all<T>(
    directory: &Path,
    extension: &str,
    mut parse: impl FnMut(&[u8], &Path) -> Result<Option<T>, CountsError>,
) -> Result<Vec<T>, CountsError> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
        let path = entry.map_err(|error| unreadable(directory, error))?.path();
        if path.extension().is_some_and(|it| it == extension) {
            let bytes = fs::read(&path).map_err(|error| unreadable(&path, error))?;
            all.extend(parse(&bytes, &path)?);
        }
    }
    Ok(all)
}

/// One such file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account<'a> {
    pub(crate) pid: u32,
    pub(crate) names: usize,
    pub(crate) started_ns: u64,
    pub(crate) header: &'a [u8],
    rows: &'a [u8],
    row_bytes: usize,
}

impl<'a> Account<'a> {
    /// Reads a file. `None` when its process was killed before it had begun the file.
    pub(crate) fn parse(
        bytes: &'a [u8],
        path: &Path,
        magic: &[u8; 8],
        row_bytes: usize,
    ) -> Result<Option<Self>, CountsError> {
        let header = bytes.get(..HEADER_BYTES).unwrap_or(bytes);
        match header.get(..8) {
            Some(found) if found == magic => {}
            _ if header.iter().all(|byte| *byte == 0) => return Ok(None),
            _ => return Err(CountsError::NotCounts { path: path.to_owned() }),
        }
        let account = Self::begun(bytes, header, row_bytes)
            .ok_or_else(|| CountsError::NotCounts { path: path.to_owned() })?;
        match u64_at(header, 32) {
            Some(0) => Ok(Some(account)),
            calls => {
                Err(CountsError::Overflow { path: path.to_owned(), calls: calls.unwrap_or(0) })
            }
        }
    }

    fn begun(bytes: &'a [u8], header: &'a [u8], row_bytes: usize) -> Option<Self> {
        let rows = u32_at(header, 8)? as usize;
        let whole = rows.checked_mul(row_bytes)?.checked_add(HEADER_BYTES)?;
        if u32_at(header, 12)? as usize != row_bytes || whole != bytes.len() {
            return None;
        }
        Some(Self {
            pid: u32_at(header, 16)?,
            names: u32_at(header, 20)? as usize,
            started_ns: u64_at(header, 24)?,
            header,
            rows: bytes.get(HEADER_BYTES..)?,
            row_bytes,
        })
    }

    /// The names of NCCL's functions, by number, in a file of NCCL's.
    pub(crate) fn functions(&self) -> Vec<String> {
        let names = self.header.get(FUNCTIONS..).unwrap_or_default();
        names.chunks_exact(FUNCTION_BYTES).take(self.names).map(text).collect()
    }

    /// All rows, those too that were never written.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.rows.chunks_exact(self.row_bytes)
    }
}

/// The text in a field of fixed size, up to the first zero.
pub(crate) fn text(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned()
}
