//! What one scrape must know of those before it: no counter ever falls because a process went or another one
//! came, no series outlives its rank, and the number of series is bounded.
//!
//! A process that has ended, or is not connected, keeps its series for [`KEPT_FOR`], so that its last counts are
//! scraped. Then it is retired: series that are its alone disappear. Where it shares a counter with processes
//! that go on (those without group and rank, such as `nccltap_steps`), what it has counted stays in the sum for
//! as long as one of them is there.

use super::samples::Samples;
use crate::process::Identity;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// Combinations of labels of operations that have series of their own.
pub const SERIES: usize = 4096;

/// How long a process that has ended or is not connected keeps its series: time for a few scrapes at the usual
/// intervals, and for an alert on its last state.
pub const KEPT_FOR: Duration = Duration::from_secs(300);

/// Values of the labels of an operation: job, host, group, rank, op, phase, path, launch.
pub(super) type Combination = [String; 8];

/// Combinations of labels that have series of their own. One that was admitted, or folded, stays so for as long
/// as it is counted: its counts never move from one series to another.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// Whether it was counted in this scrape.
    own: HashMap<Combination, bool>,
    /// Those of this scrape that have none.
    folded: HashSet<Combination>,
    /// Some are folded, and so is each new one until none of them is left.
    full: bool,
}

impl Admitted {
    /// Whether this combination has series of its own, now that it is counted.
    pub(super) fn admit(&mut self, combination: &Combination) -> bool {
        if let Some(counted) = self.own.get_mut(combination) {
            *counted = true;
            return true;
        }
        if self.full || self.own.len() >= SERIES {
            self.full = true;
            self.folded.insert(combination.clone());
            return false;
        }
        self.own.insert(combination.clone(), true);
        true
    }

    /// Whether this combination has been given series of its own.
    pub(super) fn has(&self, combination: &Combination) -> bool {
        self.own.contains_key(combination)
    }

    /// Combinations of this scrape that are folded.
    pub(super) fn folded(&self) -> usize {
        self.folded.len()
    }

    /// The scrape is over: what was not counted in it makes room.
    fn forget(&mut self) {
        self.own.retain(|_, counted| std::mem::take(counted));
        self.full = !self.folded.is_empty();
        self.folded.clear();
    }
}

/// How a process is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// With all it has counted.
    Shown,
    /// For the last time, in what it shares with others.
    Retiring,
    /// It is retired, and what it shared is kept.
    Retired,
}

/// What is kept from scrape to scrape.
#[derive(Debug, Default)]
pub struct Continuity {
    pub(super) admitted: Admitted,
    /// Processes that are not connected, and since when that is known.
    silent_since: BTreeMap<Identity, Instant>,
    /// What retired processes share with others that are shown.
    retired: BTreeMap<Identity, Samples>,
    /// The same of those that the collector follows no more.
    gone: Samples,
}

impl Continuity {
    /// How a process is shown at `now`.
    pub(super) fn standing(
        &mut self,
        identity: &Identity,
        connected: bool,
        now: Instant,
    ) -> Standing {
        if connected {
            // One that was away for long comes back with all it ever counted.
            self.silent_since.remove(identity);
            self.retired.remove(identity);
            return Standing::Shown;
        }
        if self.retired.contains_key(identity) {
            return Standing::Retired;
        }
        let since = *self.silent_since.entry(identity.clone()).or_insert(now);
        match now.saturating_duration_since(since) < KEPT_FOR {
            true => Standing::Shown,
            false => Standing::Retiring,
        }
    }

    /// Keeps what a process has counted, now that it is not shown any more.
    pub(super) fn retire(&mut self, identity: Identity, mut counted: Samples) {
        counted.drop_levels();
        self.silent_since.remove(&identity);
        self.retired.insert(identity, counted);
    }

    /// Adds to `shown` what retired processes have counted in the same series, and forgets the rest.
    /// `is_followed` says which processes the collector still has.
    pub(super) fn complete(
        &mut self,
        shown: &mut Samples,
        is_followed: impl Fn(&Identity) -> bool,
    ) {
        self.silent_since.retain(|identity, _| is_followed(identity));
        let left = self.retired.keys().filter(|identity| !is_followed(identity));
        for identity in left.cloned().collect::<Vec<_>>() {
            if let Some(counted) = self.retired.remove(&identity) {
                self.gone.add(&counted);
            }
        }
        for counted in self.retired.values_mut().chain([&mut self.gone]) {
            counted.keep_only_series_of(shown);
        }
        for counted in self.retired.values().chain([&self.gone]) {
            shown.add(counted);
        }
        self.admitted.forget();
    }
}

#[cfg(test)]
mod tests;
