//! A process killed in the middle of calls, and what is known of it afterwards.
//!
//! The host keeps its own witness, apart from the simulator: per thread, calls begun and calls that
//! came back to it. A call that came back was completed, whatever happened a nanosecond later.

use crate::collector::Collector;
use crate::hosts::Linkage;
use crate::stage::Stage;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Threads that call; each with its own count argument, from 1.
pub const THREADS: u64 = 3;

/// What became of the calls of one killed process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// Calls begun, by the host's own account.
    pub begun: u64,
    /// Calls that came back to the host.
    pub completed: u64,
    /// Calls in the collector's counts.
    pub recovered: u64,
    /// Calls the tap counted as dropped.
    pub dropped: u64,
    /// Threads of which a completed call is neither in the counts nor counted as dropped.
    pub threads_with_a_loss: u64,
    /// Threads with more calls in the counts than were begun: one was counted twice, or torn.
    pub threads_with_too_many: u64,
    /// Records that never reached the collector, torn ones among them.
    pub lost: u64,
    /// Calls inside NCCL when the process died, named as such.
    pub in_flight: u64,
    /// Of these, such as no thread was making.
    pub in_flight_wrong: u64,
    /// Calls inside the simulator when the process died, by its own account, that are not named,
    /// though there was room to record them.
    pub in_flight_unnamed: u64,
}

/// How a host calls until it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Turns of an empty loop between two calls of a thread.
    pub gap: u64,
    /// Nanoseconds for which the simulator keeps the processor busy in each call.
    pub call_ns: u64,
}

impl Killed {
    /// Adds what became of another.
    pub fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.completed += other.completed;
        self.recovered += other.recovered;
        self.dropped += other.dropped;
        self.threads_with_a_loss += other.threads_with_a_loss;
        self.threads_with_too_many += other.threads_with_too_many;
        self.lost += other.lost;
        self.in_flight += other.in_flight;
        self.in_flight_wrong += other.in_flight_wrong;
    }

    /// Whether nothing was lost, nothing counted twice, and no call named that was not made.
    pub fn is_exact(&self) -> bool {
        self.threads_with_a_loss + self.threads_with_too_many + self.lost + self.in_flight_wrong
            == 0
    }
}

/// Starts a host that calls in [`THREADS`] threads, kills it after `delay`, and compares.
///
/// `delay` is part of what is tried, not something that is waited for: any moment must do.
///
/// # Panics
/// When the host or the collector does not do its part.
pub fn kill_under_load(
    stage: &Stage,
    collector: &Collector,
    delay: Duration,
    load: Load,
) -> Killed {
    stage.forget_counts();
    let witness = stage.path().join("witness");
    let mut host = stage
        .host("under_load", Linkage::Lazy)
        .arg(&witness)
        .arg(THREADS.to_string())
        .arg(load.gap.to_string())
        .env("NCCLTAP_REHEARSAL_CALL_NS", load.call_ns.to_string())
        .start();
    host.wait_for_line("calling");
    std::thread::sleep(delay);
    let host = host.kill();
    let process = collector.ended(host.pid);
    let rows = collector.rows();
    let recovered_of = |thread: u64| -> u64 {
        let calls = rows.0.iter().filter(|(call, _)| call.pid == host.pid);
        calls.filter(|(call, _)| call.elements == Some(thread)).map(|(_, count)| count).sum()
    };
    let mut killed = Killed {
        dropped: process.accounting.dropped + process.accounting.unrecorded,
        lost: process.accounting.lost + process.accounting.pending,
        in_flight: process.in_flight.len() as u64,
        ..Killed::default()
    };
    let counts = stage.counts();
    let inside_simulator = |thread: u64| {
        let rows = counts.process(host.pid).into_iter().flat_map(|process| &process.rows);
        rows.filter(|row| row.function == "ncclAllReduce" && row.count == thread)
            .any(|row| row.asked > row.returned)
    };
    let mut missing = 0;
    for (thread, [begun, completed]) in (1..).zip(read_witness(&witness)) {
        let recovered = recovered_of(thread);
        killed.begun += begun;
        killed.completed += completed;
        killed.recovered += recovered;
        // Which thread a dropped call was of is not told: the dropped may make up for any.
        missing += completed.saturating_sub(recovered);
        killed.threads_with_a_loss += u64::from(missing > killed.dropped);
        killed.threads_with_too_many += u64::from(recovered > begun);
        let named = process.in_flight.iter().filter(|call| call.elements == thread).count() as u64;
        killed.in_flight_wrong += named.saturating_sub(begun - recovered.min(begun));
        let unnamed = inside_simulator(thread) && named == 0 && killed.dropped == 0;
        killed.in_flight_unnamed += u64::from(unnamed);
    }
    let of_threads = |function: &Option<String>| function.as_deref() == Some("ncclAllReduce");
    killed.in_flight_wrong +=
        process.in_flight.iter().filter(|call| !of_threads(&call.function)).count() as u64;
    killed
}

/// What became of the launches of one process that was killed while it launched graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KilledLaunches {
    /// Launches begun, by the host's own account.
    pub begun: u64,
    /// Launches that came back to the host.
    pub completed: u64,
    /// Launches in the collector's counts.
    pub recovered: u64,
    /// Launches the tap counted as dropped.
    pub dropped: u64,
    /// Operations in the ledger, which must be [`OPERATIONS_PER_LAUNCH`] for each launch.
    pub operations: u64,
    /// Launches of which it is not known what they carried out.
    pub unknown: u64,
}

/// What each graph of a host that launches until it is killed holds.
pub const OPERATIONS_PER_LAUNCH: u64 = 3;

impl KilledLaunches {
    /// Adds what became of another.
    pub fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.completed += other.completed;
        self.recovered += other.recovered;
        self.dropped += other.dropped;
        self.operations += other.operations;
        self.unknown += other.unknown;
    }

    /// Whether every launch that came back is known or counted as dropped, with all that it carried out, and none
    /// that was not begun.
    pub fn is_exact(&self) -> bool {
        self.recovered + self.dropped >= self.completed
            && self.recovered <= self.begun
            && self.unknown == 0
            && self.operations == OPERATIONS_PER_LAUNCH * self.recovered
    }
}

/// Starts a host that launches graphs, kills it after `delay`, and gives its process and the launches it had begun and
/// completed by its own account.
///
/// # Panics
/// When the host does not do its part.
pub fn kill_while_launching(stage: &Stage, delay: Duration) -> (u32, [u64; 2]) {
    let witness = stage.path().join("witness");
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("until_killed").arg(&witness);
    let mut host = host.start();
    host.wait_for_line("launching");
    std::thread::sleep(delay);
    let pid = host.kill().pid;
    let counted = read_witness(&witness).first().copied();
    (pid, counted.expect("the host has written down what it launched"))
}

/// What a collector knows of the launches of a process that was killed.
pub fn launches_known(
    collector: &Collector,
    pid: u32,
    [begun, completed]: [u64; 2],
) -> KilledLaunches {
    let process = collector.ended(pid);
    let rows = collector.rows();
    let of_process = rows.0.iter().filter(|(call, _)| call.pid == pid);
    KilledLaunches {
        begun,
        completed,
        recovered: process.launches.with_operations,
        dropped: process.accounting.dropped + process.accounting.unrecorded,
        operations: of_process.map(|(_, count)| count).sum(),
        unknown: process.launches.unknown,
    }
}

/// The two counters of each thread.
fn read_witness(path: &Path) -> Vec<[u64; 2]> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    bytes.chunks_exact(64).map(|thread| [word(&thread[..8]), word(&thread[8..16])]).collect()
}
