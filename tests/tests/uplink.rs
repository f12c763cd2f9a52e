//! The second library of the tap: found beside the first by whatever name that goes, and done without
//! where it cannot be used.

use nccltap_proto::uplink::LIBRARY;
use nccltap_tests::artifacts::built;
use nccltap_tests::tally::Counter;
use nccltap_tests::{Collector, Linkage, Stage, eventually, hosts};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A copy of the tap in a directory of its own, without the uplink.
fn lonely_tap(stage: &Stage, directory: &str) -> PathBuf {
    let directory = stage.path().join(directory);
    fs::create_dir(&directory).unwrap();
    let tap = directory.join(built().tap.file_name().unwrap());
    fs::copy(&built().tap, &tap).unwrap();
    tap
}

/// Requires that everything was counted when the processes had ended, and that the one with this pid had no
/// uplink.
fn counted_at_the_end(stage: &Stage, collector: &Collector, pid: u32) {
    let process = collector.ended(pid);
    process.is_accounted_for();
    assert_eq!(process.faults, BTreeMap::from([("no_uplink".to_owned(), 1)]), "{process:?}");
    assert_eq!(process.life, "recovered");
    let truth = stage.ground_truth(Counter::CarriedOut);
    eventually(|| match collector.rows().differences(&truth) {
        differences if differences.is_empty() => Ok(()),
        differences => Err(differences),
    });
    assert_eq!(stage.rings().len(), 0, "the ring file is gone when it has been taken");
}

#[test]
fn a_tap_without_its_uplink_records_and_is_counted_when_its_process_has_ended() {
    let stage = Stage::new();
    let collector = stage.collector();
    let tap = lonely_tap(&stage, "tap");
    let host = stage.host("burst", Linkage::Lazy).arg("1000").preloading(&[&tap]);
    let host = host.run().succeeded();
    counted_at_the_end(&stage, &collector, host.pid);
    assert_eq!(collector.rows().total(), 1000);
}

#[test]
fn an_uplink_of_another_version_or_no_uplink_at_all_is_not_used() {
    let stage = Stage::new();
    let collector = stage.collector();
    let other_version = lonely_tap(&stage, "other");
    fs::copy(hosts::preload("other_uplink"), other_version.with_file_name(LIBRARY)).unwrap();
    let garbage = lonely_tap(&stage, "garbage");
    fs::write(garbage.with_file_name(LIBRARY), "not a library").unwrap();
    let stranger = lonely_tap(&stage, "stranger");
    fs::copy(hosts::preload("wrap_malloc"), stranger.with_file_name(LIBRARY)).unwrap();
    for tap in [other_version, garbage, stranger] {
        let host = stage.host("burst", Linkage::Lazy).arg("100").preloading(&[&tap]);
        let host = host.run().succeeded();
        counted_at_the_end(&stage, &collector, host.pid);
    }
}

#[test]
fn the_uplink_is_found_through_a_link_and_by_a_name_that_leads_nowhere_any_more() {
    let stage = Stage::new();
    let collector = stage.collector();
    let link = stage.path().join("tap.so");
    symlink(&built().tap, &link).unwrap();
    stage.host("burst", Linkage::Lazy).arg("100").preloading(&[&link]).run().succeeded();

    // The program goes elsewhere before it makes its communicator.
    let relative = "cd \"$0\" && LD_PRELOAD=./tap.so exec \"$1\"";
    let shell = stage.tapped("/bin/sh").arg("-c").arg(relative).arg(stage.path());
    shell.arg(hosts::program("moves", Linkage::Lazy)).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 200);
}

#[test]
fn forks_while_the_uplink_is_loaded_leave_children_that_can_load_libraries() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("fork_load", Linkage::Lazy).arg("30").run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 30 * (10 + 6));
}

#[test]
fn a_library_that_forks_in_its_initialiser_does_not_wait_for_the_uplink() {
    let stage = Stage::new();
    let collector = stage.collector();
    let library = hosts::library("initialiser");
    stage.host("loads", Linkage::None).arg(library).run().succeeded();
    let truth = stage.ground_truth(Counter::CarriedOut);
    assert_eq!(truth.total(), 3);
    eventually(|| match collector.rows().differences(&truth) {
        differences if differences.is_empty() => Ok(()),
        differences => Err(differences),
    });
}
