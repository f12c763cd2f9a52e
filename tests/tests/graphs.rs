//! CUDA graphs: what is captured is counted when it is launched, as often as it is, and not before.
//!
//! Ground truth is the simulator's own account: each launch counts every operation it carries out.

use nccltap_tests::kills::{kill_while_launching, launches_known};
use nccltap_tests::tally::Counter;
use nccltap_tests::{Collector, Linkage, Stage, Tally, collector::Process, hosts};
use std::process::Command;
use std::time::Duration;

/// Plays a corner of `tests/hosts/graphs.c`, and requires that the ledger says what the simulator does.
fn played(corner: &str) -> (Tally, Process) {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg(corner).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(stage.graphs().check(&stage.counts()), [""; 0], "the simulator agrees with itself");
    let process = collector.ended(host.pid);
    assert_eq!(process.launches.unknown, 0, "{process:?}");
    (ledger, process)
}

#[test]
fn what_a_graph_holds_is_counted_once_per_launch() {
    let (ledger, process) = played("replay");
    assert_eq!(ledger.of_elements("AllReduce", 4096), 65 * 127 + 1);
    assert_eq!(ledger.of_graphs("AllReduce"), 65 * 127);
    assert_eq!((ledger.of("AllGather"), ledger.of("Broadcast")), (127, 127));
    let sums = &process.accounting;
    assert_eq!((sums.captured_operations, sums.graph_operations), (67, 67 * 127));
    // A record per launch, whatever the graph holds.
    assert_eq!(process.calls.get("cudaGraphLaunch"), Some(&127));
    assert_eq!((process.launches.with_operations, process.launches.manifests), (127, 1));
}

#[test]
fn the_metrics_of_graphs_are_those_of_the_simulator() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("replay").run().succeeded();
    collector.ended(host.pid).is_accounted_for();
    let truth = stage.ground_truth(Counter::CarriedOut);
    for op in ["AllReduce", "AllGather", "Broadcast"] {
        let labels = [&*format!("op=\"{op}\""), "launch=\"graph\""];
        let metric = |name| collector.metric(name, &labels);
        assert_eq!(metric("nccltap_operations_total"), truth.of_graphs(op) as f64, "{op}");
        assert_eq!(metric("nccltap_message_size_bytes_count"), truth.of_graphs(op) as f64, "{op}");
        assert_eq!(metric("nccltap_operation_seconds_count"), 0.0, "no call was made for it alone");
    }
    let launches = stage.graphs().process(host.pid).unwrap().launches();
    let labels = ["holds=\"operations\""];
    assert_eq!(collector.metric("nccltap_graph_launches_total", &labels), launches as f64);
    let captured: u64 =
        stage.counts().rows().filter(|(_, row)| row.capture != 0).map(|(_, r)| r.accepted()).sum();
    assert_eq!(collector.metric("nccltap_captured_operations_total", &[]), captured as f64);
}

#[test]
fn what_is_captured_and_discarded_or_only_uploaded_counts_nothing() {
    let (ledger, process) = played("discarded");
    assert_eq!(ledger.total(), 0);
    assert_eq!(process.accounting.captured_operations, 9);
}

#[test]
fn launches_of_graphs_without_nccl_are_told_apart() {
    let (ledger, process) = played("without_nccl");
    assert_eq!((ledger.total(), process.launches.without), (0, 5));
}

#[test]
fn an_update_changes_what_a_launch_carries_out_and_one_that_fails_does_not() {
    let (ledger, _) = played("updated");
    let of = |elements| ledger.of_elements("AllReduce", elements);
    assert_eq!((of(8), of(16), of(32)), (2 * 3, 2 * 12, 0));
}

#[test]
fn a_child_graph_counts_as_often_as_it_is_a_node_also_in_a_clone() {
    let (ledger, _) = played("children_and_clones");
    assert_eq!((ledger.of_elements("AllReduce", 8), ledger.of_elements("AllReduce", 3)), (20, 5));
}

#[test]
fn a_node_that_is_a_graph_counts_like_a_child_in_cuda_12_and_13() {
    for release in [12, 13] {
        let stage = Stage::new();
        let collector = stage.collector();
        let host = stage.cuda_host("graphs", Linkage::Now, release).arg("node_with_a_graph");
        let host = host.run().succeeded();
        assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 12, "CUDA {release}");
        let libraries = collector.ended(host.pid).libraries;
        let cuda = libraries.iter().find(|library| library.kind == "CUDA runtime").unwrap();
        assert_eq!(cuda.version.map(|version| version / 1000), Some(release), "{libraries:?}");
    }
}

#[test]
fn a_node_that_is_given_another_graph_counts_as_that_from_then_on() {
    let (ledger, _) = played("children_set");
    let of = |elements| ledger.of_elements("AllReduce", elements);
    // Executable: 1 with both, 110 with one of each, 1000 with the other twice. Graph: 1 before, 1 after.
    assert_eq!((of(8), of(16)), (4 + 2 * 110 + 4 + 2, 2 * 110 + 4 * 1000));
    assert_eq!((of(32), of(64)), (0, 1));
}

#[test]
fn a_graph_inside_a_node_that_is_changed_there_counts_as_it_stands() {
    for release in [12, 13] {
        let stage = Stage::new();
        let collector = stage.collector();
        let host = stage.cuda_host("graphs", Linkage::Lazy, release).arg("child_opened");
        host.run().succeeded();
        let ledger = stage.ledger_equals_ground_truth(&collector);
        let of = |elements| ledger.of_elements("AllReduce", elements);
        assert_eq!((of(8), of(16)), (3 + 5, 3), "CUDA {release}");
    }
}

#[test]
fn a_node_of_a_clone_is_followed_once_the_program_has_asked_for_it() {
    let (ledger, process) = played("child_of_clone_set");
    assert_eq!((ledger.of_elements("AllReduce", 8), ledger.of_elements("AllReduce", 16)), (7, 3));
    assert_eq!(process.launches.without, 5, "{process:?}");
}

#[test]
fn an_executable_whose_unknown_node_is_changed_holds_what_is_not_known() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("unknown_child_set");
    let host = host.run().succeeded();
    let process = collector.ended(host.pid);
    assert_eq!((process.launches.with_operations, process.launches.unknown), (2, 3), "{process:?}");
    assert_eq!(process.faults.get("unknown_node"), Some(&1), "{process:?}");
    let ledger = collector.rows();
    assert_eq!((ledger.of_elements("AllReduce", 8), ledger.of_elements("AllReduce", 16)), (2, 0));
}

#[test]
fn an_executable_holds_what_its_graph_held_when_it_was_made() {
    let (ledger, _) = played("instantiated_again");
    assert_eq!((ledger.of_elements("AllReduce", 8), ledger.of_elements("AllReduce", 16)), (8, 5));
}

#[test]
fn handles_that_are_given_out_again_are_other_graphs() {
    let (ledger, process) = played("handles_reused");
    assert!(ledger.total() > 512);
    // Graphs that carry out the same share one description.
    assert_eq!(process.launches.manifests, 7);
}

#[test]
fn a_capture_that_fails_counts_nothing_and_those_after_it_count() {
    let (ledger, _) = played("failed");
    let of = |elements| ledger.of_elements("AllReduce", elements);
    assert_eq!((of(1), of(2), of(3), of(4), of(5)), (0, 0, 0, 1, 2));
}

#[test]
fn a_capture_that_a_thread_may_not_end_is_counted_as_it_goes_on_or_ends() {
    let (ledger, _) = played("wrong_thread");
    assert_eq!(ledger.of_elements("AllReduce", 4), 1);
}

#[test]
fn a_stream_that_an_event_has_forked_into_a_capture_is_part_of_it_and_others_are_not() {
    let (ledger, _) = played("forked_stream");
    let of = |elements| ledger.of_elements("AllReduce", elements);
    assert_eq!((of(8), of(16), of(32), of(64)), (18, 17, 1, 1));
    assert_eq!(ledger.of_graphs("AllReduce"), 34);
}

#[test]
fn every_way_to_capture_instantiate_and_launch_is_followed() {
    let (ledger, _) = played("every_way");
    assert_eq!((ledger.of_elements("AllReduce", 1), ledger.of_elements("AllReduce", 2)), (7, 8));
}

#[test]
fn a_graph_launched_into_a_capture_becomes_part_of_it() {
    let (ledger, process) = played("launched_inside_a_capture");
    assert_eq!((ledger.of_elements("AllReduce", 8), ledger.of_elements("AllReduce", 16)), (22, 5));
    assert_eq!(process.launches.captured, 2);
}

#[test]
fn groups_in_graphs_are_carried_out_unless_they_were_simulated_or_failed() {
    let (ledger, process) = played("groups");
    assert_eq!((ledger.of("Recv"), ledger.of("Send")), (18, 0));
    assert_eq!(process.accounting.captured_operations, 5);
}

#[test]
fn a_group_of_recvs_in_a_graph_is_a_gather() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("groups").run().succeeded();
    collector.ended(host.pid);
    let rows = collector.get("/api/v1/report?format=json&view=collectives");
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    let [row] = &rows.as_array().unwrap()[..] else { panic!("{rows}") };
    assert_eq!((&row["collective"], &row["launch"]), (&"Gather".into(), &"graph".into()));
    assert_eq!((&row["count"], &row["elements"]), (&6.into(), &64.into()));
}

#[test]
fn what_a_condition_holds_is_at_least_so_many_and_never_guessed() {
    for release in [12, 13] {
        let stage = Stage::new();
        let collector = stage.collector();
        let host = stage.cuda_host("graphs", Linkage::Lazy, release).arg("conditional");
        let host = host.run().succeeded();
        let process = collector.ended(host.pid);
        process.is_accounted_for();
        assert_eq!(process.conditional.get("AllReduce"), Some(&6));
        let rows = collector.get("/api/v1/report?format=json");
        let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
        let of = |elements: u64| rows.iter().find(|row| row["elements"] == elements).unwrap();
        // The operation outside the condition, which is like the one inside.
        assert_eq!((&of(8)["count"], &of(8)["at_least"]), (&3.into(), &true.into()));
        assert_eq!((&of(16)["count"], &of(16)["at_least"]), (&0.into(), &true.into()));
        // The simulator did carry out one of them, and the counts are a lower bound of the truth.
        let truth = stage.ground_truth(Counter::CarriedOut);
        assert_eq!((truth.of_elements("AllReduce", 8), truth.of_elements("AllReduce", 16)), (3, 3));
        let report = collector.text_report();
        assert!(report.contains(">= 3") && report.contains("conditional nodes"), "{report}");
    }
}

#[test]
fn graphs_that_the_gpu_can_launch_are_marked_whether_or_not_the_host_launches_them() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("launched_by_device");
    let host = host.run().succeeded();
    collector.ended(host.pid).is_accounted_for();
    let rows = collector.get("/api/v1/report?format=json");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
    let counts: Vec<_> = rows.iter().map(|row| (&row["elements"], &row["count"])).collect();
    assert_eq!(counts, [(&8.into(), &3.into()), (&16.into(), &0.into())]);
    assert!(rows.iter().all(|row| row["at_least"] == true), "{rows:?}");
}

#[test]
fn threads_that_capture_at_once_do_not_mix() {
    let (ledger, _) = played("threads");
    assert_eq!(ledger.of_elements("AllReduce", 1001), 50);
    assert!(ledger.of_graphs("AllReduce") > 1000);
}

#[test]
fn a_forked_child_has_graphs_of_its_own() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.cuda_host("graphs", Linkage::Lazy, 12).arg("forks").run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!((ledger.of_elements("AllReduce", 8), ledger.of_elements("AllReduce", 16)), (3, 6));
}

/// Real CUDA refuses such a launch. Where something lets it through, it is seen, and not guessed at.
#[test]
fn a_launch_of_what_a_child_has_inherited_is_seen_as_one_of_unknown_content() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("inherited").run().succeeded();
    collector.ended(host.pid).is_accounted_for();
    let child = stage.graphs().processes.iter().map(|p| p.pid).find(|pid| *pid != host.pid);
    let child = child.or_else(|| {
        stage.counts().processes.iter().map(|process| process.pid).find(|pid| *pid != host.pid)
    });
    let child = collector.ended(child.expect("the simulator has seen the child"));
    assert_eq!((child.launches.unknown, child.faults.get("unknown_executable")), (5, Some(&5)));
    assert!(collector.text_report().contains("not known what they carry out"));
}

#[test]
fn what_was_captured_stays_with_its_communicator_when_the_handle_is_anothers() {
    let (ledger, process) = played("communicator_destroyed");
    assert!(ledger.of_graphs("AllReduce") == 9);
    assert!(process.communicators[0].destroyed);
}

#[test]
fn more_different_graphs_than_can_be_described_are_launches_of_unknown_content() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("too_many").run().succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    assert_eq!((process.launches.with_operations, process.launches.unknown), (4096, 4));
    assert_eq!(process.faults.get("too_many_manifests"), Some(&4));
    assert_eq!(process.accounting.graph_operations, 4096);
    assert_eq!(collector.rows().total(), 4096);
}

#[test]
fn the_error_that_waits_for_the_host_stays_the_same() {
    let stage = Stage::new();
    let program = hosts::cuda_program("graphs", Linkage::Lazy, 12);
    let plain = stage.untapped(&program).arg("last_error").run().succeeded();
    let _collector = stage.collector();
    let tapped = stage.tapped(&program).arg("last_error").run().succeeded();
    assert_eq!(plain.stdout, tapped.stdout);
    assert!(!plain.stdout.starts_with("0\n"), "there was an error: {}", plain.stdout);
}

#[test]
fn a_program_that_takes_cuda_by_dlsym_is_counted_and_copies_are_kept_apart() {
    let stage = Stage::new();
    let collector = stage.collector();
    let installed = hosts::simulated_nccl();
    let host = stage
        .host("graphs_opened", Linkage::None)
        .arg(&installed.library)
        .arg(&installed.cuda_runtime)
        .arg(&installed.cuda_runtime_13)
        .run()
        .succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(
        (ledger.of_elements("AllReduce", 12), ledger.of_elements("AllReduce", 13)),
        (24, 39)
    );
    let libraries = collector.ended(host.pid).libraries;
    let of_cuda = libraries.iter().filter(|library| library.kind == "CUDA runtime");
    let versions: Vec<_> = of_cuda.clone().map(|l| l.version.map(|v| v / 1000)).collect();
    assert_eq!(versions, [Some(12), Some(13)]);
    let launches = |functions: &[String]| functions.iter().any(|name| name == "cudaGraphLaunch");
    assert!(of_cuda.into_iter().all(|l| launches(&l.dlsym) && l.plt.is_empty()), "{libraries:?}");
}

/// What `tests/hosts/driver.c` does, whichever way it comes to the driver's functions.
fn is_what_the_driver_was_asked(ledger: &Tally) {
    let of = |elements| ledger.of_elements("AllReduce", elements);
    assert_eq!((of(8), of(16), of(32)), (2 * 3, 2 * 5, 2 * 7));
    assert_eq!((of(3), of(64), of(128)), (3, 2 * 8 + 6, 2));
    assert_eq!((of(5), of(6), of(9)), (4, 4, 2));
}

#[test]
fn a_program_that_uses_the_driver_is_counted_whichever_way_it_finds_its_functions() {
    for (door, linkage) in [
        ("linked", Linkage::Lazy),
        ("linked", Linkage::Now),
        ("dlsym", Linkage::Lazy),
        ("by_name", Linkage::Lazy),
        ("by_old_name", Linkage::Lazy),
        ("by_runtime", Linkage::Lazy),
    ] {
        let stage = Stage::new();
        let collector = stage.collector();
        let program = hosts::driver_program("driver", linkage);
        let host = stage.tapped(program).arg(door).run().succeeded();
        let ledger = stage.ledger_equals_ground_truth(&collector);
        is_what_the_driver_was_asked(&ledger);
        let process = collector.ended(host.pid);
        assert_eq!((process.launches.unknown, process.launches.with_operations), (0, 24), "{door}");
        assert_eq!(process.calls.get("cudaGraphLaunch"), Some(&1), "{door}: {process:?}");
        assert!(process.faults.is_empty(), "{door}: {:?}", process.faults);
        let driver = process.libraries.iter().find(|library| library.kind == "CUDA driver");
        let driver = driver.unwrap_or_else(|| panic!("{door}: {:?}", process.libraries));
        let by_name = door != "linked";
        assert_eq!(driver.dlsym.contains(&"cuGraphLaunch".to_owned()), by_name, "{driver:?}");
        assert_eq!(driver.plt.contains(&"cuGraphLaunch".to_owned()), !by_name, "{driver:?}");
        // What the runtime looks up for itself is the driver's own.
        let asked = driver.dlsym.contains(&"cuGetProcAddress_v2".to_owned());
        assert_eq!(asked, door == "by_name", "{driver:?}");
    }
}

#[test]
fn a_runtime_that_is_linked_statically_is_counted_once_whether_or_not_its_names_are_hidden() {
    for exported in [false, true] {
        let stage = Stage::new();
        let collector = stage.collector();
        let mut host = stage.tapped(hosts::program("static_runtime", Linkage::Lazy));
        if exported {
            host = host.arg(hosts::library("static_runtime"));
        }
        let host = host.run().succeeded();
        let ledger = stage.ledger_equals_ground_truth(&collector);
        let of = |elements| ledger.of_elements("AllReduce", elements);
        assert_eq!((of(3), of(8), of(7)), (5, 10, 1));
        let process = collector.ended(host.pid);
        let by_runtime = process.calls.get("cudaGraphLaunch").copied().unwrap_or(0);
        let by_driver = process.calls.get("cuGraphLaunch").copied().unwrap_or(0);
        let expected = if exported { (5, 0) } else { (0, 5) };
        assert_eq!((by_runtime, by_driver), expected, "{process:?}");
        assert!(process.faults.is_empty(), "{:?}", process.faults);
    }
}

/// Needs a Python with `cuda-bindings`, which `NCCLTAP_CUDA_PYTHON` names.
#[test]
fn cuda_python_is_counted() {
    let Some(python) = std::env::var_os("NCCLTAP_CUDA_PYTHON") else {
        eprintln!("skipped: NCCLTAP_CUDA_PYTHON names no python that has cuda-bindings");
        return;
    };
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.tapped(python).arg(hosts::script("cuda_python")).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!((ledger.of_graphs("AllReduce"), ledger.of("AllReduce")), (2 * 7, 2 * 7 + 1));
    let process = collector.ended(host.pid);
    assert_eq!(process.calls.get("cuGraphLaunch"), Some(&7), "{process:?}");
}

#[test]
fn a_program_that_takes_graphs_from_the_driver_in_a_form_of_later_days_is_told_of() {
    let stage = Stage::new();
    let collector = stage.collector();
    let driver = hosts::library("driver_graphs");
    let host = stage.host("driver_graphs", Linkage::Lazy).arg(driver).run().succeeded();
    let process = collector.ended(host.pid);
    assert_eq!(process.faults.get("driver_graphs"), Some(&1), "{process:?}");
    assert_eq!(collector.rows().total(), 1);
}

#[test]
fn a_program_bound_at_start_or_without_linkage_table_is_counted() {
    for linkage in [Linkage::Now, Linkage::NoPlt] {
        let stage = Stage::new();
        let collector = stage.collector();
        stage.cuda_host("graphs", linkage, 12).arg("replay").run().succeeded();
        assert_eq!(stage.ledger_equals_ground_truth(&collector).of_graphs("AllReduce"), 65 * 127);
    }
}

/// Requires that everything that was launched is in the counts.
fn every_launch_is_there(collector: &Collector, pid: u32, counted: [u64; 2]) {
    let killed = launches_known(collector, pid, counted);
    assert!(killed.is_exact() && killed.dropped == 0, "{killed:?}");
    let operations = collector.ended(pid).accounting.graph_operations;
    assert_eq!(operations, killed.operations);
}

#[test]
fn a_process_killed_while_it_launches_loses_no_launch() {
    let stage = Stage::new();
    let collector = stage.collector();
    for delay in [0, 1, 10, 100] {
        let (pid, launches) = kill_while_launching(&stage, Duration::from_millis(delay));
        every_launch_is_there(&collector, pid, launches);
    }
}

#[test]
fn launches_of_a_killed_process_are_known_to_a_collector_that_comes_later() {
    let stage = Stage::new();
    let (pid, launches) = kill_while_launching(&stage, Duration::from_millis(1));
    let collector = stage.collector();
    every_launch_is_there(&collector, pid, launches);
}

#[test]
fn a_collector_that_comes_in_the_midst_of_it_is_told_what_the_graphs_hold() {
    let stage = Stage::new();
    let first = stage.collector();
    let witness = stage.path().join("witness");
    let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("until_killed").arg(&witness);
    let mut host = host.start();
    host.wait_for_line("launching");
    first.crash();
    let second = stage.collector();
    nccltap_tests::eventually(|| {
        let launches = second.metric("nccltap_graph_launches_total", &["holds=\"operations\""]);
        if launches > 100.0 { Ok(()) } else { Err(format!("{launches} launches were told")) }
    });
    let process = second.ended(host.kill().pid);
    assert_eq!(process.launches.unknown, 0, "{process:?}");
    assert_eq!(process.accounting.graph_operations, 3 * process.launches.with_operations);
}

#[test]
fn a_recording_has_the_graphs() {
    let stage = Stage::new();
    let recording = stage.path().join("recording");
    let collector = stage.collector_with(&["--record", recording.to_str().unwrap()]);
    stage.cuda_host("graphs", Linkage::Lazy, 12).arg("groups").run().succeeded();
    stage.cuda_host("graphs", Linkage::Lazy, 12).arg("replay").run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    collector.stop();
    let output = Command::new(&nccltap_tests::artifacts::built().command)
        .args(["report", "--format", "json"])
        .arg(&recording)
        .output()
        .unwrap();
    let replayed = Tally::of_report(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(replayed.differences(&ledger), "");
}
