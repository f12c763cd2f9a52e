//! Copies from one GPU to another: each that names both is counted, with its bytes and the GPU that it goes to.
//!
//! Ground truth is the simulator's own account of such copies: how many were carried out at once, captured, and
//! carried out by launches of graphs.

use nccltap_tests::{Collector, Linkage, Stage, Tally, collector::Process};

/// Plays a corner of `tests/hosts/peer_copies.c`, and requires that the ledger, looked at through `view`, says what the
/// simulator does.
fn seen_through(
    view: impl Fn(Tally) -> Tally,
    corner: &str,
    linkage: Linkage,
) -> (Tally, Process, Collector) {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("peer_copies", linkage, 12).arg(corner).run().succeeded();
    let ledger = stage.ledger_equals(&collector, view);
    let process = collector.ended(host.pid);
    (ledger, process, collector)
}

fn played(corner: &str) -> (Tally, Process, Collector) {
    seen_through(|tally| tally, corner, Linkage::Lazy)
}

#[test]
fn copies_are_counted_with_bytes_and_the_gpu_they_go_to_beside_what_nccl_does() {
    for linkage in [Linkage::Lazy, Linkage::Now, Linkage::NoPlt] {
        let (ledger, process, collector) = seen_through(|tally| tally, "eager", linkage);
        assert_eq!(ledger.of_path("peer_copy"), 3 + 5 + 4 + 2);
        assert_eq!(ledger.of_elements("Copy", 96 * 4 * 2), 4);
        assert_eq!(ledger.of_path("nccl"), 1);
        assert_eq!(process.calls.get("cudaMemcpyPeer"), Some(&3), "{process:?}");
        assert_eq!(process.calls.get("cudaMemcpy3DPeerAsync_ptsz"), Some(&1), "{process:?}");
        let bytes = |to: i64| {
            let rows = collector.report_rows();
            let rows = rows.iter().filter(|row| row["path"] == "peer_copy" && row["peer"] == to);
            rows.map(|row| row["message_bytes"].as_u64().unwrap_or(0)).sum::<u64>()
        };
        assert_eq!((bytes(0), bytes(1)), (5 * 4096, 3 * (1 << 20) + 4 * 768 + 2 * 512));
    }
}

#[test]
fn what_moves_nothing_between_gpus_or_does_not_say_so_is_not_counted_and_what_fails_is_a_failure() {
    let (ledger, process, collector) = played("others");
    assert_eq!(ledger.total(), 1);
    assert_eq!(process.calls.get("cudaMemcpyPeerAsync"), Some(&2), "{process:?}");
    let failed = collector.metric("nccltap_failed_operations_total", &["op=\"Copy\""]);
    assert_eq!(failed, 1.0);
}

#[test]
fn copies_in_a_graph_are_counted_once_per_launch() {
    let (ledger, process, _) = played("graphs");
    assert_eq!(ledger.of_path("peer_copy"), 8 * 127 + 1);
    assert_eq!(ledger.of_graphs("Copy"), 8 * 127);
    assert_eq!(ledger.of_graphs("AllReduce"), 2 * 127);
    assert_eq!(process.accounting.captured_operations, 10);
}

#[test]
fn the_driver_says_contexts_so_the_gpu_is_not_known_but_the_bytes_are() {
    let (ledger, process, _) =
        seen_through(|tally| tally.without_devices(), "driver", Linkage::Lazy);
    assert_eq!(ledger.of_path("peer_copy"), 4 + 1 + 6 + 2);
    assert_eq!(ledger.of_elements("Copy", 8192), 5);
    assert_eq!(process.calls.get("cuMemcpyPeerAsync"), Some(&6), "{process:?}");
}

#[test]
fn a_copy_in_a_process_without_a_communicator_is_counted_too() {
    let (ledger, ..) = played("alone");
    assert_eq!(ledger.of_path("peer_copy"), 10);
}
