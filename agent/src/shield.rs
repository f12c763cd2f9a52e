//! Between our own work and the host's thread it is done on: a panic goes no further, `errno` stays, a
//! cancellation waits.
#![allow(unsafe_code)]

use crate::faults::{self, Fault};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what is not on the hot path. A panic in it is counted and goes no further.
pub(crate) fn shielded<T>(work: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    if outcome.is_err() {
        faults::count(Fault::Panic);
    }
    outcome.ok()
}

/// While it is in scope, what the tap does on a host's thread does not show there: `errno` is put back
/// at the end, and a cancellation that is pending waits, since one that struck in our own system
/// calls would unwind through code that cannot be unwound.
pub(crate) struct Unseen {
    errno: c_int,
    cancel_state: c_int,
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// `PTHREAD_CANCEL_DISABLE` (pthread.h).
const CANCEL_DISABLE: c_int = 1;

impl Unseen {
    pub(crate) fn new() -> Self {
        let mut cancel_state = 0;
        // SAFETY: the location of errno is this thread's; the old state goes to a valid place.
        unsafe {
            let errno = *libc::__errno_location();
            pthread_setcancelstate(CANCEL_DISABLE, &mut cancel_state);
            Self { errno, cancel_state }
        }
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            pthread_setcancelstate(self.cancel_state, std::ptr::null_mut());
            *libc::__errno_location() = self.errno;
        }
    }
}
