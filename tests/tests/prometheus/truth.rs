//! What the panels of the dashboard must show, out of the simulator's own account.

use crate::panel::Panel;
use nccltap_proto::Datatype;
use nccltap_tests::{Call, Tally};
use std::collections::BTreeMap;

pub(crate) const RANKS: u64 = 4;

/// What `hosts/served.c` does in its second round.
pub(crate) const PREFILLS: f64 = 1.0;
pub(crate) const DECODES: f64 = 250.0;
pub(crate) const PROMPT: f64 = 256.0;
pub(crate) const REQUESTS: f64 = 2.0;
/// AllReduce per step, of so many elements per token.
pub(crate) const LAYERS: f64 = 5.0;
pub(crate) const HIDDEN: u64 = 4096;

pub(crate) fn size(call: &Call) -> u64 {
    let name = call.dtype.as_deref();
    Datatype::ALL.iter().find(|d| Some(d.name()) == name).map_or(0, |d| d.size())
}

/// Of an operation of NCCL they are always known.
pub(crate) fn elements(call: &Call) -> u64 {
    call.elements.expect("NCCL's count argument")
}

/// By the factors of nccl-tests.
pub(crate) fn bus_bytes(call: &Call, bytes: f64) -> f64 {
    let d = f64::from(call.ranks.unwrap());
    match call.op.as_str() {
        "AllReduce" => bytes * 2.0 * (d - 1.0) / d,
        "Broadcast" => bytes,
        op => panic!("the host issues no {op}"),
    }
}

/// What was asked between two looks at the simulator's account.
pub(crate) fn between(before: &Tally, after: &Tally) -> Tally {
    let mut tally = Tally::default();
    for (call, count) in &after.0 {
        tally.add(call.clone(), count - before.0.get(call).copied().unwrap_or(0));
    }
    tally
}

/// Numbers by the value of one label, or of none.
pub(crate) type Numbers = BTreeMap<String, f64>;

/// Sums over calls: count and bytes of each kind give the number, under a name.
pub(crate) fn sums(tally: &Tally, of: impl Fn(&Call, f64, f64) -> (String, f64)) -> Numbers {
    let mut sums = Numbers::new();
    for (call, count) in &tally.0 {
        let (name, number) = of(call, *count as f64, (size(call) * elements(call) * count) as f64);
        *sums.entry(name).or_default() += number;
    }
    sums
}

/// What the panels of the dashboard must show of a second round.
pub(crate) struct Truth {
    /// What the simulator was asked in it.
    pub(crate) round: Tally,
    /// Calls of any function in it, and marks of steps.
    pub(crate) records: f64,
    /// Seconds of the range in which it lies.
    pub(crate) window: f64,
}

impl Truth {
    fn per_second(&self, numbers: Numbers) -> Numbers {
        numbers.into_iter().map(|(name, number)| (name, number / self.window)).collect()
    }

    fn total(&self, of: impl Fn(&Call, f64, f64) -> f64) -> f64 {
        sums(&self.round, |call, count, bytes| (String::new(), of(call, count, bytes)))[""]
    }

    /// How many messages are at most so large.
    fn at_most(&self, bound: f64) -> f64 {
        self.total(|call, count, _| match (size(call) * elements(call)) as f64 <= bound {
            true => count,
            false => 0.0,
        })
    }

    /// As Prometheus interpolates: within the first power of two that has enough.
    fn quantile(&self, quantile: f64) -> f64 {
        let wanted = quantile * self.at_most(f64::INFINITY);
        let (mut low, mut high) = (0.0, 32.0);
        while self.at_most(high) < wanted {
            (low, high) = (high, high * 2.0);
        }
        let below = if low == 0.0 { 0.0 } else { self.at_most(low) };
        low + (high - low) * (wanted - below) / (self.at_most(high) - below)
    }

    /// The numbers of a panel, query by query.
    pub(crate) fn of_panel(&self, title: &str) -> Vec<Panel> {
        let one = |number: f64| Numbers::from([(String::new(), number)]);
        let all = |names: &[&str], number: f64| -> Numbers {
            names.iter().map(|name| ((*name).to_owned(), number)).collect()
        };
        let by_rank = |number: f64| -> Numbers {
            (0..RANKS).map(|rank| (rank.to_string(), number)).collect()
        };
        let bus = self.total(bus_bytes_of);
        let phases = |prefill: f64, decode: f64| {
            Numbers::from([("prefill".to_owned(), prefill), ("decode".to_owned(), decode)])
        };
        let phase = |call: &Call, count: f64, bytes: f64| {
            // Each step has one Broadcast; an AllReduce has a row for each token.
            let share = PREFILLS / (PREFILLS + DECODES);
            match (call.op.as_str(), elements(call) / HIDDEN) {
                ("Broadcast", _) => phases(bytes * share, bytes * (1.0 - share)),
                (_, tokens) if tokens as f64 == PROMPT => phases(bytes, 0.0),
                (_, tokens) if tokens as f64 == REQUESTS => phases(0.0, bytes),
                (op, tokens) => panic!("the host issues no {op} of {tokens} tokens, {count} times"),
            }
        };
        let bytes_by_phase =
            self.round.0.iter().fold(phases(0.0, 0.0), |mut all, (call, count)| {
                let bytes = (size(call) * elements(call) * count) as f64;
                for (name, bytes) in phase(call, *count as f64, bytes) {
                    *all.entry(name).or_default() += bytes;
                }
                all
            });
        let rate = |numbers: Numbers| Panel::Rate(self.per_second(numbers));
        match title {
            "Processes connected" => vec![Panel::Exactly("", one(RANKS as f64))],
            "Operations per second" => vec![rate(one(self.round.total() as f64))],
            "Busiest rank, bus bytes" => vec![rate(one(bus / RANKS as f64))],
            "Longest call in flight" | "Calls in no count" | "Phase not known" => {
                vec![Panel::Exactly("", one(0.0))]
            }
            "Operations by collective" => {
                vec![rate(sums(&self.round, |call, count, _| (call.op.clone(), count)))]
            }
            "Message bytes by phase" => vec![rate(bytes_by_phase)],
            "Message bytes by path" => {
                vec![rate(sums(&self.round, |_, _, bytes| ("nccl".to_owned(), bytes)))]
            }
            "All-reduces that the engine speaks of and nobody saw" => {
                vec![Panel::Exactly("backend", all(&["pynccl"], 0.0))]
            }
            "Bus bytes by role of the group" => {
                vec![rate(Numbers::from([("tensor".to_owned(), bus)]))]
            }
            "Message sizes" => {
                let bounds = (5..33).map(|bits| 2f64.powi(bits)).chain([f64::INFINITY]);
                vec![Panel::Increase(bounds.map(|le| (le.to_string(), self.at_most(le))).collect())]
            }
            "Message size, quantiles" => [0.5, 0.99].map(|q| Panel::Near(self.quantile(q))).into(),
            // How long a call of the simulator takes, its account does not say.
            "Time inside NCCL's call on the host, p99" => {
                vec![Panel::Moments(vec!["AllReduce", "Broadcast"])]
            }
            "Collectives behind the first of the group" => {
                vec![Panel::Exactly("rank", by_rank(0.0))]
            }
            "Bus bytes by rank" => vec![rate(by_rank(bus / RANKS as f64))],
            "Calls in flight for more than a second" | "Trouble the tap stepped around" => {
                vec![Panel::Exactly("", Numbers::new())]
            }
            "Steps per second" => vec![rate(phases(PREFILLS, DECODES))],
            "Tokens per second" => {
                vec![rate(phases(PREFILLS * PROMPT, DECODES * REQUESTS))]
            }
            // Llama-3.1-8B has 65 AllReduce in each step, and the host five.
            "Observed / predicted" => vec![Panel::OfAllReduce(LAYERS / 65.0)],
            "Where calls go" => vec![
                rate(Numbers::from([
                    ("seen".to_owned(), self.records),
                    ("before".to_owned(), 0.0),
                    ("lost".to_owned(), 0.0),
                ])),
                rate(all(&["ring_full", "no_ring"], 0.0)),
            ],
            "Launches of CUDA graphs" => {
                vec![rate(all(&["operations", "nothing", "unknown", "captured"], 0.0))]
            }
            "Processes" => {
                let mut states = all(&["disconnected", "ended", "recovered", "departed"], 0.0);
                states.insert("connected".to_owned(), RANKS as f64);
                vec![Panel::Exactly("state", states)]
            }
            "The collector's own trouble" => {
                vec![Panel::Zero, Panel::Exactly("", one(0.0)), Panel::Exactly("", one(0.0))]
            }
            other => panic!("the panel \"{other}\" has no expectation: add what it must show"),
        }
    }
}

pub(crate) fn bus_bytes_of(call: &Call, _: f64, bytes: f64) -> f64 {
    bus_bytes(call, bytes)
}
