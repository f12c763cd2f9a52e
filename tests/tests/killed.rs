//! A killed process: every call it completed is known, and so is the one it was in.

use nccltap_tests::kills::{Load, kill_under_load};
use nccltap_tests::tally::Counter;
use nccltap_tests::{Linkage, Stage, eventually};
use std::time::Duration;

/// `cargo run --release -p nccltap-tests --bin kill_storm` does this 300 times, at random moments.
#[test]
fn a_process_killed_under_load_loses_no_completed_call() {
    let stage = Stage::new();
    let collector = stage.collector();
    let loads = [(0, 1000, 0), (1, 0, 0), (3, 1000, 2000), (10, 300, 5000), (100, 9000, 1000)];
    for (delay, gap, call_ns) in loads {
        let load = Load { gap, call_ns };
        let killed = kill_under_load(&stage, &collector, Duration::from_millis(delay), load);
        assert!(killed.is_exact(), "after {delay} ms: {killed:?}");
        assert!(killed.recovered + killed.dropped <= killed.begun, "{killed:?}");
    }
}

#[test]
fn a_process_killed_without_a_collector_is_known_to_one_that_comes_later() {
    let stage = Stage::new();
    let mut host = stage.host("burst", Linkage::Lazy).arg("3000").start();
    host.wait_for_line("done");
    let pid = host.kill().pid;
    let collector = stage.collector();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 3000);
    assert_eq!(collector.ended(pid).life, "recovered");
}

#[test]
fn a_call_that_hangs_is_named_while_it_hangs_and_when_its_process_is_killed() {
    let stage = Stage::new();
    let collector = stage.collector();
    let mut host =
        stage.host("hang", Linkage::Lazy).env("NCCLTAP_REHEARSAL_HANG_AFTER", "10").start();
    host.wait_for_line("hanging");
    let seconds = eventually(|| {
        let labels = ["op=\"ReduceScatter\""];
        match collector.metric("nccltap_operation_in_flight_seconds", &labels) {
            seconds if seconds > 1.0 => Ok(seconds),
            _ => Err(format!("the call in flight is not named: {}", collector.get("/metrics"))),
        }
    });
    assert!(seconds < 60.0);
    let pid = host.kill().pid;
    let process = collector.ended(pid);
    let [call] = &process.in_flight[..] else { panic!("{process:?}") };
    assert_eq!(call.function.as_deref(), Some("ncclReduceScatter"));
    assert_eq!((call.elements, call.rank), (4242, Some(1)));
    assert_eq!(collector.rows().of("AllReduce"), 9);
    assert_eq!(stage.ground_truth(Counter::Returned).of("ReduceScatter"), 0);
    assert_eq!(stage.ground_truth(Counter::Asked).of("ReduceScatter"), 1);
}
