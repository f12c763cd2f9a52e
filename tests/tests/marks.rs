//! Engines that mark their steps by `nccltap.h`: what they say is what is counted.
//!
//! Ground truth is the host itself: `tests/hosts/marks.c` makes calls of one size in each of its steps.

use nccltap_tests::{Collector, Linkage, Stage, eventually, hosts};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Row {
    elements: u64,
    phase: String,
    phase_source: Option<String>,
    count: u64,
}

/// How often a call of so many elements was counted, as what, known by what.
type Phases = BTreeMap<(u64, String, Option<String>), u64>;

fn phases(collector: &Collector) -> Phases {
    let rows = collector.get("/api/v1/report?format=json");
    let rows: Vec<Row> = serde_json::from_str(&rows).expect("the report is rows");
    let mut phases = Phases::new();
    for row in rows {
        *phases.entry((row.elements, row.phase, row.phase_source)).or_default() += row.count;
    }
    phases
}

/// What the host does, step by step.
fn expected() -> Phases {
    let cell = |elements, phase: &str, count| {
        let source = (phase != "unknown").then(|| "plugin".to_owned());
        ((elements, phase.to_owned(), source), count)
    };
    Phases::from([
        cell(1, "startup", 1),
        cell(2, "prefill", 1),
        cell(3, "decode", 3),
        cell(40, "mixed", 2),
        cell(5, "unknown", 1),
        cell(6, "startup", 1),
        cell(7, "unknown", 1),
    ])
}

fn become_known(collector: &Collector, expected: &Phases) {
    eventually(|| match phases(collector) {
        found if found == *expected => Ok(()),
        found => Err(format!("counted {found:?}, expected {expected:?}")),
    });
}

#[test]
fn a_host_that_marks_its_steps_runs_without_the_tap_too() {
    let stage = Stage::new();
    for way in ["weak", "dlsym"] {
        stage.untapped(hosts::program("marks", Linkage::Lazy)).arg(way).run().succeeded();
    }
}

#[test]
fn what_is_done_in_a_marked_step_is_counted_as_what_the_engine_says() {
    for way in ["weak", "dlsym"] {
        let stage = Stage::new();
        let collector = stage.collector();
        let host = stage.host("marks", Linkage::Lazy).arg(way).run().succeeded();
        stage.ledger_equals_ground_truth(&collector);
        become_known(&collector, &expected());
        collector.ended(host.pid).is_accounted_for();
    }
}

#[test]
fn steps_tokens_and_weighted_bytes_are_those_of_the_marks() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.host("marks", Linkage::Lazy).arg("weak").run().succeeded();
    collector.ended(host.pid).is_accounted_for();
    become_known(&collector, &expected());
    let steps = |phase: &str| {
        let labels = [&*format!("phase=\"{phase}\""), "source=\"plugin\""];
        collector.metric("nccltap_steps_total", &labels)
    };
    assert_eq!(["prefill", "decode", "mixed", "startup"].map(steps), [1.0, 2.0, 1.0, 2.0]);
    let of = |name: &str, kind: &str| collector.metric(name, &[&format!("kind=\"{kind}\"")]);
    // Prefill: 128 and 30 tokens. Decode: 3, 5 and 3 requests of two tokens each, one of them a guess.
    assert_eq!(["prefill", "decode"].map(|kind| of("nccltap_tokens_total", kind)), [158.0, 22.0]);
    let requests = ["prefill", "decode"].map(|kind| of("nccltap_step_requests_total", kind));
    assert_eq!(requests, [2.0, 11.0]);
    assert_eq!(collector.metric("nccltap_speculative_tokens_total", &[]), 11.0);
    assert_eq!(collector.metric("nccltap_steps_marked", &[]), 1.0);
    // The mixed step has two calls of 40 bfloat16, and 30 of its 40 tokens are prefill.
    let weighted = ["prefill", "decode"].map(|kind| of("nccltap_phase_weighted_bytes_total", kind));
    assert_eq!(weighted, [2.0 * 2.0 + 120.0, 3.0 * 3.0 * 2.0 + 40.0]);
}

#[test]
fn a_group_is_for_what_the_engine_says_whatever_runs_on_it() {
    let stage = Stage::new();
    let collector = stage.collector();
    for rank in ["0", "1"] {
        let host = stage.host("marks", Linkage::Lazy).arg("placed").arg(rank).run().succeeded();
        collector.ended(host.pid).is_accounted_for();
    }
    let labels = ["name=\"pp0\"", "role=\"pipeline\"", "confidence=\"stated\""];
    assert_eq!(collector.metric("nccltap_group_info", &labels), 1.0);
}

#[test]
fn marks_hold_for_the_calls_of_other_threads() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.host("marks", Linkage::Lazy).arg("threads").run().succeeded();
    collector.ended(host.pid).is_accounted_for();
    let source = Some("plugin".to_owned());
    become_known(&collector, &Phases::from([((8, "prefill".to_owned(), source), 1)]));
}

#[test]
fn the_marks_of_a_killed_process_are_in_its_rings() {
    let stage = Stage::new();
    let mut host = stage.host("marks", Linkage::Lazy).arg("killed").start();
    host.wait_for_line("done");
    let pid = host.kill().pid;
    let collector = stage.collector();
    assert_eq!(collector.ended(pid).life, "recovered");
    become_known(&collector, &expected());
}
