//! Kernels that move data between GPUs beside NCCL: each launch of one on the list is counted, by its path, and no
//! other.
//!
//! Ground truth is the simulator's own account of such kernels: how often each was launched, captured, and carried out
//! by launches of graphs, with bytes where it can read them from the arguments by itself.

use nccltap_tests::{Collector, Linkage, Stage, Tally, collector::Process};

/// Plays a corner of `tests/hosts/kernels.c`, and requires that the ledger says what the simulator does.
fn played(corner: &str, release: u32) -> (Tally, Process, Stage, Collector) {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("kernels", Linkage::Lazy, release).arg(corner).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    let process = collector.ended(host.pid);
    (ledger, process, stage, collector)
}

#[test]
fn small_all_reduces_by_a_kernel_and_large_ones_by_nccl_are_counted_each_on_its_path() {
    for release in [12, 13] {
        let (ledger, process, ..) = played("eager", release);
        assert_eq!(ledger.of_path("custom_all_reduce"), 65 + 5);
        assert_eq!(ledger.of_elements("AllReduce", 4096), 65);
        assert_eq!(ledger.of_path("nccl"), 3);
        // The other kernel, launched as often, is in no count at all.
        assert_eq!(process.calls.get("cudaLaunchKernel"), Some(&70), "{process:?}");
    }
}

#[test]
fn a_kernel_works_for_the_communicator_of_its_ranks() {
    let (_, _, _, collector) = played("eager", 12);
    let rows = collector.report_rows();
    let of = |path: &str| {
        let rows = rows.iter().filter(|row| row["path"] == path);
        let place = |row: &serde_json::Value| {
            format!("{} {} of {}", row["communicator"], row["rank"], row["ranks_in_group"])
        };
        rows.map(place).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(of("custom_all_reduce").len(), 1);
    assert_eq!(of("custom_all_reduce"), of("nccl"));
}

#[test]
fn what_a_graph_holds_is_counted_once_per_launch_on_both_paths() {
    let (ledger, process, ..) = played("graphs", 12);
    assert_eq!(ledger.of_path("custom_all_reduce"), 72 * 127 + 2);
    assert_eq!(ledger.of_graphs("AllReduce"), 73 * 127);
    assert_eq!(process.accounting.captured_operations, 73);
    assert_eq!(process.calls.get("cudaGraphLaunch"), Some(&127));
    assert_eq!(process.launches.manifests, 1);
}

#[test]
fn other_kernels_are_counted_with_bytes_where_their_arguments_are_known() {
    let (ledger, _, _, collector) = played("others", 12);
    for (path, count) in [
        ("symm_mem_multimem", 9),
        ("symm_mem_two_shot", 4),
        ("flashinfer_fused", 6),
        ("deepep_ll", 2),
        ("custom_all_reduce", 3),
    ] {
        assert_eq!(ledger.of_path(path), count, "{path}");
    }
    for row in collector.report_rows() {
        let known = matches!(row["path"].as_str(), Some("deepep_ll" | "custom_all_reduce"));
        assert_eq!(row["message_bytes"].is_null(), known, "{row}");
        assert_eq!(row["elements"].is_null(), known, "{row}");
    }
}

#[test]
fn every_path_that_no_engine_of_the_rehearsals_takes_is_counted() {
    let (ledger, _, _, collector) = played("rest", 12);
    for (path, count) in [
        ("symm_mem_one_shot", 5),
        ("symm_mem_multimem", 4 + 3),
        ("flashinfer", 7),
        ("quick_reduce", 1),
        ("flashinfer_all_to_all", 2),
        ("deepep_ht", 3),
    ] {
        assert_eq!(ledger.of_path(path), count, "{path}");
    }
    for row in collector.report_rows() {
        let path = row["path"].as_str();
        let silent = matches!(path, Some("quick_reduce" | "flashinfer_all_to_all" | "deepep_ht"));
        assert_eq!(row["message_bytes"].is_null(), silent, "{row}");
    }
}

#[test]
fn a_program_of_cuda_13_launches_a_kernel_that_it_has_asked_for() {
    let (ledger, process, ..) = played("newer", 13);
    assert_eq!(ledger.of_path("custom_all_reduce"), 11);
    assert_eq!(process.calls.get("__cudaLaunchKernel"), Some(&11), "{process:?}");
}

#[test]
fn a_kernel_that_the_driver_found_is_counted_by_whatever_launches_it() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("kernels", Linkage::Lazy, 12).arg("driver").run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(ledger.of_path("custom_all_reduce"), 13);
    let process = collector.ended(host.pid);
    assert_eq!(process.calls.get("cuLaunchKernel"), Some(&5), "{process:?}");
    assert_eq!(process.calls.get("cuLaunchKernelEx"), Some(&8), "{process:?}");
}

#[test]
fn a_kernel_of_a_process_without_a_communicator_is_counted_too() {
    let (ledger, ..) = played("alone", 12);
    assert_eq!(ledger.of_path("custom_all_reduce"), 10);
}

/// Calls of a backend, as the engine says and as they were seen, by the metric.
fn witnesses(collector: &Collector, backend: &str) -> [f64; 2] {
    let of = |witness: &str| {
        let labels = [&*format!("backend=\"{backend}\""), &*format!("witness=\"{witness}\"")];
        collector.metric("nccltap_backend_calls_total", &labels)
    };
    [of("engine"), of("tap")]
}

#[test]
fn what_an_engine_says_of_its_backends_is_what_was_seen_graphs_or_not() {
    let (ledger, _, _, collector) = played("witness", 12);
    assert_eq!(ledger.of_path("custom_all_reduce"), 5 + 65 * 127 + 1);
    assert_eq!(witnesses(&collector, "custom"), [70.0, 70.0]);
    assert_eq!(witnesses(&collector, "pynccl"), [3.0, 3.0]);
    let report = collector.get("/api/v1/report?view=summary&format=text");
    assert!(!report.contains("on its path") && !report.contains("does not speak of"), "{report}");
    let said = 5 * (1 << 20) + 65 * 8192;
    let summary = collector.get("/api/v1/report?view=summary&format=json");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("the summary is JSON");
    let custom = &summary["backends"][1];
    assert_eq!(custom["backend"], "custom", "{summary}");
    assert_eq!(custom["said"], serde_json::json!({"calls": 70, "message_bytes": said}));
    assert_eq!(custom["said"], custom["seen"]);
}

#[test]
fn all_reduces_by_a_kernel_on_no_list_are_said_by_the_engine_and_missed_by_name() {
    let (_, _, _, collector) = played("overlooked", 12);
    assert_eq!(witnesses(&collector, "flashinfer"), [4.0, 0.0]);
    assert_eq!(witnesses(&collector, "custom"), [71.0, 71.0]);
    let report = collector.get("/api/v1/report?view=summary&format=text");
    let sentence = "of 4 all-reduces that the engine says it gave to flashinfer, 4 were not seen";
    assert!(report.contains(sentence), "{report}");
}
