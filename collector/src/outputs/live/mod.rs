//! What a running collector shows of itself: rates, ranks, and what somebody should look at.
//!
//! ```text
//! Collector ──> Look per process ──> Snapshot = sums and rates ──> Live ──> page, `nccltap top`
//!                (under its lock)     (pure, two looks compared)
//! ```
//!
//! - [`view`]: what is shown, [`Live`](view::Live);
//! - `look`: what is taken along from a process while its lock is held;
//! - `pulse`: what is followed of each process every second, whether somebody looks or not;
//! - `traffic`, `peers`, `lag`, `ranks`, `steps`, `coverage`, `prediction`: its parts, and `attention`, which
//!   says what stands out;
//! - [`feed`]: when it is made, once for all who listen.
//!
//! Shown are the processes that run, or, when all have ended, those that ran. Names follow the report: a Send
//! to a rank that gathers in the same group is part of that Gather. The report tells such transfers apart by
//! their sizes; here all of one group count alike.
//!
//! # Bounds
//!
//! Every list of a [`Live`](view::Live) is bounded: [`RANKS`] ranks, [`GROUPS`] groups, [`CELLS`] cells of the peer
//! matrix, [`SECONDS`] seconds, [`SENTENCES`] sentences. What is left out is counted. A look keeps sums by operation,
//! phase, communicator, peer and power of two, so it is no larger than the ledger it is of.

mod attention;
mod coverage;
pub mod feed;
mod lag;
mod look;
mod peers;
mod prediction;
mod pulse;
mod ranks;
mod steps;
mod traffic;
pub mod view;

use crate::groups::{Groups, join};
use crate::outputs::prometheus::expected::Expected;
use crate::process::{Accounting, Identity, Life};
use crate::steps::Phase;
use look::{Amount, Flow, Look};
use pulse::Pulse;
use std::collections::{HashMap, HashSet};
use view::Live;

/// Ranks that are shown, by their place in the layout.
pub const RANKS: usize = 256;
/// Groups that are shown.
pub const GROUPS: usize = 64;
/// Cells of the peer matrix that are shown.
pub const CELLS: usize = 8192;
/// Seconds that are remembered one by one.
pub const SECONDS: usize = 300;
/// Sentences about what is missing.
pub const SENTENCES: usize = 40;
/// Jobs, and copies of libraries, that are named.
const NAMES: usize = 16;

/// One process, and what it did since an earlier look.
#[derive(Clone, Debug)]
struct Seen<'a> {
    look: &'a Look,
    before: Option<&'a Look>,
    pulse: Pulse,
}

impl Seen<'_> {
    /// Its flows, each with what was added to it. Without an earlier look at any process, nothing was; a
    /// process that came since has done all of it since.
    fn flows(&self) -> impl Iterator<Item = (&Flow, &Amount, Amount)> {
        self.look.flows.iter().map(|(flow, now)| {
            let before = self.before.and_then(|before| before.flows.get(flow));
            let before = before.copied().unwrap_or_default();
            let more = Amount {
                count: now.count.saturating_sub(before.count),
                bytes: now.bytes.saturating_sub(before.bytes),
                merged: now.merged.saturating_sub(before.merged),
                merged_bytes: now.merged_bytes.saturating_sub(before.merged_bytes),
            };
            (flow, now, more)
        })
    }
}

/// Everything that a snapshot is made of.
struct Scene<'a> {
    /// In the order in which they are numbered.
    seen: Vec<Seen<'a>>,
    numbers: HashMap<&'a Identity, u32>,
    groups: Groups,
    /// Groups and ranks in them that gather.
    gathers: HashSet<(u64, i32)>,
    /// Seconds between the two looks; none before there are two.
    window: Option<f64>,
}

/// An earlier look at every process.
#[derive(Debug)]
struct Earlier {
    at: f64,
    looks: HashMap<Identity, Look>,
}

impl<'a> Scene<'a> {
    fn new(
        looks: &'a [Look],
        earlier: Option<&'a Earlier>,
        now: f64,
        pulse: impl Fn(&Identity) -> Pulse,
    ) -> Self {
        let active = |look: &&Look| {
            look.operations > 0 || look.inside.is_some() || !look.worker.parts.is_empty()
        };
        let mut shown: Vec<&Look> = looks.iter().filter(active).collect();
        if shown.iter().any(|look| look.life == Life::Running) {
            shown.retain(|look| look.life == Life::Running);
        }
        let workers: Vec<_> = shown.iter().map(|look| look.worker.clone()).collect();
        let groups = join(&workers);
        let mut order: Vec<usize> = (0..shown.len()).collect();
        order.sort_by_key(|at| {
            let worker = &shown[*at].worker;
            let place = groups.place(&worker.identity);
            (place.is_none(), place, worker.parts.first().map(|part| part.rank), *at)
        });
        let seen = order.into_iter().map(|at| Seen {
            look: shown[at],
            before: earlier.and_then(|earlier| earlier.looks.get(shown[at].identity())),
            pulse: pulse(shown[at].identity()),
        });
        let seen: Vec<Seen<'_>> = seen.collect();
        let numbers = (0..).zip(&seen).map(|(number, seen)| (seen.look.identity(), number));
        let numbers = numbers.collect();
        let window = earlier.map(|earlier| now - earlier.at).filter(|window| *window > 0.0);
        let gathers = traffic::gathers(&seen);
        Self { seen, numbers, groups, gathers, window }
    }

    /// So much per second.
    fn rate(&self, more: u128) -> f64 {
        // A tenth is exact enough, and shorter to send.
        self.window.map_or(0.0, |window| (more as f64 / window * 10.0).round() / 10.0)
    }

    /// The number of a process that is among those shown.
    fn number(&self, identity: &Identity) -> Option<u32> {
        self.numbers.get(identity).copied().filter(|number| (*number as usize) < RANKS)
    }
}

/// The parts that follow from the looks alone.
fn compose(looks: &[Look], scene: &Scene<'_>, expected: Option<&Expected>) -> Live {
    let mut accounting = Accounting::nothing();
    looks.iter().for_each(|look| accounting.add(&look.accounting));
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let seen = || scene.seen.iter().map(|seen| seen.look);
    let mut jobs = sorted(seen().map(|look| look.job.as_str()).filter(|j| !j.is_empty()).collect());
    jobs.truncate(NAMES);
    let hosts = sorted(seen().map(|look| look.identity().host.as_str()).collect()).len() as u32;
    let newest = seen().map(|look| look.newest.realtime_ns / 1_000_000).filter(|ms| *ms > 0).max();
    let (groups, groups_left_out) = lag::groups(scene);
    let ranks = ranks::ranks(scene);
    let mut live = Live {
        nccltap: env!("CARGO_PKG_VERSION").to_owned(),
        newest_ms: newest,
        window_seconds: (scene.window.unwrap_or(0.0) * 1e3).round() / 1e3,
        jobs,
        hosts,
        layouts: scene.groups.layouts().iter().map(|layout| (*layout).into()).collect(),
        totals: traffic::totals(scene),
        ranks_left_out: scene.seen.len().saturating_sub(RANKS) as u64,
        traffic: traffic::traffic(scene),
        sizes: traffic::sizes(scene),
        peers: peers::peers(scene),
        groups,
        groups_left_out,
        steps: steps::steps(scene),
        coverage: coverage::coverage(scene),
        accounting,
        waiting: seen().map(|look| look.waiting).sum(),
        prediction: expected.map(|expected| prediction::prediction(scene, expected)),
        ..Live::default()
    };
    live.attention = attention::attention(&live, &ranks);
    live.ranks = ranks;
    live.ranks.truncate(RANKS);
    live
}

/// The place of a phase in lists.
const fn order(phase: Phase) -> usize {
    phase as usize
}

fn saturated(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
