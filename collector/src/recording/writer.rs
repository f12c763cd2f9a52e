//! Writing a recording, up to its limit.

use super::{ReadError, Reader};
use nccltap_proto::{RECORDING_MAGIC, v1};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Largest recording, in bytes, when no other limit is given: 16 GiB, 250 million calls.
pub const DEFAULT_LIMIT: u64 = 16 << 30;

/// Why a file cannot be recorded to.
#[derive(Debug)]
pub enum OpenError {
    /// It is there and is something else.
    Foreign(ReadError),
    /// It cannot be opened, read or written.
    Io(io::Error),
    /// Another collector is recording to it.
    InUse,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(error) => write!(f, "it exists, and {error}; choose another file"),
            Self::Io(error) => write!(f, "{error}"),
            Self::InUse => write!(f, "another collector is recording to it"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How a recording fares, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingState {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Why nothing more is recorded, or `None` while all is well.
    pub stopped: Option<String>,
}

/// Appends entries to a recording.
#[derive(Debug)]
pub struct Recorder {
    file: File,
    state: RecordingState,
    limit: u64,
    buffer: Vec<u8>,
}

impl Recorder {
    /// Opens `path`. If it is a recording already, `replay` is given its entries and new ones are
    /// appended behind the last whole one; if it is anything else, it is left alone.
    pub fn open(
        path: &Path,
        limit: u64,
        mut replay: impl FnMut(v1::RecordingEntry),
    ) -> Result<Self, OpenError> {
        let mut options = OpenOptions::new();
        // A recording holds command lines: it is for its owner only.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::InUse),
            other => other.map_err(io::Error::from)?,
        }
        let bytes = if file.metadata()?.len() == 0 {
            file.write_all(&RECORDING_MAGIC)?;
            RECORDING_MAGIC.len() as u64
        } else {
            let mut reader = Reader::new(BufReader::with_capacity(1 << 20, &file))
                .map_err(OpenError::Foreign)?;
            while let Some(entry) = reader.next_entry()? {
                replay(entry);
            }
            if *reader.tail() != super::Tail::Whole {
                tracing::warn!("{}: {}", path.display(), reader.tail());
            }
            let whole = reader.whole();
            file.set_len(whole)?;
            file.seek(SeekFrom::Start(whole))?;
            whole
        };
        let state = RecordingState { path: path.to_owned(), bytes, stopped: None };
        Ok(Self { file, state, limit, buffer: Vec::new() })
    }

    /// Appends an entry. When that fails, or would pass the limit, the recording stops for good:
    /// it ends with a whole entry and says why it is not complete.
    pub fn append(&mut self, entry: &v1::RecordingEntry) {
        if self.state.stopped.is_some() {
            return;
        }
        self.buffer.clear();
        if let Err(error) = entry.encode_length_delimited(&mut self.buffer) {
            return self.stop(format!("an entry could not be written: {error}"));
        }
        if self.state.bytes + self.buffer.len() as u64 > self.limit {
            return self.stop(format!("it has reached its limit of {} bytes", self.limit));
        }
        match self.file.write_all(&self.buffer) {
            Ok(()) => self.state.bytes += self.buffer.len() as u64,
            Err(error) => {
                // Part of the entry may be there: cut it off. If that fails too, the reader will.
                let _ = self.file.set_len(self.state.bytes);
                self.stop(format!("it could not be written: {error}"));
            }
        }
    }

    fn stop(&mut self, reason: String) {
        tracing::error!("recording {} has stopped: {reason}", self.state.path.display());
        self.state.stopped = Some(reason);
    }

    /// How the recording fares.
    pub fn state(&self) -> &RecordingState {
        &self.state
    }

    /// Waits until everything that was appended is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: u32) -> v1::RecordingEntry {
        let process = v1::Process { host: "node".into(), pid, ..Default::default() };
        v1::RecordingEntry { process: Some(process), ..Default::default() }
    }

    fn open(path: &Path, limit: u64) -> (Recorder, Vec<u32>) {
        let mut pids = Vec::new();
        let replay = |e: v1::RecordingEntry| pids.push(e.process.map_or(0, |p| p.pid));
        let recorder = Recorder::open(path, limit, replay).unwrap();
        (recorder, pids)
    }

    #[test]
    fn a_recording_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.rec");
        let (mut recorder, pids) = open(&path, DEFAULT_LIMIT);
        assert!(pids.is_empty());
        recorder.append(&entry(1));
        recorder.append(&entry(2));
        drop(recorder);
        // The writer was killed in the middle of an entry.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[90, 1, 2]).unwrap();
        let (mut recorder, pids) = open(&path, DEFAULT_LIMIT);
        assert_eq!(pids, [1, 2]);
        recorder.append(&entry(3));
        drop(recorder);
        assert_eq!(open(&path, DEFAULT_LIMIT).1, [1, 2, 3]);
    }

    #[test]
    fn a_file_that_is_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "do not lose me").unwrap();
        let error = Recorder::open(&path, DEFAULT_LIMIT, |_| {}).unwrap_err();
        assert!(error.to_string().contains("not a recording"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "do not lose me");
    }

    #[test]
    fn past_its_limit_it_stops_with_a_whole_entry_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.rec");
        let (mut recorder, _) = open(&path, 40);
        for pid in 1..10 {
            recorder.append(&entry(pid));
        }
        let reason = recorder.state().stopped.clone().unwrap();
        assert!(reason.contains("limit of 40 bytes"), "{reason}");
        assert!(recorder.state().bytes <= 40);
        drop(recorder);
        let pids = open(&path, DEFAULT_LIMIT).1;
        assert!(!pids.is_empty() && pids.iter().copied().eq(1..=pids.len() as u32));
    }

    #[test]
    fn two_collectors_do_not_record_to_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.rec");
        let first = open(&path, DEFAULT_LIMIT);
        assert!(matches!(Recorder::open(&path, 1, |_| {}), Err(OpenError::InUse)));
        drop(first);
    }
}
