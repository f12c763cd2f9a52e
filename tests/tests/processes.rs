//! Processes that fork, become another program, start others, and end in every way there is.

use nccltap_tests::tally::Counter;
use nccltap_tests::{Linkage, Stage, Tally};

#[test]
fn a_child_forked_before_nccl_is_used_is_a_process_of_its_own() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("fork_before", Linkage::Lazy).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(ledger.total(), 800);
    assert_eq!(collector.processes().len(), 2);
}

#[test]
fn children_and_grandchildren_forked_while_nccl_is_in_use_are_processes_of_their_own() {
    let stage = Stage::new();
    let collector = stage.collector();
    let parent = stage.host("fork_after", Linkage::Lazy).run().succeeded();
    let truth = stage.ground_truth(Counter::CarriedOut);
    assert_eq!(truth.total(), 1003 + 2 * (5 + 77));
    let processes: Vec<_> =
        stage.counts().processes.iter().map(|process| collector.ended(process.pid)).collect();
    assert_eq!(processes.len(), 3);
    for process in processes {
        process.is_accounted_for();
        // In a child the tap begins with the first communicator that is made there. What it does
        // before on one that it inherited is counted as such.
        let missed = if process.pid == parent.pid { 0 } else { 5 };
        assert_eq!(process.faults.values().sum::<u64>(), missed, "{process:?}");
        let of_process = |tally: &Tally| -> u64 {
            let calls = tally.0.iter().filter(|(call, _)| call.pid == process.pid);
            calls.map(|(_, count)| count).sum()
        };
        assert_eq!(of_process(&collector.rows()) + missed, of_process(&truth));
    }
}

#[test]
fn forks_in_the_middle_of_other_threads_calls_lose_nothing() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("fork_race", Linkage::Lazy).arg("100").run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(ledger.of_elements("AllReduce", 2), 1000);
    assert_eq!(collector.processes().len(), 101);
}

#[test]
fn workers_of_python_are_counted_however_they_are_started() {
    for method in ["fork", "spawn", "forkserver"] {
        let stage = Stage::new();
        let collector = stage.collector();
        stage.script("multiprocess").arg(method).run().succeeded();
        let ledger = stage.ledger_equals_ground_truth(&collector);
        assert_eq!(ledger.total(), 2 * 1234, "{method}");
        assert_eq!(collector.processes().len(), 2, "{method}");
    }
}

#[test]
fn a_process_that_becomes_another_program_is_counted_before_and_after() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("exec_self", Linkage::Lazy).run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(
        (ledger.of_elements("AllReduce", 1), ledger.of_elements("AllReduce", 2)),
        (123, 123)
    );
    assert_eq!(collector.processes().len(), 2);
}

#[test]
fn nothing_is_lost_however_a_process_ends() {
    let endings =
        ["return", "exit", "_exit", "quick_exit", "thread", "atexit", "abort"].map(|how| {
            let stage = Stage::new();
            let collector = stage.collector();
            let host = stage.host("ending", Linkage::Lazy).arg(how).run();
            let ledger = stage.ledger_equals_ground_truth(&collector);
            assert_eq!(ledger.total(), if how == "atexit" { 2001 } else { 2000 }, "{how}");
            (how, host.status.code())
        });
    for (how, code) in endings {
        assert_eq!(code, (how != "abort").then_some(7), "{how}");
    }
}

#[test]
fn programs_that_a_tapped_process_starts_leave_its_counts_alone() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("spawning", Linkage::Lazy).run().succeeded();
    stage.ledger_equals_ground_truth(&collector);
    assert_eq!(collector.processes().len(), 1);
}

#[test]
fn no_ring_file_is_left_when_all_is_told() {
    let stage = Stage::new();
    let collector = stage.collector();
    for how in ["return", "_exit", "abort"] {
        stage.host("ending", Linkage::Lazy).arg(how).run();
    }
    stage.ledger_equals_ground_truth(&collector);
    nccltap_tests::eventually(|| match nccltap_tests::rings::files(&stage.rings_directory()) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left behind: {left:?}")),
    });
}

#[test]
fn a_fork_beside_the_first_call_of_another_thread_hangs_neither_side() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("fork_beside_first_call", Linkage::Lazy).arg("120").run().succeeded();
    let ledger = stage.ledger_equals_ground_truth(&collector);
    assert_eq!(
        (ledger.of_elements("AllReduce", 3), ledger.of_elements("AllReduce", 4)),
        (120, 120)
    );
}
