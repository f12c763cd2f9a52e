//! What is followed of each process every second, so that whoever opens the page in the middle of an
//! incident finds the minutes before it. It costs some microseconds a process.

use super::SECONDS;
use super::view::Second;
use crate::collector::Followed;
use crate::history::Slice;
use crate::process::Identity;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How long a process has not moved, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pulse {
    /// Since its number of operations grew.
    pub(super) still: f64,
    /// Since it reported.
    pub(super) silent: f64,
}

/// What a process had done when it was looked at last.
#[derive(Clone, Copy, Debug)]
struct Known {
    total: Slice,
    operations: u64,
    reported: u64,
    moved_at: f64,
    heard_at: f64,
}

/// A process, as it is now.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    pub(super) identity: Identity,
    pub(super) total: Slice,
    pub(super) operations: u64,
    /// The tick of its latest report.
    pub(super) reported: u64,
}

impl Beat {
    pub(super) fn of(followed: &Arc<Followed>) -> Self {
        let process = followed.lock();
        Self {
            identity: process.identity(),
            total: process.history().total(),
            operations: process.ledger().operations(),
            reported: process.timeline().clock().latest().ticks,
        }
    }
}

/// Every process' pulse, and the last seconds.
#[derive(Debug, Default)]
pub(super) struct Pulses {
    known: HashMap<Identity, Known>,
    seconds: VecDeque<Second>,
    began: bool,
}

impl Pulses {
    /// Takes in all processes as of `now`, in seconds since the collector came to life.
    pub(super) fn take(&mut self, beats: &[Beat], now: f64) {
        let mut second = Second { second: now as u64, ..Second::default() };
        let mut most = 0;
        let mut known = HashMap::with_capacity(beats.len());
        for beat in beats {
            let before = self.known.get(&beat.identity).copied();
            // What a process did before it was first looked at is no news, unless it came since.
            let base = before.map(|known| known.total).or(self.began.then(Slice::default));
            let more = since(&beat.total, &base.unwrap_or(beat.total));
            let sum = |mine: &mut [u64; 5], more: &[u64; 5]| {
                mine.iter_mut().zip(more).for_each(|(sum, n)| *sum = sum.saturating_add(*n));
            };
            sum(&mut second.operations, &more.operations);
            sum(&mut second.message_bytes, &more.message_bytes);
            let steps = more.steps.iter().sum::<u64>();
            if steps > most {
                most = steps;
                second.steps = more.steps;
            }
            let moved_at = before.filter(|known| known.operations == beat.operations);
            let heard_at = before.filter(|known| known.reported == beat.reported);
            known.insert(
                beat.identity.clone(),
                Known {
                    total: beat.total,
                    operations: beat.operations,
                    reported: beat.reported,
                    moved_at: moved_at.map_or(now, |known| known.moved_at),
                    heard_at: heard_at.map_or(now, |known| known.heard_at),
                },
            );
        }
        self.known = known;
        if std::mem::replace(&mut self.began, true) {
            self.seconds.push_back(second);
            if self.seconds.len() > SECONDS {
                self.seconds.pop_front();
            }
        }
    }

    /// How long a process has not moved, as of `now`.
    pub(super) fn of(&self, identity: &Identity, now: f64) -> Pulse {
        let known = self.known.get(identity);
        known.map_or_else(Pulse::default, |known| Pulse {
            still: (now - known.moved_at).max(0.0),
            silent: (now - known.heard_at).max(0.0),
        })
    }

    /// The last `count` seconds, oldest first.
    pub(super) fn last(&self, count: usize) -> Vec<Second> {
        let skipped = self.seconds.len().saturating_sub(count);
        self.seconds.iter().skip(skipped).copied().collect()
    }
}

fn since(now: &Slice, before: &Slice) -> Slice {
    let less = |now: &[u64; 5], before: &[u64; 5]| {
        std::array::from_fn(|at| now[at].saturating_sub(before[at]))
    };
    Slice {
        steps: less(&now.steps, &before.steps),
        operations: less(&now.operations, &before.operations),
        message_bytes: less(&now.message_bytes, &before.message_bytes),
    }
}
