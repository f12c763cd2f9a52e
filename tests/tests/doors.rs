//! Every way by which a program reaches NCCL leads through the tap, and each call is counted once.

use nccltap_tests::{Linkage, Stage, hosts};

/// Runs a host that calls each operation once, and requires exactly that.
fn each_operation_once(linkage: Linkage) {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("operations", linkage).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    // The plain form and the form with a configuration, ncclBcast too; the rest has one form.
    for (op, calls) in [("Broadcast", 3), ("AllReduce", 2), ("Gather", 2), ("Send", 1)] {
        assert_eq!(ledger.of(op), calls, "{op}");
    }
    assert_eq!(ledger.total(), 20);
}

#[test]
fn a_program_linked_to_nccl_is_counted() {
    each_operation_once(Linkage::Lazy);
}

#[test]
fn a_program_that_is_bound_when_it_starts_is_counted() {
    each_operation_once(Linkage::Now);
}

#[test]
fn a_program_without_linkage_table_is_counted() {
    each_operation_once(Linkage::NoPlt);
}

#[test]
fn a_program_that_opens_nccl_by_its_name_is_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.host("opened", Linkage::None).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!((ledger.of("AllReduce"), ledger.of("Broadcast")), (1000, 100));
    let library = &collector.ended(host.pid).libraries[0];
    assert_eq!(library.version, Some(22105));
    assert!(library.dlsym.iter().any(|function| function == "ncclAllReduce"), "{library:?}");
    assert!(library.plt.is_empty(), "{library:?}");
}

#[test]
fn a_program_that_opens_nccl_by_its_path_is_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    let path = &hosts::simulated_nccl().library;
    stage.host("opened", Linkage::None).arg(path).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 1100);
}

#[test]
fn a_program_from_before_glibc_2_34_is_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("old_dlsym", Linkage::None).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 100);
}

#[test]
fn a_library_opened_locally_and_pynccl_beside_it_share_one_copy_of_nccl() {
    let stage = Stage::new();
    let collector = stage.collector();
    let torch = hosts::library("torchlike");
    let host = stage.host("local_library", Linkage::None).arg(torch).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!((ledger.of("AllReduce"), ledger.of("Broadcast")), (400, 200));
    let libraries = collector.ended(host.pid).libraries;
    assert_eq!(libraries.len(), 1, "{libraries:?}");
    let by_both = |functions: &[String]| functions.iter().any(|name| name == "ncclAllReduce");
    assert!(by_both(&libraries[0].plt) && by_both(&libraries[0].dlsym), "{libraries:?}");
}

#[test]
fn ctypes_as_vllm_uses_it_is_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host =
        stage.script("pynccl").env("NCCLTAP_REHEARSAL_NCCL_VERSION", "22703").run().succeeded();
    assert_eq!(host.stdout, "22703\n");
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(collector.report().differences(&ledger), "", "the report against the ledger");
    assert_eq!(ledger.of("AllReduce"), 651);
    assert_eq!((ledger.of("AllGather"), ledger.of("Send"), ledger.of("Recv")), (10, 1, 1));
}

#[test]
fn two_copies_of_nccl_in_one_process_are_kept_apart() {
    let stage = Stage::new();
    let collector = stage.collector();
    let first = &hosts::simulated_nccl().library;
    let second = stage.path().join("libnccl-copy.so.2");
    std::fs::copy(first, &second).unwrap();
    let host = stage.host("two_copies", Linkage::None).arg(first).arg(&second).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(
        (ledger.of_elements("AllReduce", 10), ledger.of_elements("AllReduce", 20)),
        (100, 200)
    );
    let process = collector.ended(host.pid);
    let paths: Vec<_> = process.libraries.iter().map(|library| &library.path).collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert!(paths.iter().any(|path| path.ends_with("libnccl-copy.so.2")), "{paths:?}");
    let of: Vec<_> = process.communicators.iter().map(|it| it.library).collect();
    assert_eq!(of.len(), 2);
    assert_ne!(of[0], of[1]);
}

#[test]
fn nccl_that_is_closed_and_opened_again_is_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("unloaded", Linkage::None).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 30);
}

#[test]
fn look_ups_that_search_the_program_find_what_counts() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("probe_linked", Linkage::Lazy).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 30);
}

#[test]
fn calls_before_and_after_main_are_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("early_and_late", Linkage::Lazy).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 30);
}

#[test]
fn libraries_that_jump_into_two_copies_of_nccl_reach_their_own() {
    let stage = Stage::new();
    let collector = stage.collector();
    let second = hosts::second_nccl();
    let callers = [&hosts::simulated_nccl().library, &second]
        .map(|nccl| hosts::library_linked_to("tail_caller", nccl));
    let host = stage.host("tail_calls", Linkage::None).arg(&callers[0]).arg(&callers[1]);
    let host = host.run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(
        (ledger.of_elements("AllGather", 10), ledger.of_elements("AllGather", 20)),
        (50, 50)
    );
    let process = collector.ended(host.pid);
    let of: Vec<_> = process.communicators.iter().map(|it| it.library).collect();
    assert!(of.len() == 2 && of[0] != of[1], "{process:?}");
}

#[test]
fn a_library_that_calls_nccl_while_it_is_closed_stops_nobody() {
    let stage = Stage::new();
    let collector = stage.collector();
    let plugin = hosts::library("plugin");
    stage.host("closed_plugins", Linkage::Lazy).arg(plugin).arg("300").run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!((ledger.of_elements("AllReduce", 6), ledger.of_elements("AllReduce", 7)), (1, 300));
}
