//! The memory behind a ring file: how much there is, and how it is had.
#![allow(unsafe_code)]

use nccltap_proto::ringfile::Layout;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;

/// A new ring takes memory only while this many times its size is free: shared memory is the host's.
pub(super) const FREE_SHARE: u64 = 4;

/// Rings are made smaller, down to [`FEWEST_RECORDS`], until so many of them would fit into what is
/// free when the tap comes to life: eight workers with a ring each may not take more than a quarter.
const ROOM_FOR_RINGS: u64 = 8 * FREE_SHARE;

/// Records of a ring that is not made smaller.
const FEWEST_RECORDS: u64 = 4096;

/// The layout with rings no larger than the free bytes allow, and no longer than a file may be.
pub(super) fn fit(mut layout: Layout, free: Option<u64>, largest: Option<u64>) -> Layout {
    let too_large = |layout: &Layout| {
        free.is_some_and(|free| layout.ring_bytes() as u64 * ROOM_FOR_RINGS > free)
            || largest.is_some_and(|largest| layout.file_bytes() as u64 > largest)
    };
    while layout.ring_records > FEWEST_RECORDS && too_large(&layout) {
        layout.ring_records /= 2;
    }
    while layout.rings > 1 && largest.is_some_and(|most| layout.file_bytes() as u64 > most) {
        layout.rings /= 2;
    }
    layout
}

/// Longest file this process may write, where there is a limit (RLIMIT_FSIZE).
pub(super) fn largest_file() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Maps a part of the file, for reading and writing, shared.
pub(super) fn map_shared(file: &File, offset: usize, bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping of a file that is ours, at a place of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    match NonNull::new(base.cast::<u8>()) {
        Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(base),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A file in memory that has no name, for processes whose directory cannot hold one.
pub(super) fn nameless_file() -> io::Result<File> {
    // SAFETY: the name is a C string; the descriptor is new, and nobody else has it.
    unsafe {
        match libc::memfd_create(c"nccltap".as_ptr(), libc::MFD_CLOEXEC) {
            descriptor if descriptor >= 0 => Ok(File::from_raw_fd(descriptor)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Takes the lock that says the owner lives. It goes with the process, whatever ends it.
pub(super) fn lock(file: &File) -> io::Result<()> {
    // SAFETY: all zeros is a valid flock: the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: the descriptor is open, `lock` is valid.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes free in the file system of `file`.
pub(super) fn free_bytes(file: &File) -> Option<u64> {
    // SAFETY: zeros are a valid statvfs.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, `status` is valid.
    let known = unsafe { libc::fstatvfs(file.as_raw_fd(), &mut status) } == 0;
    // A tmpfs without a limit says that it has no blocks at all.
    (known && status.f_blocks != 0).then(|| status.f_bavail.saturating_mul(status.f_frsize))
}

/// Writes `text` into a field and fills it up with zeros, at least one.
pub(crate) fn fill(field: &mut [u8], text: &[u8]) {
    let zero = std::iter::repeat(&0);
    let room = field.len().saturating_sub(1);
    for (place, byte) in field.iter_mut().zip(text.iter().take(room).chain(zero)) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Layout = Layout { rings: 64, ring_records: 65_536 };

    #[test]
    fn rings_shrink_with_the_room_there_is() {
        let records = |free| fit(WISH, free, None).ring_records;
        assert_eq!(records(None), 65_536);
        assert_eq!(records(Some(16 << 30)), 65_536);
        // The 64 MiB that a container gets when nobody asks for more.
        assert_eq!(records(Some(64 << 20)), 16_384);
        assert_eq!(records(Some(0)), FEWEST_RECORDS);
    }

    #[test]
    fn the_file_stays_below_what_the_process_may_write() {
        for largest in [100 << 20, 8 << 20, 2 << 20] {
            let layout = fit(WISH, None, Some(largest));
            assert!(layout.file_bytes() as u64 <= largest, "{layout:?} of {largest}");
            assert!(layout.is_valid());
        }
    }

    #[test]
    fn a_ring_that_was_asked_to_be_small_stays_as_it_is() {
        let wish = Layout { rings: 1, ring_records: 64 };
        assert_eq!(fit(wish, Some(0), None), wish);
    }

    #[test]
    fn text_is_cut_so_that_a_zero_ends_it() {
        let mut field = [9; 4];
        fill(&mut field, b"abcdef");
        assert_eq!(field, *b"abc\0");
        fill(&mut field, b"a");
        assert_eq!(field, *b"a\0\0\0");
    }
}
