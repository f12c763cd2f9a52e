//! Each metric against what the simulator was asked.

use nccltap_proto::Datatype;
use nccltap_tests::tally::Counter;
use nccltap_tests::{Call, Collector, Linkage, Stage, Tally};

/// Bytes of the operations as the callers stated them: elements x element size.
fn message_bytes(tally: &Tally) -> f64 {
    let size = |call: &Call| {
        let name = call.dtype.as_deref();
        Datatype::ALL.iter().find(|datatype| Some(datatype.name()) == name).map_or(0, |d| d.size())
    };
    tally
        .0
        .iter()
        .map(|(call, count)| (size(call) * call.elements.unwrap_or(0) * count) as f64)
        .sum()
}

/// Runs hosts with every operation, groups and communicators, and refused calls.
fn played() -> (Stage, Collector) {
    let stage = Stage::new();
    let collector = stage.collector();
    for host in ["operations", "groups", "children"] {
        stage.host(host, Linkage::Lazy).run().succeeded();
    }
    stage.host("results", Linkage::Lazy).env("NCCLTAP_REHEARSAL_FAIL_AFTER", "4").run().succeeded();
    let processes: Vec<_> = stage.counts().processes.iter().map(|it| it.pid).collect();
    assert_eq!(processes.len(), 4);
    for pid in processes {
        collector.ended(pid).is_accounted_for();
    }
    (stage, collector)
}

#[test]
fn operations_bytes_and_sizes_are_those_of_the_simulator() {
    let (stage, collector) = played();
    let truth = stage.ground_truth(Counter::CarriedOut);
    assert!(truth.total() > 30);
    let ops: std::collections::BTreeSet<_> = truth.0.keys().map(|call| call.op.clone()).collect();
    for op in &ops {
        let label = format!("op=\"{op}\"");
        let of_op = Tally(
            truth
                .0
                .iter()
                .filter(|(call, _)| call.op == *op)
                .map(|(c, n)| (c.clone(), *n))
                .collect(),
        );
        let metric = |name| collector.metric(name, &[&label]);
        assert_eq!(metric("nccltap_operations_total"), of_op.total() as f64, "{op}");
        assert_eq!(metric("nccltap_message_bytes_total"), message_bytes(&of_op), "{op}");
        assert_eq!(metric("nccltap_message_size_bytes_count"), of_op.total() as f64, "{op}");
        assert_eq!(metric("nccltap_message_size_bytes_sum"), message_bytes(&of_op), "{op}");
        assert_eq!(metric("nccltap_operation_seconds_count"), of_op.total() as f64, "{op}");
    }
    assert!(ops.len() >= 9, "{ops:?}");
}

#[test]
fn operations_that_were_refused_or_only_simulated_are_counted_apart() {
    let (stage, collector) = played();
    let counts = stage.counts();
    let operations: Vec<_> =
        counts.rows().map(|(_, row)| row).filter(|row| row.datatype >= 0).collect();
    let failed: u64 = operations.iter().map(|row| row.failed).sum();
    let simulated: u64 = operations.iter().map(|row| row.discarded).sum();
    assert!(failed > 3 && simulated > 0, "{failed} {simulated}");
    assert_eq!(collector.metric("nccltap_failed_operations_total", &[]), failed as f64);
    assert_eq!(collector.metric("nccltap_simulated_operations_total", &[]), simulated as f64);
}

#[test]
fn the_operation_index_of_a_rank_counts_what_it_issued_on_its_communicator() {
    let (stage, collector) = played();
    let truth = stage.ground_truth(Counter::CarriedOut);
    // A group that has grown has no name: see tests/communicators.rs.
    for group in truth.0.keys().filter(|call| call.ranks != Some(16)).filter_map(|call| call.group)
    {
        let label = format!("group=\"{group:016x}\"");
        let calls = truth.0.iter().filter(|(call, _)| call.group == Some(group));
        let issued: u64 = calls.map(|(_, count)| count).sum();
        assert_eq!(collector.metric("nccltap_group_operation_index", &[&label]), issued as f64);
    }
}

#[test]
fn dropped_calls_are_a_metric() {
    let stage = Stage::new();
    let host = stage.host("burst", Linkage::Lazy).arg("5000").env("NCCLTAP_RING_RECORDS", "1024");
    let mut host = host.start();
    host.wait_for_line("done");
    let collector = stage.collector();
    host.go_on();
    let host = host.finish().succeeded();
    collector.ended(host.pid).is_accounted_for();
    assert_eq!(stage.ground_truth(Counter::Asked).total(), 5000);
    let dropped = collector.metric("nccltap_records_dropped_total", &[]);
    let counted = collector.metric("nccltap_operations_total", &[]);
    assert_eq!((counted, dropped), (1023.0, 5000.0 - 1023.0));
    assert_eq!(collector.metric("nccltap_accounting_errors", &[]), 0.0);
}
