//! Operations are attributed to the right communicator, and groups are understood.

use nccltap_tests::tally::Counter;
use nccltap_tests::{Call, Linkage, Stage, Tally};

#[test]
fn ncclbcast_is_one_operation_though_nccl_calls_its_own_broadcast() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("bcast", Linkage::Lazy).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(ledger.of_elements("Broadcast", 64), 500);
    assert_eq!(ledger.of_elements("Broadcast", 65), 3);
}

#[test]
fn nested_groups_groups_that_make_communicators_and_simulated_groups_are_understood() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("groups", Linkage::Lazy).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!((ledger.of("Send"), ledger.of("Recv")), (30, 30));
    let asked = stage.ground_truth(Counter::Asked);
    let of_simulated = |tally: &Tally| tally.of_elements("AllReduce", 55);
    assert_eq!((of_simulated(&asked), of_simulated(&ledger)), (3, 1));
}

#[test]
fn communicators_are_known_whichever_way_they_were_made() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.host("children", Linkage::Lazy).run().succeeded();
    // Of a group that has grown, ranks that join and ranks that were there have no name in common.
    let grown = |call: &Call| call.ranks == Some(16);
    let ledger = stage.ledger_equals(&collector, |tally| tally.without_groups_where(grown));
    assert_eq!(ledger.total(), 7);
    let process = collector.ended(host.pid);
    assert!(process.communicators.iter().any(|it| it.name == "children"), "{process:?}");
    assert_eq!(process.communicators.iter().filter(|it| it.destroyed).count(), 3);
}

#[test]
fn communicators_made_all_at_once_are_ranks_of_one_group() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("init_all", Linkage::Lazy).run().succeeded();
    // NCCL alone knows the unique id of these.
    let ledger = stage.ledger_equals(&collector, |tally| tally.without_groups());
    assert_eq!(ledger.total(), 6);
    let rows = collector.rows();
    let mut groups: Vec<_> = rows.0.keys().map(|call| call.group.unwrap()).collect();
    groups.dedup();
    assert_eq!(groups.len(), 1, "{rows:?}");
}

#[test]
fn operations_on_communicators_that_are_ready_later_are_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("nonblocking", Linkage::Lazy).run().succeeded();
    // The handle of a child split off a non-blocking communicator appears after the call has
    // returned, so its group is not known: size and rank are what NCCL says of it.
    let ledger = stage.ledger_equals(&collector, |tally| tally.without_groups());
    assert_eq!(ledger.total(), 2);
}

#[test]
fn a_handle_that_nccl_gives_out_again_stands_for_the_communicator_alive_at_the_time() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("handle_reuse", Linkage::Lazy).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(ledger.0.len(), 20);
    assert_eq!(ledger.total(), (10..30).sum::<u64>());
}
