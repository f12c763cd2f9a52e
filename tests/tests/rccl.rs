//! AMD's NCCL: `librccl.so` has NCCL's functions under NCCL's names, and a few of its own.
//!
//! Ground truth is the account of the simulated RCCL, which is the simulated NCCL under the other name.

use nccltap_tests::{Linkage, Stage, hosts};

#[test]
fn a_program_linked_to_rccl_is_recorded_as_one_linked_to_nccl_and_calls_of_rccl_itself_are_not() {
    for linkage in [Linkage::Lazy, Linkage::Now, Linkage::NoPlt] {
        let stage = Stage::new();
        let collector = stage.collector();
        let host = stage.tapped(hosts::rccl_program("rccl", linkage)).run().succeeded();
        let ledger = stage.ledger_equals_ground_truth(&collector);
        assert_eq!((ledger.of("AllReduce"), ledger.of("Broadcast")), (15, 3));
        assert_eq!((ledger.of("Send"), ledger.of("Recv")), (1, 1));
        assert_eq!((ledger.of("AlltoAll"), ledger.of("AlltoAllv")), (4, 2));
        let process = collector.ended(host.pid);
        assert_eq!(process.communicators.len(), 1, "{process:?}");
        let [library] = process.libraries.as_slice() else { panic!("{:?}", process.libraries) };
        assert!(library.path.ends_with("librccl.so.1"), "{library:?}");
    }
}

#[test]
fn what_no_argument_says_is_not_known() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.tapped(hosts::rccl_program("rccl", Linkage::Lazy)).run().succeeded();
    stage.ledger_equals_ground_truth(&collector);
    let rows = collector.report_rows();
    let row = rows.iter().find(|row| row["op"] == "AlltoAllv").expect("it is in the report");
    assert_eq!(row["dtype"], "float32");
    assert!(row["elements"].is_null() && row["message_bytes"].is_null(), "{row}");
    assert!(row["bus_bytes"].is_null(), "{row}");
}

#[test]
fn rccl_that_is_opened_by_path_is_recorded() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("opened", Linkage::None).arg("librccl.so.1").run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!((ledger.of("AllReduce"), ledger.of("Broadcast")), (1000, 100));
}

#[test]
fn nccl_and_rccl_in_one_process_are_kept_apart() {
    let stage = Stage::new();
    let collector = stage.collector();
    let nccl = hosts::simulated_nccl();
    let host = stage.host("two_copies", Linkage::None).arg(&nccl.library).arg(&nccl.rccl);
    let host = host.run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    let of = |elements| ledger.of_elements("AllReduce", elements);
    assert_eq!((of(10), of(20)), (100, 200));
    assert_eq!(collector.ended(host.pid).libraries.len(), 2);
}
