//! The descriptors that are the tap's, known by what they lead to.
//!
//! A host may close every descriptor it finds, ours too, and open files of its own that get the same
//! numbers. Then nothing of ours may touch them: neither send into a socket that is now a file, nor
//! close it.
#![allow(unsafe_code)]

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};

/// One descriptor, and what it led to when it was opened.
struct Descriptor {
    number: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

impl Descriptor {
    const fn none() -> Self {
        Self { number: AtomicI32::new(-1), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }

    fn note(&self, number: RawFd) {
        self.number.store(-1, Release);
        if let Some((device, inode)) = leads_to(number) {
            self.device.store(device, Release);
            self.inode.store(inode, Release);
            self.number.store(number, Release);
        }
    }

    /// The number, if there is one, and whether it still leads where it did.
    fn state(&self) -> Option<(RawFd, bool)> {
        let number = self.number.load(Acquire);
        let noted = (self.device.load(Acquire), self.inode.load(Acquire));
        (number >= 0).then(|| (number, leads_to(number) == Some(noted)))
    }

    fn is_intact(&self) -> bool {
        self.state().is_none_or(|(_, intact)| intact)
    }

    /// In a forked child: gives up the copy it has.
    fn give_up(&self) {
        if let Some((number, true)) = self.state() {
            // SAFETY: it is ours, and nothing in the child uses it.
            unsafe { libc::close(number) };
        }
        self.number.store(-1, Release);
    }
}

static RING_FILE: Descriptor = Descriptor::none();
static SOCKET: Descriptor = Descriptor::none();

/// Device and inode that a descriptor leads to.
fn leads_to(number: RawFd) -> Option<(u64, u64)> {
    // SAFETY: zeros are a valid stat, and `facts` is valid.
    let (known, facts) = unsafe {
        let mut facts: libc::stat = std::mem::zeroed();
        (libc::fstat(number, &mut facts) == 0, facts)
    };
    known.then_some((facts.st_dev, facts.st_ino))
}

/// The ring file is open under this number.
pub(crate) fn note_ring_file(number: RawFd) {
    RING_FILE.note(number);
}

/// The stream to the collector goes through this socket.
pub(crate) fn note_socket(number: RawFd) {
    SOCKET.note(number);
}

/// This socket is about to be closed. The one that was noted last may be another by now.
pub(crate) fn forget_socket(number: RawFd) {
    let _ = SOCKET.number.compare_exchange(number, -1, AcqRel, Relaxed);
}

/// Whether this number still leads to the ring file.
pub(crate) fn is_ring_file(number: RawFd) -> bool {
    RING_FILE.state() == Some((number, true)) || RING_FILE.state().is_none()
}

/// Whether nobody has closed what is ours.
pub(crate) fn are_intact() -> bool {
    RING_FILE.is_intact() && SOCKET.is_intact()
}

/// In a forked child: the parent's socket must end with the parent, not with its last child.
pub(crate) fn forked() {
    RING_FILE.give_up();
    SOCKET.give_up();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn a_number_that_leads_elsewhere_is_noticed_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name| File::create(directory.path().join(name)).unwrap();
        let (ours, theirs) = (open("ours"), open("theirs"));
        let noted = Descriptor::none();
        assert!(noted.is_intact());
        noted.note(ours.as_raw_fd());
        assert!(noted.is_intact());
        let number = ours.into_raw_fd();
        // SAFETY: both numbers are open; the first now leads to the second file.
        unsafe { libc::dup2(theirs.as_raw_fd(), number) };
        assert!(!noted.is_intact());
        noted.give_up();
        assert!(leads_to(number).is_some(), "it was not closed");
        // SAFETY: this test's own.
        unsafe { libc::close(number) };
    }
}
