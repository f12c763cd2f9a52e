//! Recordings: what is on disk gives the same counts as the collector that wrote it.
#![allow(missing_docs)]

mod support;

use nccltap_proto::Function::ncclAllReduce;
use nccltap_proto::v1;
use std::process::Output;
use support::*;

fn report_of(arguments: &[&str]) -> Output {
    nccltap().arg("report").args(arguments).output().unwrap()
}

fn json_of(arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = report_of(&[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn recorded(dir: &tempfile::TempDir) -> String {
    dir.path().join("run.rec").display().to_string()
}

#[tokio::test]
async fn a_recording_gives_the_rows_of_the_collector_that_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(&dir);
    let collector = Collector::start_in(dir, &["--record", &file]);
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    let calls: Vec<_> = (0..50).map(|n| call(ncclAllReduce, n % 3 + 1)).collect();
    let facts = vec![communicator(0)];
    let first = v1::Report { communicators: facts, ..report(vec![batch(0, 0, &calls)]) };
    agent.report(first).await.unwrap();
    agent.goodbye(report(vec![])).await;

    let rows = collector.rows();
    assert_eq!(rows.len(), 3);
    let socket = format!("unix:{}", collector.socket.display());
    assert_eq!(json_of(&["--collector", &socket]), rows);
    assert_eq!(json_of(&["--collector", &format!("http://{}", collector.http)]), rows);
    // What was acknowledged is in the file, also while the collector runs.
    assert_eq!(json_of(&[&file]), rows);
    let (_dir, code, _) = tokio::task::spawn_blocking(|| collector.stop()).await.unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(json_of(&[&file]), rows);
}

#[tokio::test]
async fn counts_go_on_exactly_over_a_crash_of_the_collector() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(&dir);
    let collector = Collector::start_in(dir, &["--record", &file]);
    let calls = vec![call(ncclAllReduce, 8); 10];
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    agent.report(report(vec![batch(0, 0, &calls)])).await.unwrap();
    let dir = collector.kill();

    let collector = Collector::start_in(dir, &["--record", &file]);
    let (mut agent, welcome) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    assert_eq!(welcome.rings, [v1::RingPosition { ring: 0, next: 10 }]);
    // The agent had not heard of the last acknowledgement, and repeats.
    agent.report(report(vec![batch(0, 5, &calls)])).await.unwrap();
    let accounting = &collector.processes()[0]["accounting"];
    assert_eq!((&accounting["seen"], &accounting["lost"]), (&15.into(), &0.into()));
    assert_eq!(json_of(&[&file])[0]["count"], 15);
}

#[tokio::test]
async fn a_recording_that_is_cut_off_is_used_up_to_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(&dir);
    let collector = Collector::start_in(dir, &["--record", &file]);
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    agent.report(report(vec![batch(0, 0, &[call(ncclAllReduce, 8)])])).await.unwrap();
    agent.report(report(vec![batch(0, 1, &[call(ncclAllReduce, 8)])])).await.unwrap();
    drop(agent);
    let (_dir, ..) = tokio::task::spawn_blocking(|| collector.stop()).await.unwrap();

    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    let output = report_of(&[&file, "--format", "json"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("the recording is cut off").count(), 1, "{said}");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["count"], 1);
}

#[tokio::test]
async fn a_recording_at_its_limit_stops_and_the_report_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(&dir);
    let collector = Collector::start_in(dir, &["--record", &file, "--record-limit", "4000"]);
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    for number in 0..40 {
        let two = vec![call(ncclAllReduce, 8); 2];
        agent.report(report(vec![batch(0, number * 2, &two)])).await.unwrap();
    }
    assert_eq!(collector.rows()[0]["count"], 80);
    assert_eq!(collector.metric(&["nccltap_recording_stopped"]), Some(1.0));
    let text = collector.get("/api/v1/report?format=text");
    assert!(text.contains("it has reached its limit of 4000 bytes"), "{text}");
    assert!(std::fs::metadata(&file).unwrap().len() <= 4000);
}

#[test]
fn what_is_no_recording_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    std::fs::write(&file, "something else altogether").unwrap();
    let file = file.display().to_string();
    for arguments in
        [vec!["report", &file], vec!["serve", "--http", "127.0.0.1:0", "--record", &file]]
    {
        let output = nccltap().args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("it is not a recording of nccltap"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something else altogether");
}

#[test]
fn without_a_collector_the_report_says_what_to_do() {
    let output = report_of(&["--collector", "unix:/nowhere/collector.sock"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("start one with `nccltap serve`"), "{said}");
}
