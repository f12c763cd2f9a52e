//! The Python package that marks steps, in a host that has plugins and a worker as vLLM has them.
//!
//! Ground truth is the host: `tests/hosts/engine.py` says how many tokens each step has, and reduces as many elements.

use nccltap_tests::artifacts::built;
use nccltap_tests::{Host, Stage, hosts};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

#[derive(Deserialize)]
struct Row {
    elements: u64,
    phase: String,
    phase_source: Option<String>,
    count: u64,
}

/// `nccltap run` with the engine, its rows left in a file.
fn run(stage: &Stage) -> Host {
    let rows = stage.path().join("rows.json");
    let run = stage.untapped(&built().command).env("NCCLTAP_LIBRARY", &built().tap);
    run.arg("run")
        .arg("--quiet")
        .arg("--report")
        .arg(rows)
        .arg("--")
        .arg("python3")
        .arg(hosts::script("engine"))
}

/// Phase, how it is known, and count of each size of AllReduce.
fn rows(stage: &Stage) -> BTreeMap<u64, (String, String, u64)> {
    let text = std::fs::read_to_string(stage.path().join("rows.json")).expect("there is a report");
    let rows: Vec<Row> = serde_json::from_str(&text).expect("the report is rows");
    let of =
        |row: Row| (row.elements, (row.phase, row.phase_source.unwrap_or_default(), row.count));
    rows.into_iter().map(of).collect()
}

fn marked() -> BTreeMap<u64, (String, String, u64)> {
    let cell =
        |elements, phase: &str, count| (elements, (phase.to_owned(), "plugin".to_owned(), count));
    BTreeMap::from([
        cell(2048, "startup", 1),
        cell(77, "startup", 2),
        cell(128, "prefill", 2),
        cell(65, "mixed", 2),
        cell(37, "mixed", 2),
        cell(2, "decode", 2),
        cell(1000, "startup", 1),
    ])
}

#[test]
fn run_brings_the_plugin_along_and_every_step_is_what_was_scheduled() {
    let stage = Stage::new();
    run(&stage).run().succeeded();
    assert_eq!(rows(&stage), marked());
}

#[test]
fn a_list_of_plugins_that_leaves_it_out_is_joined_and_so_is_the_path() {
    let stage = Stage::new();
    let run = run(&stage).env("VLLM_PLUGINS", "another").env("PYTHONPATH", "/nowhere");
    run.run().succeeded();
    assert_eq!(rows(&stage), marked());
}

#[test]
fn it_can_be_left_out() {
    let stage = Stage::new();
    run(&stage).env("NCCLTAP_PLUGIN", "off").run().succeeded();
    let rows = rows(&stage);
    assert_eq!(rows.len(), marked().len());
    assert!(rows.values().all(|(_, source, _)| source != "plugin"), "{rows:?}");
}

#[test]
fn in_a_process_without_the_tap_it_does_nothing() {
    let stage = Stage::new();
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/python");
    let script = "import nccltap.vllm as it, sys; it.register(); assert not it._registered; \
                  assert not [f for f in sys.meta_path if 'nccltap' in type(f).__module__]";
    let host = stage.untapped("/usr/bin/env").arg("python3").arg("-c").arg(script);
    host.env("PYTHONPATH", package).run().succeeded();
}

#[test]
fn the_doctor_says_whether_steps_are_marked() {
    let doctor = |plugin: &str| {
        let stage = Stage::new();
        let host = stage.untapped(&built().command).env("NCCLTAP_LIBRARY", &built().tap);
        let host = host.arg("doctor").arg("python3").arg(hosts::script("engine"));
        host.env("NCCLTAP_PLUGIN", plugin).run().stdout
    };
    let said = doctor("on");
    assert!(said.contains("its engine marks its steps: 23 marks"), "{said}");
    let said = doctor("off");
    assert!(said.contains("its engine does not mark its steps"), "{said}");
}

#[test]
fn the_packages_own_tests_pass() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/python");
    let output = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "-s", "tests", "-t", "."])
        .current_dir(package)
        .output()
        .expect("python3 can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("\nOK"), "{said}");
    assert!(!said.contains("Ran 0 tests"), "{said}");
}
