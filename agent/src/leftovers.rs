//! Ring files that dead processes left and no collector has taken.
//!
//! Where no collector ever runs, each killed worker leaves one. They must not fill the host's shared
//! memory, so a new process removes the oldest when there are too many.
#![allow(unsafe_code)]

use nccltap_proto::ringfile::{FILE_PREFIX, FILE_SUFFIX};
use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// So many are kept for a collector that may yet come.
const KEPT: usize = 64;

/// A file is left alone for so long after it was last written.
const GRACE: Duration = Duration::from_secs(600);

/// Removes the oldest ring files of dead processes of this user beyond [`KEPT`].
pub(crate) fn bound(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let name = name.to_str()?;
            let ours = name.starts_with(FILE_PREFIX) && name.ends_with(FILE_SUFFIX);
            let facts = ours.then(|| entry.metadata().ok()).flatten()?;
            let mine = facts.is_file() && facts.uid() == crate::ffi::user_id();
            mine.then(|| Some((facts.modified().ok()?, entry.path()))).flatten()
        })
        .collect();
    let surplus = files.len().saturating_sub(KEPT);
    files.sort();
    for (modified, path) in files.into_iter().take(surplus) {
        if modified.elapsed().is_ok_and(|age| age > GRACE) && is_dead(&path) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether nobody holds the lock of the file.
fn is_dead(path: &Path) -> bool {
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    let Ok(file) = opened else { return false };
    // SAFETY: zeros are a valid flock: the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: the descriptor is open, `lock` is valid.
    let known = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) } == 0;
    known && lock.l_type == libc::F_UNLCK as libc::c_short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_files_beyond_the_bound_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - 2 * GRACE;
        for number in 0..KEPT + 3 {
            let path = directory.path().join(format!("{FILE_PREFIX}{number}-1{FILE_SUFFIX}"));
            let file = fs::File::create(path).unwrap();
            if number < KEPT {
                file.set_modified(long_ago + Duration::from_secs(number as u64)).unwrap();
            }
        }
        fs::write(directory.path().join("somebody-elses"), "").unwrap();
        bound(directory.path());
        let left = || fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left(), KEPT + 1);
        assert!(!directory.path().join(format!("{FILE_PREFIX}0-1{FILE_SUFFIX}")).exists());
        assert!(directory.path().join(format!("{FILE_PREFIX}3-1{FILE_SUFFIX}")).exists());
        bound(directory.path());
        assert_eq!(left(), KEPT + 1);
    }
}
