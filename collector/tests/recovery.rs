//! Rings of dead processes: taken once, by the collector itself or by `nccltap recover`.
#![allow(missing_docs)]

mod support;

use nccltap_proto::Function::ncclAllReduce;
use nccltap_proto::faults::Fault;
use nccltap_proto::v1;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use support::ring::{self, Ring};
use support::*;

fn recover(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = nccltap().arg("recover").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_killed_process_had_not_sent_is_taken_once_and_its_last_call_named() {
    let collector = Collector::start();
    let calls = vec![call(ncclAllReduce, 8); 20];
    let hello = v1::Hello {
        ring_file: collector.rings().join("nccltap-7-f4247.ring").display().to_string(),
        ..hello(7)
    };
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello).await.unwrap();
    let first = v1::Report {
        communicators: vec![communicator(1)],
        ..report(vec![batch(0, 0, &calls[..12])])
    };
    agent.report(first).await.unwrap();
    // It dies: ten of the twelve are acknowledged in its file, the stream ends without a Goodbye.
    let hangs = nccltap_proto::Record { end: 0, ..call(ncclAllReduce, 99) };
    let left = Ring { records: &calls, tail: 10, dropped: 3, in_flight: Some(hangs) };
    let path = ring::write(&collector.rings(), 7, &left);
    assert!(path.ends_with("nccltap-7-f4247.ring"));
    drop(agent);

    let process = wait_for("the process is recovered", || {
        collector.processes().into_iter().find(|process| process["life"] == "recovered")
    });
    let accounting = &process["accounting"];
    assert_eq!(accounting["seen"], 20);
    assert_eq!(accounting["dropped"], 3);
    assert_eq!(accounting["made"], 23);
    assert_eq!(accounting["balanced"], true);
    assert_eq!(process["in_flight"][0]["function"], "ncclAllReduce");
    assert_eq!(process["in_flight"][0]["elements"], 99);
    assert_eq!(collector.rows()[0]["count"], 20);
    wait_for("the file is removed", || (!path.exists()).then_some(()));
    let text = collector.get("/api/v1/report?format=text");
    assert!(text.contains("it died inside ncclAllReduce"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn trouble_that_a_killed_process_had_not_told_of_stands_in_its_file() {
    let collector = Collector::start();
    let path = ring::write(&collector.rings(), 7, &Ring::default());
    ring::note_fault(&path, Fault::BeforeStart, 5);
    ring::note_fault(&path, Fault::Reconnect, 1);
    let ring_file = path.display().to_string();
    let owner = Owner::of(&path);
    let (mut agent, _) =
        FakeAgent::connect(&collector.socket, v1::Hello { ring_file, ..hello(7) }).await.unwrap();
    let told = vec![v1::Fault { name: Fault::Reconnect.name().into(), count: 2 }];
    agent.report(v1::Report { faults: told, ..report(vec![]) }).await.unwrap();
    drop((agent, owner));
    let process = wait_for("the process is recovered", || {
        collector.processes().into_iter().find(|process| process["life"] == "recovered")
    });
    assert_eq!(process["faults"], serde_json::json!({"before_start": 5, "reconnect": 2}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_process_does_after_its_goodbye_is_taken_and_its_file_removed() {
    let collector = Collector::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let calls = vec![call(ncclAllReduce, 8); 5];
    let left = Ring { records: &calls, tail: 3, ..Ring::default() };
    let path = ring::write(elsewhere.path(), 7, &left);
    let owner = Owner::of(&path);
    let ring_file = path.display().to_string();
    let hello = v1::Hello { ring_file, ..hello(7) };
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello).await.unwrap();
    let first = v1::Report {
        communicators: vec![communicator(1)],
        ..report(vec![batch(0, 0, &calls[..3])])
    };
    agent.report(first).await.unwrap();
    agent.goodbye(report(vec![])).await;
    wait_for("it has ended", || (collector.processes()[0]["life"] == "ended").then_some(()));
    drop(owner);
    wait_for("the file is removed", || (!path.exists()).then_some(()));
    let process = &collector.processes()[0];
    assert_eq!(process["life"], "ended");
    assert_eq!(process["accounting"]["seen"], 5);
    assert_eq!(process["accounting"]["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_process_that_never_reached_a_collector_is_found_by_its_file() {
    let collector = Collector::start();
    let calls = vec![call(ncclAllReduce, 8); 5];
    let left = Ring { records: &calls, tail: 0, dropped: 0, in_flight: None };
    ring::write(&collector.rings(), 8, &left);
    wait_for("it is counted", || (collector.rows().len() == 1).then_some(()));
    assert_eq!(collector.rows()[0]["count"], 5);
    assert_eq!(collector.rows()[0]["rank"], 1);
    assert_eq!(collector.processes()[0]["life"], "recovered");
}

#[test]
fn recover_reads_the_same_offline_and_removes_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    let calls = vec![call(ncclAllReduce, 8); 100];
    // The ring has 64 places: the first 36 records were overwritten after they were taken.
    let left = Ring { records: &calls, tail: 40, dropped: 0, in_flight: None };
    let path = ring::write(dir.path(), 9, &left);

    let (code, out, said) = recover(&[&at, "--format", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let recovered: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(recovered["rows"][0]["count"], 60);
    assert_eq!(recovered["processes"][0]["accounting"]["before"], 40);
    assert!(path.exists());

    let (_, out, _) = recover(&[&at, "--remove"]);
    assert!(out.contains("made 100 = seen 60 + dropped 0 + before this collector 40"), "{out}");
    assert!(!path.exists());
    let (code, out, _) = recover(&[&at]);
    assert_eq!((code, out.starts_with("No rings of dead processes")), (Some(0), true), "{out}");
}

#[test]
fn a_file_that_cannot_be_read_gets_one_sentence_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let name = |pid: u32| dir.path().join(format!("nccltap-{pid}-1.ring"));
    let calls = [call(ncclAllReduce, 8)];
    let good = Ring { records: &calls, tail: 0, dropped: 0, in_flight: None };
    ring::write(dir.path(), 1, &good);
    std::fs::write(name(2), "not a ring at all").unwrap();
    std::fs::write(name(3), vec![7; 8192]).unwrap();
    let other = ring::write(dir.path(), 4, &good);
    let whole = std::fs::read(&other).unwrap();
    std::fs::remove_file(other).unwrap();
    std::fs::write(name(4), &whole[..whole.len() - 1]).unwrap();
    let mut newer = whole.clone();
    newer[8] = 9;
    std::fs::write(name(5), newer).unwrap();
    let mut damaged = whole.clone();
    damaged[ring::LAYOUT.records(0) + 41] = 0xff;
    std::fs::write(name(6), damaged).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", name(7)).unwrap();

    let (code, out, said) = recover(&[&dir.path().display().to_string(), "--remove"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("seen 1"), "{out}");
    for (pid, sentence) in [
        (2, "fewer than the header"),
        (3, "not a ring file of nccltap"),
        (4, "it is cut off"),
        (5, "ring layout 9"),
        (6, "contradicts itself"),
        (7, "symbolic link"),
    ] {
        let about: Vec<_> =
            said.lines().filter(|line| line.contains(&format!("nccltap-{pid}-1.ring"))).collect();
        assert_eq!(about.len(), 1, "{said}");
        assert!(about[0].contains(sentence), "{}", about[0]);
        assert!(name(pid).symlink_metadata().is_ok());
    }
}

#[test]
fn the_file_of_a_living_process_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let calls = [call(ncclAllReduce, 8)];
    let left = Ring { records: &calls, tail: 0, dropped: 0, in_flight: None };
    let path = ring::write(dir.path(), 1, &left);
    let mut owner = Owner::of(&path);
    let at = dir.path().display().to_string();
    let (code, out, said) = recover(&[&at, "--remove"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("No rings of dead processes"), "{out}");
    assert!(said.contains("its process is alive"), "{said}");
    assert!(path.exists());
    owner.0.kill().unwrap();
    owner.0.wait().unwrap();
    let (_, out, _) = recover(&[&at, "--remove"]);
    assert!(out.contains("seen 1"), "{out}");
}

/// A process that holds the lock of a ring file, as its owner does: this program, once more.
struct Owner(std::process::Child);

impl Owner {
    fn of(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "holds_a_lock", "--nocapture"])
            .env("HOLD", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("holding")));
        Self(child)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the other half of the_file_of_a_living_process_is_left_alone"]
fn holds_a_lock() {
    let Some(path) = std::env::var_os("HOLD") else { return };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    println!("holding");
    let _ = std::io::stdin().read(&mut [0]);
}
