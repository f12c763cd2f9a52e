//! Other preloaded libraries, before the tap and behind it: they go on working, and so does it.

use nccltap_tests::artifacts::built;
use nccltap_tests::{Linkage, Stage, hosts};
use std::path::PathBuf;

/// Runs a C host of each linkage and a Python host with the neighbours on either side of the tap.
fn counted_beside(neighbours: &[&str]) {
    let neighbours: Vec<PathBuf> = neighbours.iter().map(|name| hosts::preload(name)).collect();
    let tap = &built().tap;
    for tap_first in [true, false] {
        let mut order: Vec<_> = neighbours.iter().map(PathBuf::as_path).collect();
        order.insert(if tap_first { 0 } else { neighbours.len() }, tap);
        let stage = Stage::new();
        let collector = stage.collector();
        stage.host("operations", Linkage::Lazy).preloading(&order).run().succeeded();
        stage.host("opened", Linkage::None).preloading(&order).run().succeeded();
        stage.script("pynccl").preloading(&order).run().succeeded();
        let ledger = stage.ledger_equals_ground_truth(&collector);
        assert_eq!(ledger.total(), 20 + 1100 + 663, "{order:?}");
    }
}

#[test]
fn a_plain_wrapper_of_dlsym() {
    counted_beside(&["wrap_dlsym"]);
}

#[test]
fn a_wrapper_of_dlsym_that_answers_a_repeated_question_with_nothing() {
    counted_beside(&["wrap_dlsym_once"]);
}

#[test]
fn a_wrapper_of_both_versions_of_dlsym() {
    counted_beside(&["wrap_dlsym_versioned"]);
}

#[test]
fn a_wrapper_of_malloc_that_finds_the_real_one_by_dlsym() {
    counted_beside(&["wrap_malloc"]);
}

#[test]
fn all_of_them_at_once() {
    counted_beside(&["wrap_malloc", "wrap_dlsym", "wrap_dlsym_once", "wrap_dlsym_versioned"]);
}

#[test]
fn another_tool_that_wraps_nccl() {
    let tool = hosts::preload("wrap_nccl");
    let tap = &built().tap;
    for order in [[tap.as_path(), &tool], [&tool, tap.as_path()]] {
        let stage = Stage::new();
        let collector = stage.collector();
        stage.host("operations", Linkage::Lazy).preloading(&order).run().succeeded();
        stage.host("handle_reuse", Linkage::Lazy).preloading(&order).run().succeeded();
        let ledger = stage.ledger_equals_ground_truth(&collector);
        assert_eq!(ledger.total(), 20 + 390, "{order:?}");
    }
}

#[test]
fn a_tool_that_hands_out_one_wrapper_for_each_copy_of_nccl() {
    let tool = hosts::preload("wrap_nccl_per_copy");
    let tap = &built().tap;
    let (first, second) = (&hosts::simulated_nccl().library, hosts::second_nccl());
    for order in [[tap.as_path(), &tool], [&tool, tap.as_path()]] {
        let stage = Stage::new();
        let collector = stage.collector();
        let host = stage.host("two_copies", Linkage::None).arg(first).arg(&second);
        host.preloading(&order).run().succeeded();
        assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 300, "{order:?}");
    }
}
