//! AMD's HIP: CUDA's graphs, kernels and copies under another prefix, followed alike.
//!
//! Ground truth is the account of the simulator: a simulated HIP (`tests/hosts/hip/amdhip64.c`) over the core that the
//! simulated CUDA libraries share, and the simulated RCCL.

use nccltap_tests::{Collector, Linkage, Stage, Tally, collector::Process, hosts};

/// Plays a corner of `tests/hosts/hip.c`, and requires that the ledger says what the simulator does.
fn played(corner: &str, linkage: Linkage) -> (Tally, Process, Collector) {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.tapped(hosts::hip_program("hip", linkage)).arg(corner).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    let process = collector.ended(host.pid);
    (ledger, process, collector)
}

#[test]
fn what_a_graph_holds_is_counted_once_per_launch_of_it_and_of_what_it_is_part_of() {
    for linkage in [Linkage::Lazy, Linkage::Now, Linkage::NoPlt] {
        let (ledger, process, _) = played("graphs", linkage);
        let launches = 127 + 2 * 10;
        assert_eq!(ledger.of_path("nccl"), 65 * launches + 3);
        assert_eq!(ledger.of_path("custom_all_reduce"), 7 * launches);
        assert_eq!(ledger.of_path("peer_copy"), 2 * launches);
        assert_eq!(process.calls.get("hipGraphLaunch"), Some(&137), "{process:?}");
        assert_eq!(process.launches.manifests, 2, "{process:?}");
        let kinds: Vec<_> = process.libraries.iter().map(|it| it.kind.as_str()).collect();
        assert_eq!(kinds, ["NCCL", "HIP"], "{process:?}");
        assert_eq!(process.libraries[1].version, Some(70_100_000), "{process:?}");
    }
}

#[test]
fn the_stream_of_the_thread_is_captured_like_any_other() {
    let (ledger, process, _) = played("own_stream", Linkage::Lazy);
    assert_eq!(ledger.of_graphs("AllReduce"), 5);
    assert_eq!(process.calls.get("hipGraphLaunch_spt"), Some(&5), "{process:?}");
}

#[test]
fn communication_kernels_are_counted_and_no_others() {
    let (ledger, process, _) = played("kernels", Linkage::Lazy);
    assert_eq!(ledger.of_path("custom_all_reduce"), 11 + 5);
    assert_eq!(ledger.of_elements("AllReduce", 4096), 11);
    assert_eq!(process.calls.get("hipLaunchKernel"), Some(&11), "{process:?}");
    assert_eq!(process.calls.get("hipModuleLaunchKernel"), Some(&5), "{process:?}");
}

#[test]
fn copies_between_gpus_are_counted() {
    let (ledger, _, collector) = played("peer_copies", Linkage::Lazy);
    assert_eq!((ledger.of_elements("Copy", 512), ledger.of_elements("Copy", 1024)), (4, 3));
    assert_eq!(ledger.total(), 7);
    assert_eq!(collector.metric("nccltap_failed_operations_total", &["op=\"Copy\""]), 1.0);
}
