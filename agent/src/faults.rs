//! Every reason for which the tap does less than it should, counted.
//!
//! Nothing here is told to the host. The counts travel with every report and stand in the ring
//! file, and the collector shows them.

use crate::life;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! faults {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal;)*) => {
        /// One kind of trouble.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[doc = $meaning])+ $variant,)* }

        impl Fault {
            /// Every kind, in the order in which the ring file has the counts.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Name on the wire.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

faults! {
    /// A setting had a value that could not be used; its default is in force.
    SettingRefused = "setting_refused";
    /// No ring file could be made: nothing is recorded in this process.
    NoRingFile = "no_ring_file";
    /// The file system that holds the rings had no room for one more.
    NoRoom = "no_room";
    /// More threads called NCCL at once than there are rings.
    NoRing = "no_ring";
    /// The drain thread could not be started: records stay in the ring file.
    NoThread = "no_thread";
    /// A call entered the tap while another call of the same thread was still in it.
    NestedCall = "nested_call";
    /// A call came through a linkage table and no NCCL could be found behind it.
    NoLibrary = "no_library";
    /// More copies of NCCL than can be told apart: the calls of the last ones are not recorded.
    TooManyLibraries = "too_many_libraries";
    /// More communicators than can be described in one process.
    TooManyCommunicators = "too_many_communicators";
    /// Calls on a communicator before the tap came to life in this process.
    BeforeStart = "before_start";
    /// A panic inside the tap, caught.
    Panic = "panic";
    /// The collector refused the stream.
    Refused = "refused";
    /// The stream to the collector broke and was opened anew.
    Reconnect = "reconnect";
    /// The socket of the collector belongs to another user.
    ForeignCollector = "foreign_collector";
}

const _: () = assert!(Fault::ALL.len() <= nccltap_proto::ringfile::FAULTS);

static COUNTS: [AtomicU64; Fault::ALL.len()] = [const { AtomicU64::new(0) }; Fault::ALL.len()];

/// Counts one more, in the ring file too: a process that is killed tells of its trouble all the same.
#[cold]
pub(crate) fn count(fault: Fault) {
    if let Some(counter) = COUNTS.get(fault as usize) {
        let count = counter.fetch_add(1, Relaxed) + 1;
        if let Some(agent) = life::agent() {
            agent.file.write_fault(fault, count);
        }
    }
}

/// How often each kind has occurred in this process, in the order of [`Fault::ALL`].
pub(crate) fn counts() -> impl Iterator<Item = (Fault, u64)> {
    Fault::ALL.iter().zip(&COUNTS).map(|(fault, counter)| (*fault, counter.load(Relaxed)))
}

/// Forgets everything: a forked child starts from nothing.
pub(crate) fn reset() {
    for counter in &COUNTS {
        counter.store(0, Relaxed);
    }
}
