//! What `libnccltap.so` and `libnccltap_uplink.so` say to each other.
//!
//! The first is in every process that inherits `LD_PRELOAD`, so it has to be small; the second has the
//! gRPC stack, and is opened where NCCL is used. It moves encoded messages and knows nothing of what is in
//! them. Between the two there is C: each has a Rust runtime of its own, and they may have been built
//! apart. No panic crosses.

use std::ffi::{CStr, c_int};

/// File name of the second library. It lies beside the first.
pub const LIBRARY: &str = "libnccltap_uplink.so";

/// The one symbol it exports: an [`Interface`].
pub const SYMBOL: &CStr = c"nccltap_uplink";

/// Version of [`Interface`]. Raised with every change to anything in this file.
pub const VERSION: u32 = 1;

/// Bytes of the caller's, for the length of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Borrowed {
    /// The first of them.
    pub start: *const u8,
    /// How many.
    pub length: usize,
}

impl Borrowed {
    /// No bytes.
    pub const fn none() -> Self {
        Self::of(&[])
    }

    /// These bytes.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }
}

/// How a call went. A number, since the other side may be of a version that has more of them.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(pub u32);

impl Outcome {
    /// It is done.
    pub const DONE: Self = Self(0);
    /// A message has come.
    pub const MESSAGE: Self = Self(1);
    /// Nothing has come until the patience was at an end, or somebody called [`Interface::wake`].
    pub const NOTHING: Self = Self(2);
    /// The other side has ended the stream in good order.
    pub const ENDED: Self = Self(3);
    /// The stream is broken, or there is none.
    pub const BROKEN: Self = Self(4);
    /// Nobody is there.
    pub const UNREACHABLE: Self = Self(5);
    /// Whoever is there belongs to another user, and was told nothing.
    pub const FOREIGN: Self = Self(6);
    /// Whoever is there does not want the stream.
    pub const REFUSED: Self = Self(7);
}

/// What the second library calls in the first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// A panic begins, on this thread. Need not return.
    pub panicked: extern "C" fn(),
    /// The stream goes through this descriptor.
    pub socket_opened: extern "C" fn(c_int),
    /// This descriptor is about to be closed.
    pub socket_closing: extern "C" fn(c_int),
}

/// Where to connect, and how.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// An [`Address`](crate::address::Address), as text.
    pub address: Borrowed,
    /// The gRPC method, `/SERVICE/METHOD`: a stream of messages each way.
    pub method: Borrowed,
    /// A socket on this host may belong to this user, or to root.
    pub user: u32,
    /// Longest wait for the connection, and again for the answer, in milliseconds.
    pub patience_ms: u64,
}

/// The second library, opened. Its insides are its own.
#[repr(C)]
#[derive(Debug)]
pub struct Uplink {
    insides: [u8; 0],
}

/// The functions of the second library. All but `wake` are called by one thread.
#[repr(C)]
#[derive(Debug)]
pub struct Interface {
    /// [`VERSION`]. First in every version, and to be read before anything else.
    pub version: u32,
    /// Called once in a process, and in each forked child anew. Null when there are no resources for it.
    pub open: unsafe extern "C" fn(Host) -> *mut Uplink,
    /// Connects and opens a stream, with this as its first message. Ends the stream there was.
    /// `DONE`, or `UNREACHABLE`, `FOREIGN`, `REFUSED`, `BROKEN`.
    pub connect: unsafe extern "C" fn(*const Uplink, Destination, first: Borrowed) -> Outcome,
    /// Whether a message can be sent now: 1, or 0.
    pub has_room: unsafe extern "C" fn(*const Uplink) -> u32,
    /// Sends a message. `DONE`, or `BROKEN` when there is no stream or no room.
    pub send: unsafe extern "C" fn(*const Uplink, Borrowed) -> Outcome,
    /// Waits for a message, at most so many microseconds, and does the sending meanwhile. The bytes are
    /// valid until the next call. `MESSAGE`, `NOTHING`, `ENDED` or `BROKEN`; without a stream it rests, and then
    /// says `NOTHING`.
    pub receive: unsafe extern "C" fn(*const Uplink, u64, message: *mut Borrowed) -> Outcome,
    /// Says that nothing more will be sent on this stream.
    pub finish: unsafe extern "C" fn(*const Uplink),
    /// Gives up the stream.
    pub close: unsafe extern "C" fn(*const Uplink),
    /// Lets `receive` return, the one under way or else the next. May be called by any thread.
    pub wake: unsafe extern "C" fn(*const Uplink),
}
