//! Ring files on disk: whose they are, whether the owner lives, and what is in them.

use nccltap_proto::ringfile::{FILE_PREFIX, FILE_SUFFIX, HEADER_BYTES, RingFile, RingFileError};
use rustix::fs::{FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest ring file that is read. Agents make files of 257 MiB unless told otherwise; only what was
/// used of a file takes memory here.
pub const LARGEST_FILE: u64 = 4 << 30;

/// Why a file is not taken. It is left where it is.
#[derive(Debug)]
pub enum FileError {
    /// There is none.
    Missing,
    /// Its owner lives, or another collector is reading it.
    InUse,
    /// It cannot be opened or read.
    Io(io::Error),
    /// It is another user's, or no regular file.
    Foreign(&'static str),
    /// It is larger than [`LARGEST_FILE`].
    TooLarge(u64),
    /// It is not a ring file that can be read.
    Unreadable(RingFileError),
    /// It is a ring file and says what cannot be.
    Impossible(String),
    /// The collector has no room for one more process.
    Full(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there is no such file"),
            Self::InUse => write!(f, "its process is alive, or another collector reads it"),
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Foreign(why) => write!(f, "{why}"),
            Self::TooLarge(bytes) => {
                write!(f, "it has {bytes} bytes, more than the {LARGEST_FILE} that are read")
            }
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::Impossible(what) => write!(f, "it contradicts itself: {what}"),
            Self::Full(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

impl From<Errno> for FileError {
    fn from(error: Errno) -> Self {
        Self::from(io::Error::from(error))
    }
}

/// What tells one file from every other.
pub type FileId = (u64, u64);

/// The files in `dir` that are named as ring files are, in order of their names.
pub fn named_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_named_so = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(FILE_PREFIX.as_bytes()) && name.ends_with(FILE_SUFFIX.as_bytes())
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if is_named_so(&entry.file_name()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The ring file of a dead process, locked against every other reader.
#[derive(Debug)]
pub struct DeadFile {
    file: File,
    path: PathBuf,
    id: FileId,
    bytes: Vec<u8>,
}

impl DeadFile {
    /// Opens a file whose owner is dead, and reads it.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = open(path)?;
        lock(&file)?;
        let facts = file.metadata()?;
        if facts.nlink() == 0 {
            // Another collector was faster.
            return Err(FileError::Missing);
        }
        let bytes = read(&file, facts.len())?;
        RingFile::parse(&bytes).map_err(FileError::Unreadable)?;
        Ok(Self { file, path: path.to_owned(), id: (facts.dev(), facts.ino()), bytes })
    }

    /// What is in it.
    pub fn ring_file(&self) -> Result<RingFile<'_>, FileError> {
        RingFile::parse(&self.bytes).map_err(FileError::Unreadable)
    }

    /// Removes it, if it is still the file that was read.
    pub fn remove(self) -> io::Result<()> {
        let there = std::fs::symlink_metadata(&self.path)?;
        if (there.dev(), there.ino()) == self.id {
            std::fs::remove_file(&self.path)?;
        }
        drop(self.file);
        Ok(())
    }
}

/// Whether nobody holds the lock of the file.
pub fn is_dead(path: &Path) -> bool {
    open(path).is_ok_and(|file| lock(&file).is_ok())
}

fn lock(file: &File) -> Result<(), FileError> {
    match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(FileError::InUse),
        Err(error) => Err(error.into()),
    }
}

/// Device and inode of a file.
pub fn id(path: &Path) -> io::Result<FileId> {
    let facts = std::fs::symlink_metadata(path)?;
    Ok((facts.dev(), facts.ino()))
}

/// Whether nobody has written the file for so long.
pub fn is_older_than(path: &Path, age: Duration) -> bool {
    let written = std::fs::symlink_metadata(path).and_then(|facts| facts.modified());
    written.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > age))
}

/// The header of a ring file, whose owner may well be alive.
pub fn peek(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let mut page = vec![0; HEADER_BYTES];
    let mut filled = 0;
    while filled < page.len() {
        match file.read_at(&mut page[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    page.truncate(filled);
    Ok(page)
}

/// The bytes of a ring file, whose owner may well be alive and writing.
pub fn look_into(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    read(&file, length)
}

fn open(path: &Path) -> Result<File, FileError> {
    // Neither a link to somewhere else nor a pipe that nobody writes may hold this up.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(FileError::Foreign("it is a symbolic link")),
        Err(error) => return Err(error.into()),
    };
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(FileError::Foreign("it is not a regular file"));
    }
    let me = rustix::process::geteuid().as_raw();
    if facts.uid() != me && me != 0 {
        return Err(FileError::Foreign("it belongs to another user"));
    }
    if facts.len() > LARGEST_FILE {
        return Err(FileError::TooLarge(facts.len()));
    }
    Ok(file)
}

/// Reads a sparse file: what was never written takes neither time nor memory.
fn read(file: &File, length: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = vec![0; length as usize];
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data behind this point.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(length);
        let Some(part) = bytes.get_mut(start as usize..end as usize) else { break };
        match file.read_exact_at(part, start) {
            // The file was cut while it was read; its header will tell.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other?,
        }
        at = end.max(at + 1);
    }
    Ok(bytes)
}
