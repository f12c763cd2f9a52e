//! `nccltap rehearse`, without an engine and, where one is installed, with it.

use nccltap_tests::artifacts::{built, workshop};
use nccltap_tests::matrix::rows::{Layout, Row, Way};
use nccltap_tests::matrix::run::run;
use nccltap_tests::{Host, Linkage, Stage, hosts};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Names an environment that `nccltap rehearse install` has made.
const ENGINE: &str = "NCCLTAP_REHEARSAL_ENGINE";

/// `nccltap rehearse` with these arguments, and nothing installed.
fn rehearse(stage: &Stage, arguments: &[&str]) -> Host {
    let host = stage
        .untapped(&built().command)
        .env("NCCLTAP_LIBRARY", &built().tap)
        .env("XDG_DATA_HOME", stage.path())
        .env(ENGINE, "")
        .arg("rehearse");
    arguments.iter().fold(host, |host, argument| host.arg(argument))
}

/// A program that says it is this Python, and no more.
fn python(stage: &Stage, version: &str) -> PathBuf {
    let path = stage.path().join(format!("python-{version}"));
    let headers = stage.path().join("include");
    let script = format!("#!/bin/sh\necho $0\necho {version}\necho {}\n", headers.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_rehearsal_without_an_engine_says_how_to_get_one() {
    let stage = Stage::new();
    let run = rehearse(&stage, &["--", "true"]).run();
    assert_eq!(run.status.code(), Some(1));
    assert!(run.stderr.contains("no engine is installed in "), "{}", run.stderr);
    assert!(run.stderr.contains("`nccltap rehearse install` makes one"), "{}", run.stderr);
}

#[test]
fn an_installation_says_what_this_machine_lacks_and_leaves_nothing_that_counts() {
    let stage = Stage::new();
    let install = |python: &Path| {
        let path = python.to_str().unwrap();
        let run = rehearse(&stage, &["install", "vllm==0.8.5.post1", "--python", path]).run();
        assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
        run.stderr
    };
    let said = install(&python(&stage, "3.13.0"));
    assert!(said.contains("vllm==0.8.5.post1 runs on Python 3.9 to 3.12, and"), "{said}");
    let said = install(Path::new("/nonexistent/python"));
    assert!(said.contains("/nonexistent/python cannot be run as a Python"), "{said}");
    let said = install(&python(&stage, "3.11.0"));
    assert!(said.contains("include/Python.h is missing, and Triton needs it"), "{said}");
    let listed = rehearse(&stage, &["list"]).run().succeeded();
    assert!(listed.stdout.contains("  none; `nccltap rehearse install`"), "{}", listed.stdout);
}

#[test]
fn the_doctor_tells_that_nccl_is_simulated() {
    let stage = Stage::new();
    let burst = hosts::program("burst", Linkage::Lazy);
    let doctor = stage.untapped(&built().command).env("NCCLTAP_LIBRARY", &built().tap);
    let doctor = doctor.arg("doctor").arg("--").arg(burst).arg("10").run();
    let said = "note  the command: NCCLTAP_REHEARSAL=1 is in its environment, so an NCCL that is \
                SIMULATED would work in it";
    assert!(doctor.stdout.contains(said), "{}", doctor.stdout);
}

/// Minutes, and gigabytes of packages: only where an engine is installed.
#[test]
fn an_unmodified_engine_is_reported_as_the_simulator_has_counted_it() {
    let Some(engine) = std::env::var(ENGINE).ok().filter(|engine| !engine.is_empty()) else {
        println!("skipped: {ENGINE} names no environment that `nccltap rehearse install` has made");
        return;
    };
    let row = Row {
        engine: engine.leak(),
        version: None,
        model: "tiny-llama",
        layout: Layout { tensor: 2, pipeline: 1, data: 1, experts: false },
        nodes: 1,
        graphs: false,
        custom: false,
        way: Way::Offline { requests: 2, output: 16 },
    };
    let (verdict, _) = run(&row, &workshop().join("matrix/of-a-test"));
    assert!(verdict.is_equal(), "{}", verdict.differences);
    assert_eq!(verdict.processes, 2);
    println!("{} operations in {} s", verdict.operations, verdict.seconds);
}
