//! A real Prometheus scrapes real runs: what the panels of the dashboard and the alert rules find there is what the
//! simulator was asked.

mod panel;
mod truth;

use nccltap_tests::prometheus::Sample;
use nccltap_tests::tally::Counter;
use nccltap_tests::{Call, Collector, Linkage, Prometheus, Run, Stage, eventually};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use truth::{DECODES, LAYERS, PREFILLS, RANKS, Truth, between, elements, size, sums};

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
