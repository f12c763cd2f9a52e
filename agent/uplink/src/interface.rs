//! The functions that are called from the other library. No panic leaves them.

use crate::stream::{Destination, Link, NoStream, Received};
use bytes::Bytes;
use nccltap_proto::uplink::{self, Borrowed, Host, Interface, Outcome, Uplink, VERSION};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
static nccltap_uplink: Interface =
    Interface { version: VERSION, open, connect, has_room, send, receive, finish, close, wake };

/// What an [`Uplink`] is in here.
struct Opened {
    link: Link,
    host: Host,
    /// What was received last: the caller reads it until the next call.
    received: Mutex<Bytes>,
}

/// Does `work`; a panic in it goes no further.
fn contained<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(otherwise)
}

/// # Safety
/// `uplink` is what `open` has given.
unsafe fn opened<'a>(uplink: *const Uplink) -> &'a Opened {
    // SAFETY: by the contract of this function; it is never freed.
    unsafe { &*uplink.cast::<Opened>() }
}

/// # Safety
/// The bytes are valid for as long as the result is used.
unsafe fn bytes<'a>(borrowed: Borrowed) -> &'a [u8] {
    if borrowed.length == 0 {
        return &[];
    }
    // SAFETY: by the contract of this function.
    unsafe { std::slice::from_raw_parts(borrowed.start, borrowed.length) }
}

unsafe extern "C" fn open(host: Host) -> *mut Uplink {
    contained(std::ptr::null_mut(), || {
        // The text of a panic belongs to us, and not on the host's screen.
        std::panic::set_hook(Box::new(move |_| (host.panicked)()));
        match Link::new() {
            Ok(link) => {
                let opened = Opened { link, host, received: Mutex::default() };
                // Never taken down: at the end of the process, its descriptors may be the host's.
                Box::into_raw(Box::new(opened)).cast()
            }
            Err(_) => std::ptr::null_mut(),
        }
    })
}

unsafe extern "C" fn connect(
    uplink: *const Uplink,
    to: uplink::Destination,
    first: Borrowed,
) -> Outcome {
    contained(Outcome::BROKEN, || {
        // SAFETY: the caller's promise, for all three.
        let (opened, address, method) =
            unsafe { (opened(uplink), bytes(to.address), bytes(to.method)) };
        // SAFETY: as above.
        let first = Bytes::copy_from_slice(unsafe { bytes(first) });
        let address = str::from_utf8(address).ok().and_then(|text| text.parse().ok());
        let (Some(address), Ok(method)) = (address, method.try_into()) else {
            return Outcome::UNREACHABLE;
        };
        let to = Destination {
            address,
            method,
            user: to.user,
            patience: Duration::from_millis(to.patience_ms),
            host: opened.host,
        };
        match opened.link.connect(&to, first) {
            Ok(()) => Outcome::DONE,
            Err(NoStream::Unreachable) => Outcome::UNREACHABLE,
            Err(NoStream::Foreign) => Outcome::FOREIGN,
            Err(NoStream::Refused) => Outcome::REFUSED,
            Err(NoStream::Silent) => Outcome::BROKEN,
        }
    })
}

unsafe extern "C" fn has_room(uplink: *const Uplink) -> u32 {
    // SAFETY: the caller's promise.
    contained(0, || u32::from(unsafe { opened(uplink) }.link.has_room()))
}

unsafe extern "C" fn send(uplink: *const Uplink, message: Borrowed) -> Outcome {
    contained(Outcome::BROKEN, || {
        // SAFETY: the caller's promise, for both.
        let (opened, message) = unsafe { (opened(uplink), bytes(message)) };
        match opened.link.send(Bytes::copy_from_slice(message)) {
            true => Outcome::DONE,
            false => Outcome::BROKEN,
        }
    })
}

unsafe extern "C" fn receive(
    uplink: *const Uplink,
    patience_us: u64,
    message: *mut Borrowed,
) -> Outcome {
    contained(Outcome::BROKEN, || {
        // SAFETY: the caller's promise.
        let opened = unsafe { opened(uplink) };
        match opened.link.receive(Duration::from_micros(patience_us)) {
            Received::Message(received) => {
                // SAFETY: the caller's promise; the bytes stay where they are while `received` is kept.
                unsafe { message.write(Borrowed::of(&received)) };
                *opened.received.lock().unwrap_or_else(PoisonError::into_inner) = received;
                Outcome::MESSAGE
            }
            Received::Nothing => Outcome::NOTHING,
            Received::Ended => Outcome::ENDED,
            Received::Broken => Outcome::BROKEN,
        }
    })
}

unsafe extern "C" fn finish(uplink: *const Uplink) {
    // SAFETY: the caller's promise.
    contained((), || unsafe { opened(uplink) }.link.finish());
}

unsafe extern "C" fn close(uplink: *const Uplink) {
    // SAFETY: the caller's promise.
    contained((), || unsafe { opened(uplink) }.link.close());
}

unsafe extern "C" fn wake(uplink: *const Uplink) {
    // SAFETY: the caller's promise.
    contained((), || unsafe { opened(uplink) }.link.wake());
}
