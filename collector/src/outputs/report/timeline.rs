//! When what was done, phase by phase.

use super::PHASES;
use crate::process::Process;
use crate::steps::Phase;
use serde::{Deserialize, Serialize};

/// Bins of a timeline.
pub const BINS: usize = 120;

/// Bins of equal width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// When the first bin begins, nanoseconds since 1970.
    pub begin_ns: u64,
    /// Seconds that one bin lasts.
    pub bin_seconds: f64,
    /// The bins in which something was done.
    pub bins: Vec<Bin>,
    /// Operations of start-up that were done before, and are in no bin.
    pub startup_operations_before: u64,
}

/// What was done in one bin, by phase: prefill, decode, mixed, startup, unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Its number from 0, at most [`BINS`] - 1.
    pub number: u32,
    /// Engine steps that ended in it, of the worker that has most steps.
    pub steps: [u64; 5],
    /// Operations of all ranks.
    pub operations: [u64; 5],
    /// Message bytes of all ranks as each stated them; Recv and roots of Gathers are in it.
    pub message_bytes: [u64; 5],
}

/// A slice of one process' life, on the host's clock.
struct Part {
    begin_ns: u64,
    end_ns: u64,
    steps: [u64; 5],
    operations: [u64; 5],
    message_bytes: [u64; 5],
}

/// Sums as they grow, process by process.
#[derive(Default)]
pub(in crate::outputs) struct Lives(Vec<Vec<Part>>);

impl Lives {
    pub(in crate::outputs) fn add(&mut self, process: &Process) {
        let clock = process.timeline().clock();
        let parts = process.history().slices().filter_map(|(begin, end, slice)| {
            let in_order = |by_phase: &[u64; Phase::ALL.len()]| {
                PHASES.map(|name| {
                    let phase = Phase::ALL.iter().find(|phase| phase.name() == name);
                    phase.map_or(0, |phase| by_phase[*phase as usize])
                })
            };
            (slice.operations.iter().any(|count| *count > 0)).then_some(Part {
                begin_ns: clock.realtime_ns(begin)?,
                end_ns: clock.realtime_ns(end)?,
                steps: in_order(&slice.steps),
                operations: in_order(&slice.operations),
                message_bytes: in_order(&slice.message_bytes),
            })
        });
        self.0.push(parts.collect());
    }

    /// All lives in one row of bins. Start-up before the first request is left out.
    pub(in crate::outputs) fn done(mut self) -> Timeline {
        let startup = super::phase_order(super::STARTUP);
        let serves = |part: &Part| {
            part.operations.iter().enumerate().any(|(phase, n)| phase != startup && *n > 0)
        };
        let mut timeline = Timeline::default();
        let begins = self.0.iter().flatten().filter(|part| serves(part)).map(|part| part.begin_ns);
        if let Some(begin) = begins.min() {
            for part in self.0.iter().flatten().filter(|part| part.begin_ns < begin) {
                timeline.startup_operations_before += part.operations[startup];
            }
            self.0.iter_mut().for_each(|life| life.retain(|part| part.begin_ns >= begin));
        }
        let parts = || self.0.iter().flatten();
        let begin = parts().map(|part| part.begin_ns).min().unwrap_or_default();
        let end = parts().map(|part| part.end_ns).max().unwrap_or(begin);
        // A bin is no shorter than a slice: between slices there is nothing to tell.
        let slice = parts().map(|part| part.end_ns.saturating_sub(part.begin_ns)).max();
        let width = (end - begin).div_ceil(BINS as u64).max(slice.unwrap_or(1)).max(1);
        timeline.begin_ns = begin;
        timeline.bin_seconds = width as f64 / 1e9;
        let most_steps = self
            .0
            .iter()
            .enumerate()
            .max_by_key(|(at, life)| {
                let steps: u64 = life.iter().flat_map(|part| part.steps).sum();
                (steps, std::cmp::Reverse(*at))
            })
            .map(|(at, _)| at);
        let mut bins = vec![Bin::default(); BINS];
        for (life, parts) in self.0.iter().enumerate() {
            for part in parts {
                let middle = part.begin_ns + (part.end_ns.saturating_sub(part.begin_ns)) / 2;
                let at = ((middle - begin) / width) as usize;
                let Some(bin) = bins.get_mut(at.min(BINS - 1)) else { continue };
                let add = |mine: &mut [u64; 5], more: &[u64; 5]| {
                    mine.iter_mut().zip(more).for_each(|(sum, n)| *sum = sum.saturating_add(*n));
                };
                add(&mut bin.operations, &part.operations);
                add(&mut bin.message_bytes, &part.message_bytes);
                if Some(life) == most_steps {
                    add(&mut bin.steps, &part.steps);
                }
            }
        }
        for (number, bin) in bins.iter_mut().enumerate() {
            bin.number = number as u32;
        }
        bins.retain(|bin| bin.operations.iter().any(|count| *count > 0));
        timeline.bins = bins;
        timeline
    }
}
