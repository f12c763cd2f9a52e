//! Trouble that the tap stepped around, counted.
//!
//! Nothing of it is told to the host. The counts travel with every report and stand in the ring
//! file, and the collector shows them.

use crate::life;
pub(crate) use nccltap_proto::faults::Fault;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
