//! A host that calls at a steady rate, and what became of its calls.

use crate::collector::Collector;
use crate::hosts::Linkage;
use crate::stage::Stage;
use std::time::Duration;

/// What is known of a host that has called at a steady rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// Calls it made.
    pub calls: u64,
    /// The longest of them, as the host saw it.
    pub longest: Duration,
    /// 999 of 1000 calls were not longer than this.
    pub p999: Duration,
}

impl Steady {
    /// Reads the last line that the host `steady` prints.
    ///
    /// # Panics
    /// When it is not such a line.
    pub fn read(stdout: &str) -> Self {
        let line = stdout.lines().last().unwrap_or_default();
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [calls, longest, p999] = numbers[..] else {
            panic!("not what steady prints: {stdout}")
        };
        Self { calls, longest: Duration::from_nanos(longest), p999: Duration::from_nanos(p999) }
    }
}

/// What became of the calls of a steady host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soaked {
    /// What the host says.
    pub host: Steady,
    /// Operations that the simulator was asked for.
    pub asked: u64,
    /// Operations in the collector's counts.
    pub counted: u64,
    /// Calls the tap counted as dropped.
    pub dropped: u64,
}

/// Runs a host that makes `rate` calls a second for so long, in all its threads together.
///
/// # Panics
/// When host or collector does not do its part, or the collector's sums do not agree.
pub fn soak(stage: &Stage, collector: &Collector, rate: u64, seconds: u64, threads: u64) -> Soaked {
    let mut host = stage
        .host("steady", Linkage::Lazy)
        .arg((rate / threads).to_string())
        .arg(seconds.to_string())
        .arg(threads.to_string())
        .start();
    // The host sets its own pace; its end is waited for apart from any patience with the tap.
    host.wait_for_line("calling");
    std::thread::sleep(Duration::from_secs(seconds));
    let host = host.finish().succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    let of_process = |tally: crate::Tally| -> u64 {
        let calls = tally.0.iter().filter(|(call, _)| call.pid == host.pid);
        calls.map(|(_, count)| count).sum()
    };
    Soaked {
        host: Steady::read(&host.stdout),
        asked: of_process(stage.ground_truth(crate::tally::Counter::Asked)),
        counted: of_process(collector.rows()),
        dropped: process.accounting.dropped + process.accounting.unrecorded,
    }
}
