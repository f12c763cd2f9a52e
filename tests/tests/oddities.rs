//! What nobody does until somebody does it.

use nccltap_tests::artifacts::built;
use nccltap_tests::{Linkage, Stage, hosts};
use std::os::unix::ffi::OsStrExt;

#[test]
fn a_library_that_comes_back_to_its_place_finds_nccl_at_its_new_one() {
    let stage = Stage::new();
    let collector = stage.collector();
    let torch = hosts::library("torchlike");
    stage.host("reopened", Linkage::None).arg(torch).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 40);
}

#[test]
fn calls_from_more_places_than_can_be_remembered_are_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("call_sites", Linkage::Lazy).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 3 * 1600);
}

#[test]
fn the_largest_counts_the_deepest_groups_and_the_strangest_names_are_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    let argument = [0xffu8; 100_000];
    let host = stage
        .host("extremes", Linkage::Lazy)
        .arg(std::ffi::OsStr::from_bytes(&argument))
        .env("NCCLTAP_JOB", std::ffi::OsStr::from_bytes(&argument[..200]));
    host.run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(ledger.of_elements("AllReduce", u64::MAX), 3);
    assert_eq!(ledger.of_elements("AllReduce", 1), 1);
    assert_eq!(ledger.of_elements("AllReduce", 2), 20_000);
    let reduces = collector.metric("nccltap_operations_total", &["op=\"AllReduce\""]);
    assert_eq!(reduces, ledger.of("AllReduce") as f64);
}

#[test]
fn forty_processes_at_once_are_all_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    let mut running: Vec<_> =
        (0..40).map(|_| stage.host("burst", Linkage::Lazy).arg("2000").start()).collect();
    running.iter_mut().for_each(|host| host.wait_for_line("done"));
    running.iter_mut().for_each(|host| host.go_on());
    for host in running {
        host.finish().succeeded();
    }
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 40 * 2000);
}

#[test]
fn a_tap_that_is_named_twice_counts_each_call_once() {
    let stage = Stage::new();
    let collector = stage.collector();
    let tap = &built().tap;
    let other_name = stage.path().join("libnccltap.so");
    std::os::unix::fs::symlink(tap, &other_name).unwrap();
    for order in [[tap.as_path(), tap], [tap.as_path(), &other_name]] {
        stage.host("operations", Linkage::Lazy).preloading(&order).run().succeeded();
        stage.host("opened", Linkage::None).preloading(&order).run().succeeded();
    }
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 2 * (20 + 1100));
}
