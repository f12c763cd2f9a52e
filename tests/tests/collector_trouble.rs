//! The collector is absent, comes late, is stopped, crashes: the host goes on, and what it did is
//! counted or counted as dropped.

use nccltap_tests::steady::Steady;
use nccltap_tests::tally::Counter;
use nccltap_tests::{Linkage, Stage, eventually, rings};
use rustix::process::Signal;
use std::time::Duration;

/// On a machine that does other things too a thread may wait this long for its turn; waiting for a
/// collector that does not answer would take seconds.
const LONGEST_CALL: Duration = Duration::from_millis(500);

#[test]
fn without_a_collector_the_host_runs_and_ends_as_ever() {
    let stage = Stage::new();
    let host = stage.host("steady", Linkage::Lazy).arg("100000").arg("1").run().succeeded();
    let host = Steady::read(&host.stdout);
    assert!(host.calls > 10_000);
    assert!(host.longest < LONGEST_CALL, "{:?}", host.longest);
}

#[test]
fn a_collector_that_comes_late_gets_everything_that_fits_the_rings() {
    let stage = Stage::new();
    let mut host = stage.host("burst", Linkage::Lazy).arg("10000").start();
    host.wait_for_line("done");
    let collector = stage.collector();
    let pid = host.pid;
    eventually(|| match collector.rows().total() {
        10_000 => Ok(()),
        others => Err(format!("{others} of 10000 calls have arrived")),
    });
    host.go_on();
    host.finish().succeeded();
    stage.ledger_equals_ground_truth(&collector);
    assert_eq!(collector.ended(pid).life, "ended");
}

#[test]
fn what_does_not_fit_the_rings_is_counted_as_dropped() {
    let stage = Stage::new();
    let host = stage.host("burst", Linkage::Lazy).arg("10000").env("NCCLTAP_RING_RECORDS", "1024");
    let mut host = host.start();
    host.wait_for_line("done");
    let collector = stage.collector();
    host.go_on();
    let host = host.finish().succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    assert_eq!(process.accounting.made, 10_001);
    assert_eq!(process.accounting.dropped, 10_001 - 1024);
    assert_eq!(collector.rows().total(), 1023);
}

#[test]
fn a_stopped_collector_does_not_hold_up_the_host_and_goes_on_without_a_gap() {
    let stage = Stage::new();
    let collector = stage.collector();
    let mut host = stage.host("steady", Linkage::Lazy).arg("20000").arg("3").start();
    host.wait_for_line("calling");
    eventually(|| match collector.rows().total() {
        0 => Err("no call has arrived".to_owned()),
        _ => Ok(()),
    });
    collector.signal(Signal::STOP);
    let host = host.finish().succeeded();
    collector.signal(Signal::CONT);
    let pid = host.pid;
    let host = Steady::read(&host.stdout);
    assert!(host.longest < LONGEST_CALL, "{:?}", host.longest);
    let process = collector.ended(pid);
    process.is_accounted_for();
    assert_eq!(process.accounting.made, host.calls + 1);
    assert_eq!(process.accounting.seen + process.accounting.dropped, process.accounting.made);
    assert_eq!(collector.rows().total() + process.accounting.dropped, host.calls);
}

#[test]
fn a_collector_that_crashes_and_comes_back_with_its_recording_misses_nothing_and_counts_nothing_twice()
 {
    let stage = Stage::new();
    let recording = stage.path().join("recording");
    let recording = recording.to_str().unwrap();
    let collector = stage.collector_with(&["--record", recording]);
    let mut host = stage.host("steady", Linkage::Lazy).arg("2000").arg("6").start();
    host.wait_for_line("calling");
    let mut collector = collector;
    for _ in 0..2 {
        let before = collector.rows().total();
        eventually(|| match collector.rows().total() > before + 500 {
            true => Ok(()),
            false => Err("the collector gets nothing".to_owned()),
        });
        collector.crash();
        let _ = std::fs::remove_file(stage.socket());
        collector = stage.collector_with(&["--record", recording]);
    }
    let host = host.finish().succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    let truth = stage.ground_truth(Counter::CarriedOut);
    assert_eq!(process.accounting.dropped, 0);
    assert_eq!(collector.rows().differences(&truth), "");
}

#[test]
fn a_process_that_ends_while_its_collector_is_gone_is_told_of_when_that_comes_back() {
    let stage = Stage::new();
    let recording = stage.path().join("recording");
    let recording = recording.to_str().unwrap();
    let collector = stage.collector_with(&["--record", recording]);
    let mut host = stage.host("burst", Linkage::Lazy).arg("5000").start();
    host.wait_for_line("done");
    let pid = host.pid;
    // From now on the process has met a collector: its ring file is for that one to remove.
    eventually(|| match collector.processes().iter().any(|process| process.pid == pid) {
        true => Ok(()),
        false => Err(format!("process {pid} has not said hello")),
    });
    collector.crash();
    let _ = std::fs::remove_file(stage.socket());
    host.go_on();
    host.finish().succeeded();
    assert_eq!(rings::files(&stage.rings_directory()).len(), 1);
    let collector = stage.collector_with(&["--record", recording]);
    let process = collector.ended(pid);
    process.is_accounted_for();
    assert_eq!(process.accounting.seen, 5001);
    let by_linkage = |function: &&str| process.libraries[0].plt.iter().any(|is| is == function);
    assert!(["ncclAllReduce", "ncclCommInitRank"].iter().all(by_linkage), "{process:?}");
    let truth = stage.ground_truth(Counter::CarriedOut);
    assert_eq!(collector.rows().differences(&truth), "");
    assert_eq!(truth.total(), 5000);
}

#[test]
fn a_process_that_never_met_a_collector_leaves_no_file_when_it_ends() {
    let stage = Stage::new();
    stage.host("ending", Linkage::Lazy).arg("return").run();
    assert_eq!(rings::files(&stage.rings_directory()), [] as [std::path::PathBuf; 0]);
}
