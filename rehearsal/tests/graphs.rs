//! The simulated CUDA captures, instantiates and launches as CUDA does, and keeps account of it.
#![allow(missing_docs)]

use nccltap_rehearsal::counts::{Counts, Launch};
use nccltap_rehearsal::graphs::{Graphs, Outcome, Process};
use nccltap_rehearsal::{COUNTS_DIRECTORY, Installed, SWITCH, TIMES, install, times};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Instant;
use tempfile::TempDir;

/// The simulator, installed, and the program that shows its behaviours: once for all tests.
struct Workshop {
    _directory: TempDir,
    installed: Installed,
    program: PathBuf,
}

fn workshop() -> &'static Workshop {
    static WORKSHOP: OnceLock<Workshop> = OnceLock::new();
    WORKSHOP.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let installed = install(&directory.path().join("lib")).unwrap();
        let program = directory.path().join("graphs");
        let compiled = Command::new("cc")
            .args(["-O1", "-pthread", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/graphs.c"))
            .arg("-I")
            .arg(installed.header.parent().unwrap())
            .args([&installed.library, &installed.cuda_runtime])
            .status()
            .unwrap();
        assert!(compiled.success());
        Workshop { _directory: directory, installed, program }
    })
}

/// What one process did.
struct Show {
    counts: Counts,
    graphs: Graphs,
    output: Output,
}

impl Show {
    /// Counts of AllReduce and friends: (elements, launch, carried out), in order.
    fn carried_out(&self) -> Vec<(u64, Launch, u64)> {
        let operations = ["ncclAllReduce", "ncclSend", "ncclRecv", "ncclBcast", "ncclBroadcast"];
        let rows = self.counts.rows().map(|(_, row)| row);
        let mut all: Vec<_> = rows
            .filter(|row| operations.contains(&row.function.as_str()))
            .map(|row| {
                let (launch, times) = row.carried_out();
                (row.count, launch, times)
            })
            .collect();
        all.sort_unstable();
        all
    }

    fn process(&self) -> &Process {
        self.graphs.processes.first().unwrap()
    }
}

fn command(behaviour: &str, directory: &TempDir) -> Command {
    let workshop = workshop();
    let mut command = Command::new(&workshop.program);
    command
        .arg(behaviour)
        .env("LD_LIBRARY_PATH", workshop.installed.library.parent().unwrap())
        .env_remove("CUDA_VISIBLE_DEVICES")
        .env(SWITCH.0, SWITCH.1)
        .env(COUNTS_DIRECTORY, directory.path());
    command
}

fn read(directory: &TempDir, output: Output) -> Show {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = Counts::read(directory.path()).unwrap();
    let graphs = Graphs::read(directory.path()).unwrap();
    assert_eq!(graphs.check(&counts), Vec::<String>::new());
    Show { counts, graphs, output }
}

fn show_with(behaviour: &str, environment: &[(&str, &str)]) -> Show {
    let directory = tempfile::tempdir().unwrap();
    let output = command(behaviour, &directory).envs(environment.iter().copied()).output().unwrap();
    read(&directory, output)
}

fn show(behaviour: &str) -> Show {
    show_with(behaviour, &[])
}

use Launch::{Eager, Graph};

#[test]
fn each_launch_carries_out_what_was_captured_and_the_capture_itself_nothing() {
    let shown = show("replay");
    assert_eq!(shown.carried_out(), [(8, Eager, 1), (8, Graph, 15)]);
    let process = shown.process();
    let [capture] = process.captures.as_slice() else { panic!("{process:?}") };
    assert_eq!((capture.nodes, capture.operations), (3, 3));
    assert_eq!(capture.outcome, Outcome::Ended);
    let [executable] = process.executables.as_slice() else { panic!("{process:?}") };
    assert_eq!((executable.operations, executable.launches, executable.destroyed), (3, 5, true));
    assert_eq!((executable.graph, &executable.parts), (capture.graph, &vec![(capture.id, 1)]));
}

#[test]
fn a_graph_that_is_never_launched_carries_out_nothing() {
    let shown = show("never_launched");
    assert_eq!(shown.carried_out(), [(8, Graph, 0)]);
    assert_eq!((shown.process().captures.len(), shown.process().launches()), (1, 0));
}

#[test]
fn every_way_to_capture_instantiate_and_launch_leads_to_the_same() {
    assert_eq!(show("every_way").carried_out(), [(1, Graph, 3)]);
}

#[test]
fn a_graph_can_be_captured_in_several_goes() {
    let shown = show("capture_to_graph");
    assert_eq!(shown.carried_out(), [(1, Graph, 2), (2, Graph, 2)]);
    assert_eq!(shown.process().executables[0].parts.len(), 2);
}

#[test]
fn child_graphs_count_as_often_as_they_are_contained() {
    assert_eq!(show("children_and_clones").carried_out(), [(1, Graph, 6)]);
    assert_eq!(show("launch_inside_capture").carried_out(), [(1, Graph, 8)]);
}

#[test]
fn an_update_changes_what_later_launches_carry_out_and_a_refused_one_does_not() {
    let shown = show("update");
    assert_eq!(shown.carried_out(), [(1, Graph, 2), (2, Graph, 4), (3, Graph, 0)]);
    let launches: Vec<_> = shown
        .process()
        .executables
        .iter()
        .map(|executable| (executable.generation, executable.launches))
        .collect();
    assert_eq!(launches, [(0, 2), (1, 4)]);
}

#[test]
fn the_default_value_decides_whether_a_conditional_body_runs() {
    assert_eq!(show("conditional").carried_out(), [(1, Graph, 0), (2, Graph, 2)]);
    let often = show_with("conditional", &[("NCCLTAP_REHEARSAL_CONDITIONAL_RUNS", "3")]);
    assert_eq!(often.carried_out(), [(1, Graph, 0), (2, Graph, 6)]);
}

#[test]
fn a_capture_spreads_to_streams_that_wait_for_it_and_must_be_joined() {
    let shown = show("forked_streams");
    assert_eq!(shown.carried_out(), [(1, Graph, 0), (1, Graph, 2)]);
    let outcomes: Vec<_> = shown.process().captures.iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Ended]);
}

#[test]
fn operations_of_a_group_enter_the_graph_when_the_group_is_launched() {
    let shown = show("groups");
    let expected = [(4, Graph, 7), (4, Graph, 7), (5, Graph, 0), (9, Graph, 7)];
    assert_eq!(shown.carried_out(), expected);
    assert_eq!(shown.process().captures[0].operations, 3);
}

#[test]
fn misuse_gets_cudas_errors() {
    show("errors");
}

#[test]
fn host_functions_copies_and_user_objects_live_as_in_cuda() {
    show("host_functions_and_copies");
    show("user_objects");
}

#[test]
fn kernels_that_move_data_between_gpus_are_counted_by_name() {
    let shown = show("kernels");
    let [kernel] = shown.process().kernels.as_slice() else { panic!("{:?}", shown.process()) };
    assert_eq!(
        kernel.name,
        "_ZN4vllm26cross_device_reduce_1stageI13__nv_bfloat16Li2EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii"
    );
    assert_eq!(kernel.bytes, Some(8192));
    assert_eq!((kernel.launched, kernel.captured, kernel.replayed), (1, 2, 10));
}

#[test]
fn launches_of_many_threads_are_counted_exactly() {
    assert_eq!(show("threads").carried_out(), [(1, Graph, 80000)]);
}

#[test]
fn a_fork_child_counts_for_itself() {
    let shown = show("forks");
    assert_eq!(shown.carried_out(), [(1, Graph, 2)]);
    assert_eq!(shown.process().launches(), 2);
}

#[test]
fn launches_outlive_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = command("until_killed", &directory).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let graphs = Graphs::read(directory.path()).unwrap();
    assert_eq!(graphs.processes[0].launches(), 10);
    assert_eq!(graphs.check(&Counts::read(directory.path()).unwrap()), Vec::<String>::new());
}

#[test]
fn when_each_operation_was_is_kept_where_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let (name, value) = TIMES;
    let shown = read(&directory, command("replay", &directory).env(name, value).output().unwrap());
    let took = began.elapsed();
    let processes = times::read(directory.path()).unwrap();
    let [process] = processes.as_slice() else { panic!("{processes:?}") };
    let mut sums = BTreeMap::new();
    for operation in &process.operations {
        *sums.entry((operation.count, operation.launch)).or_insert(0) += 1;
        assert_eq!(operation.function, "ncclAllReduce");
    }
    assert_eq!(
        sums.into_iter().map(|((a, b), c)| (a, b, c)).collect::<Vec<_>>(),
        shown.carried_out()
    );
    assert!(process.operations.is_sorted_by_key(|operation| operation.ns));
    let (first, last) = (process.operations.first().unwrap(), process.operations.last().unwrap());
    assert!(u128::from(last.ns - first.ns) <= took.as_nanos(), "{first:?} {last:?}");
}

#[test]
fn when_an_operation_was_is_not_kept_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    read(&directory, command("replay", &directory).output().unwrap());
    assert_eq!(times::read(directory.path()).unwrap(), []);
}

#[test]
fn a_device_holds_as_much_as_its_profile_says_and_no_more() {
    for (gpu, mebibytes) in [("h100", 81559), ("h200", 143_771), ("a100", 81920), ("b200", 183_359)]
    {
        let shown = show_with("memory_limit", &[("NCCLTAP_REHEARSAL_GPU", gpu)]);
        assert_eq!(shown.output.stdout, format!("{mebibytes}\n").as_bytes(), "{gpu}");
    }
}

#[test]
fn it_is_said_once_that_gpus_are_simulated() {
    let said = |shown: &Show| String::from_utf8_lossy(&shown.output.stderr).into_owned();
    let first = said(&show("memory_limit"));
    assert_eq!(first.lines().count(), 1, "{first}");
    assert!(first.contains("GPUs ARE SIMULATED (8 x NVIDIA H100 80GB HBM3)"), "{first}");
    assert_eq!(said(&show_with("memory_limit", &[("NCCLTAP_REHEARSAL_SAID", "1")])), "");
}

#[test]
fn outside_a_rehearsal_the_libraries_end_the_process_with_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let output = command("replay", &directory).env_remove(SWITCH.0).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("this process is no rehearsal"), "{line}");
}
