//! A real Prometheus scrapes real runs: what the panels of the dashboard and the alert rules find there is what the
//! simulator was asked.

use nccltap_proto::Datatype;
use nccltap_tests::prometheus::Sample;
use nccltap_tests::tally::Counter;
use nccltap_tests::{Call, Collector, Linkage, Prometheus, Run, Stage, Tally, eventually};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const RANKS: u64 = 4;

/// What `hosts/served.c` does in its second round.
const PREFILLS: f64 = 1.0;
const DECODES: f64 = 250.0;
const PROMPT: f64 = 256.0;
const REQUESTS: f64 = 2.0;
/// AllReduce per step, of so many elements per token.
const LAYERS: f64 = 5.0;
const HIDDEN: u64 = 4096;

fn deployed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rules as they are deployed, for a test's pace: minutes become seconds, and what must hold for longer than one
/// does not have to.
fn hasty_rules() -> String {
    let mut rules = String::new();
    for line in deployed("prometheus/rules.yml").lines() {
        if let Some(minutes) = line.trim_start().strip_prefix("for: ") {
            if minutes == "1m" {
                rules.push_str(&line.replace("1m", "1s\n"));
            }
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("m]") {
            rules.extend([before, "s]"]);
            rest = after;
        }
        let mut rest = rest.to_owned();
        for minutes in ["5m", "10m", "30m"] {
            let offset = format!("offset {minutes}");
            rest = rest.replace(&offset, &offset.replace('m', "s"));
        }
        // Two minutes in flight become two seconds.
        rules.push_str(&rest.replace("seconds > 120", "seconds > 2"));
        rules.push('\n');
    }
    rules
}

fn size(call: &Call) -> u64 {
    let name = call.dtype.as_deref();
    Datatype::ALL.iter().find(|d| Some(d.name()) == name).map_or(0, |d| d.size())
}

/// Of an operation of NCCL they are always known.
fn elements(call: &Call) -> u64 {
    call.elements.expect("NCCL's count argument")
}

/// By the factors of nccl-tests.
fn bus_bytes(call: &Call, bytes: f64) -> f64 {
    let d = f64::from(call.ranks.unwrap());
    match call.op.as_str() {
        "AllReduce" => bytes * 2.0 * (d - 1.0) / d,
        "Broadcast" => bytes,
        op => panic!("the host issues no {op}"),
    }
}

/// What was asked between two looks at the simulator's account.
fn between(before: &Tally, after: &Tally) -> Tally {
    let mut tally = Tally::default();
    for (call, count) in &after.0 {
        tally.add(call.clone(), count - before.0.get(call).copied().unwrap_or(0));
    }
    tally
}

/// Numbers by the value of one label, or of none.
type Numbers = BTreeMap<String, f64>;

/// Sums over calls: count and bytes of each kind give the number, under a name.
fn sums(tally: &Tally, of: impl Fn(&Call, f64, f64) -> (String, f64)) -> Numbers {
    let mut sums = Numbers::new();
    for (call, count) in &tally.0 {
        let (name, number) = of(call, *count as f64, (size(call) * elements(call) * count) as f64);
        *sums.entry(name).or_default() += number;
    }
    sums
}

/// What the panels of the dashboard must show of a second round.
struct Truth {
    /// What the simulator was asked in it.
    round: Tally,
    /// Calls of any function in it, and marks of steps.
    records: f64,
    /// Seconds of the range in which it lies.
    window: f64,
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
    fn of_panel(&self, title: &str) -> Vec<Panel> {
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

fn bus_bytes_of(call: &Call, _: f64, bytes: f64) -> f64 {
    bus_bytes(call, bytes)
}

/// What a query of a panel must give.
enum Panel {
    /// Exactly these numbers by a label.
    Exactly(&'static str, Numbers),
    /// These numbers, whichever label tells them apart, as well as Prometheus knows a rate: it extends what lies
    /// between the first and the last scrape of a range to its ends.
    Rate(Numbers),
    /// One number; the rates that it is made of are each extended by a little more or less.
    Near(f64),
    /// As [`Panel::Rate`] for an increase, by upper bounds.
    Increase(Numbers),
    /// A time of less than a second for each of these operations.
    Moments(Vec<&'static str>),
    /// Series, and all of them zero.
    Zero,
    /// This number for each AllReduce, of all ranks in both phases.
    OfAllReduce(f64),
}

impl Panel {
    fn holds(&self, samples: &[Sample], what: &str) {
        let by = |label: &str| -> Numbers {
            let named = |sample: &Sample| {
                (sample.labels.get(label).cloned().unwrap_or_default(), sample.value)
            };
            samples.iter().map(named).collect()
        };
        // The one label in which the series differ.
        let label = samples.first().and_then(|first| {
            let differs = |name: &&String| {
                samples.len() == 1
                    || samples.iter().any(|s| s.labels.get(*name) != first.labels.get(*name))
            };
            first.labels.keys().find(differs).cloned()
        });
        let close = |found: &Numbers, wanted: &Numbers, more: f64| {
            assert!(found.keys().eq(wanted.keys()), "{what}: {found:?}, not {wanted:?}");
            for (name, wanted) in wanted {
                let found = found[name];
                let fits = found >= wanted * (1.0 - 1e-9) && found <= wanted * (1.0 + more);
                assert!(fits, "{what}: {name}: {found}, not {wanted}");
            }
        };
        match self {
            Self::Exactly(label, wanted) => {
                close(&by(label), wanted, 1e-9);
                assert_eq!(samples.len(), wanted.len(), "{what}");
            }
            Self::Near(wanted) => {
                let near = samples.len() == 1 && (samples[0].value / wanted - 1.0).abs() < 1e-3;
                assert!(near, "{what}: {samples:?}, not {wanted}");
            }
            Self::Rate(wanted) => close(&by(label.as_deref().unwrap_or_default()), wanted, 0.2),
            Self::Increase(wanted) => {
                let found = samples.iter().map(|sample| {
                    let le = sample.labels["le"].replace("+Inf", "inf");
                    (le.parse::<f64>().unwrap().to_string(), sample.value)
                });
                close(&found.collect(), wanted, 0.2);
            }
            Self::Moments(ops) => {
                let found = by("op");
                assert!(
                    found.keys().map(String::as_str).eq(ops.iter().copied()),
                    "{what}: {found:?}"
                );
                assert!(
                    found.values().all(|value| *value > 0.0 && *value < 1.0),
                    "{what}: {found:?}"
                );
            }
            Self::Zero => {
                assert!(!samples.is_empty(), "{what}");
                assert!(samples.iter().all(|sample| sample.value == 0.0), "{what}: {samples:?}");
            }
            Self::OfAllReduce(wanted) => {
                let reduces: Vec<_> =
                    samples.iter().filter(|sample| sample.labels["op"] == "AllReduce").collect();
                assert_eq!(reduces.len() as u64, 2 * RANKS, "{what}: {samples:?}");
                assert!(
                    reduces.iter().all(|sample| sample.value == *wanted),
                    "{what}: {reduces:?}"
                );
            }
        }
    }
}

/// Title and queries of every panel.
fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana/nccltap.json")).unwrap();
    let panels =
        dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let queries = |panel: &Value| -> Vec<String> {
        panel["targets"].as_array().unwrap().iter().map(|target| text(&target["expr"])).collect()
    };
    panels.map(|panel| (text(&panel["title"]), queries(panel))).collect()
}

fn start(stage: &Stage, ranks: u64, arguments: impl Fn(u64) -> Vec<String>) -> Vec<Run> {
    let start = |rank: u64| {
        let host = stage.host("served", Linkage::Lazy).arg(rank.to_string()).arg(ranks.to_string());
        arguments(rank).into_iter().fold(host, nccltap_tests::Host::arg).start()
    };
    let mut started: Vec<Run> = (0..ranks).map(start).collect();
    started.iter_mut().for_each(|run| run.wait_for_line("first"));
    started
}

fn prometheus(stage: &Stage, collector: &Collector, options: &[&str]) -> Option<Prometheus> {
    Prometheus::start(collector, &hasty_rules(), stage.path(), options)
}

/// Calls of any function that the simulator was asked.
fn asked(stage: &Stage) -> u64 {
    stage.counts().rows().map(|(_, row)| row.asked).sum()
}

#[test]
fn every_panel_of_the_dashboard_shows_what_the_simulator_was_asked() {
    let stage = Stage::new();
    let collector = stage.collector_with(&["--model", "llama-3.1-8b", "--tp", "4"]);
    let Some(prometheus) = prometheus(&stage, &collector, &[]) else { return };
    let mut ranks = start(&stage, RANKS, |_| Vec::new());
    let before = (stage.ground_truth(Counter::Asked), asked(&stage));
    prometheus.settles("sum(nccltap_operations_total)", before.0.total() as f64);
    let quiet = prometheus.value("time() - 0.8").unwrap();
    ranks.iter_mut().for_each(Run::go_on);
    ranks.iter_mut().for_each(|rank| rank.wait_for_line("second"));
    let after = (stage.ground_truth(Counter::Asked), asked(&stage));
    prometheus.settles("sum(nccltap_operations_total)", after.0.total() as f64);
    // Prometheus extends a rate by up to a scrape at each end: in a long window that is little.
    let window = eventually(|| match prometheus.value(&format!("time() - {quiet}")) {
        Some(seconds) if seconds >= 10.0 => Ok(seconds.ceil()),
        seconds => Err(format!("{seconds:?} s have passed")),
    });
    // Begin, end, and what its all-reduces were given to.
    let marks = 3.0 * (PREFILLS + DECODES) * RANKS as f64;
    let truth = Truth {
        round: between(&before.0, &after.0),
        records: (after.1 - before.1) as f64 + marks,
        window,
    };
    assert_eq!(truth.round.total() as f64, (LAYERS + 1.0) * (PREFILLS + DECODES) * RANKS as f64);
    let panels = panels();
    for (title, queries) in &panels {
        let wanted = truth.of_panel(title);
        assert_eq!(wanted.len(), queries.len(), "queries of \"{title}\"");
        for (query, wanted) in queries.iter().zip(wanted) {
            let query = query
                .replace("$__rate_interval", &format!("{window}s"))
                .replace("$job", ".*")
                .replace("$host", ".*");
            wanted.holds(&prometheus.query(&query), &format!("\"{title}\", {query}"));
        }
    }
    // Five AllReduce in the place of 65 are drift, and nothing else is wrong.
    let fired = eventually(|| {
        let fired = prometheus.query("max_over_time(ALERTS{alertstate=\"firing\"}[1m])");
        match fired.is_empty() {
            true => Err("no alert".to_owned()),
            false => Ok(fired),
        }
    });
    let names: BTreeSet<_> =
        fired.iter().map(|sample| sample.labels["alertname"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["NccltapPredictionDrift"]), "{fired:?}");
    let reduces =
        "max_over_time(nccltap:prediction_ratio:5m{op=\"AllReduce\", phase=\"decode\"}[1m])";
    let ratios = prometheus.query(reduces);
    assert_eq!(ratios.len() as u64, RANKS, "{ratios:?}");
    for ratio in ratios {
        assert!((ratio.value - LAYERS / 65.0).abs() < 1e-9, "{ratio:?}");
    }
    for mut rank in ranks {
        rank.go_on();
        rank.finish().succeeded();
    }
    stage.ledger_equals_ground_truth(&collector);
}

#[test]
fn alerts_name_the_rank_that_stays_behind_hangs_dies_or_drops() {
    let stage = Stage::new();
    // More calls than a ring holds, before there is a collector.
    let burst = stage.host("burst", Linkage::Lazy).arg("5000").env("NCCLTAP_RING_RECORDS", "1024");
    let mut burst = burst.env("NCCLTAP_JOB", "burst").start();
    burst.wait_for_line("done");
    let collector = stage.collector();
    let Some(prometheus) = prometheus(&stage, &collector, &[]) else { return };
    let hang = stage.host("hang", Linkage::Lazy).env("NCCLTAP_REHEARSAL_HANG_AFTER", "10");
    let mut hang = hang.env("NCCLTAP_JOB", "hang").start();
    hang.wait_for_line("hanging");
    let stays = 2;
    let mut ranks = start(&stage, 3, |rank| match rank == stays {
        true => vec!["stay".to_owned()],
        false => Vec::new(),
    });
    let fired = |name: &str| {
        let firing = format!("alertname=\"{name}\", alertstate=\"firing\"");
        let query = format!("max_over_time(ALERTS{{{firing}}}[1m])");
        eventually(|| {
            let fired = prometheus.query(&query);
            if fired.is_empty() { Err(format!("no {name}")) } else { Ok(fired) }
        })
    };
    let label = |samples: &[Sample], name: &str| -> BTreeSet<String> {
        samples.iter().map(|sample| sample.labels.get(name).cloned().unwrap_or_default()).collect()
    };
    let just = |value: &str| BTreeSet::from([value.to_owned()]);

    assert_eq!(label(&fired("NccltapRecordsDropped"), "job_name"), just("burst"));
    let dropped = stage.ground_truth(Counter::Asked).of_elements("AllReduce", 4096) - 1023;
    let seen = prometheus.value("sum(nccltap_records_dropped_total)");
    assert_eq!(seen, Some(dropped as f64));

    let in_flight = fired("NccltapOperationInFlight");
    assert_eq!(
        (label(&in_flight, "op"), label(&in_flight, "job_name")),
        (just("ReduceScatter"), just("hang"))
    );

    // All ranks have been seen for longer than the rules look back; then two of three go on.
    let issued = |rank: i32| -> u64 {
        let truth = stage.ground_truth(Counter::Asked);
        let of = |call: &Call| call.ranks == Some(3) && call.rank == Some(rank);
        truth.0.iter().filter(|(call, _)| of(call)).map(|(_, count)| count).sum()
    };
    let three = "nccltap_group_operation_index{job_name=\"\"}";
    eventually(|| match prometheus.query(&format!("{three} and {three} offset 2s")).len() {
        3 => Ok(()),
        found => Err(format!("{found} ranks")),
    });
    ranks.iter_mut().for_each(Run::go_on);
    ranks.iter_mut().for_each(|rank| rank.wait_for_line("second"));
    assert_eq!(label(&fired("NccltapRankSilent"), "rank"), just("2"));
    assert_eq!(label(&fired("NccltapRanksApart"), "rank"), just("2"));
    let behind = prometheus
        .value(&format!("max({three}) - on () {three}{{rank=\"2\"}}").replace("}{", ", "));
    assert_eq!(behind, Some((issued(0) - issued(2)) as f64));
    assert!(issued(0) > issued(2));

    assert!(prometheus.query("ALERTS{alertname=\"NccltapRankDied\"}").is_empty());
    hang.kill();
    eventually(|| match label(&fired("NccltapRankDied"), "state").contains("recovered") {
        true => Ok(()),
        false => Err("it is not recovered".to_owned()),
    });

    let all = "max_over_time(ALERTS{alertstate=\"firing\"}[1m])";
    let named = label(&prometheus.query(all), "alertname");
    let expected = [
        "NccltapOperationInFlight",
        "NccltapRankDied",
        "NccltapRankSilent",
        "NccltapRanksApart",
        "NccltapRecordsDropped",
    ];
    assert!(named.iter().map(String::as_str).eq(expected), "{named:?}");
    for mut run in ranks.into_iter().chain([burst]) {
        run.go_on();
        run.finish().succeeded();
    }
}

#[test]
fn a_prometheus_that_wants_native_histograms_gets_the_sizes_as_such() {
    let stage = Stage::new();
    let collector = stage.collector();
    let options = ["--enable-feature=native-histograms"];
    let Some(prometheus) = prometheus(&stage, &collector, &options) else { return };
    let ranks = start(&stage, 2, |_| Vec::new());
    let truth = stage.ground_truth(Counter::Asked);
    prometheus.settles("histogram_count(sum(nccltap_message_size_bytes))", truth.total() as f64);
    let bytes = sums(&truth, |_, _, bytes| (String::new(), bytes))[""];
    assert_eq!(prometheus.value("histogram_sum(sum(nccltap_message_size_bytes))"), Some(bytes));
    // Decodes: 2 rows of 4096 bfloat16 are 16 KiB. They are 10 of 24 operations, the Broadcasts 4, of 24 bytes.
    let below = prometheus.value("histogram_fraction(0, 16384, sum(nccltap_message_size_bytes))");
    let small: u64 =
        truth.0.iter().filter(|(c, _)| size(c) * elements(c) <= 16384).map(|(_, n)| n).sum();
    let share = small as f64 / truth.total() as f64;
    assert!(below.is_some_and(|below| (below - share).abs() < 1e-9), "{below:?}, not {share}");
    for mut rank in ranks {
        rank.go_on();
        rank.wait_for_line("second");
        rank.go_on();
        rank.finish().succeeded();
    }
}
