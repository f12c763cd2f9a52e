//! Many threads, short threads, and threads that end in the middle of things.

use nccltap_tests::{Linkage, Stage};

#[test]
fn more_short_threads_than_rings_lose_nothing() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.host("threads", Linkage::Lazy).arg("400").arg("50");
    host.env("NCCLTAP_RINGS", "16").run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 400 * 50);
}

#[test]
fn calls_of_threads_that_find_no_ring_are_counted_as_unrecorded() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.host("threads", Linkage::Lazy).arg("8").arg("1000");
    let host =
        host.env("NCCLTAP_RINGS", "2").env("NCCLTAP_REHEARSAL_CALL_NS", "5000").run().succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    // One call makes the communicator.
    assert_eq!(process.accounting.made, 8 * 1000 + 1);
    assert_eq!(stage.ground_truth(nccltap_tests::tally::Counter::Returned).total(), 8 * 1000);
    assert!(process.accounting.unrecorded > 0, "{process:?}");
}

#[test]
fn a_thread_that_calls_while_it_ends_loses_nothing() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("thread_destructor", Linkage::Lazy).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 50 * 4);
}

#[test]
fn exceptions_of_the_program_go_on_working() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("exceptions", Linkage::Lazy).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 150);
}

#[test]
fn a_thread_can_be_cancelled_inside_nccl() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage
        .host("cancel", Linkage::Lazy)
        .env("NCCLTAP_REHEARSAL_HANG_AFTER", "2")
        .run()
        .succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    let ledger = collector.rows();
    assert_eq!((ledger.of("AllReduce"), ledger.of("AllGather")), (11, 0));
    assert!(process.in_flight.is_empty(), "the thread is gone, and its call with it: {process:?}");
}

#[test]
fn a_thread_that_is_to_be_cancelled_makes_its_communicator_first() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("cancelled_early", Linkage::Lazy).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 11);
}
