//! `nccltap run` as a command among commands: exit codes, signals, output, environment.
//!
//! What is preloaded here is a library that does nothing by itself; tests with the tap in it are
//! those of the crate `tests`.
#![allow(missing_docs)]

mod support;

use nccltap_proto::uplink;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use support::nccltap;

/// A library that can be preloaded, with what says it is an uplink beside it, and their directory.
fn some_library() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let library = nccltap_rehearsal::install(dir.path()).unwrap().library;
    let source = dir.path().join("uplink.c");
    let symbol = uplink::SYMBOL.to_str().unwrap();
    std::fs::write(&source, format!("unsigned {symbol}[64] = {{{}}};", uplink::VERSION)).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(dir.path().join(uplink::LIBRARY)).arg(&source);
    assert!(compiler.status().unwrap().success());
    (dir, library)
}

fn run_with(library: &PathBuf, options: &[&str], script: &str) -> Command {
    let mut command = nccltap();
    command.env("NCCLTAP_LIBRARY", library).env_remove("LD_PRELOAD");
    command.arg("run").args(options).args(["--", "sh", "-c", script]);
    command
}

fn run(options: &[&str], script: &str) -> Output {
    let (_dir, library) = some_library();
    run_with(&library, options, script).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_exit_code_is_the_commands() {
    for (script, code) in [("true", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        assert_eq!(run(&[], script).status.code(), Some(code), "{script}");
    }
    let (_dir, library) = some_library();
    for (program, code) in [("/nowhere/at/all", 127), ("/etc/passwd", 126)] {
        let output =
            nccltap().env("NCCLTAP_LIBRARY", &library).args(["run", program]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{program}");
        assert!(text(&output.stderr).contains("cannot be run"), "{}", text(&output.stderr));
    }
}

#[test]
fn the_commands_own_output_stays_clean() {
    let output = run(&[], "echo out; echo err >&2");
    assert_eq!(text(&output.stdout), "out\n");
    let said = text(&output.stderr);
    assert!(said.starts_with("err\n"), "{said}");
    assert!(said.contains("No process has called NCCL under the tap."), "{said}");
    assert_eq!(text(&run(&["--quiet"], "echo err >&2").stderr), "err\n");
}

#[test]
fn the_tap_joins_ld_preload_and_reports_to_a_socket_of_its_own() {
    let (_dir, library) = some_library();
    let other = library.with_file_name("other.so");
    std::fs::copy(&library, &other).unwrap();
    let mut command = run_with(&library, &["--quiet"], "echo $LD_PRELOAD; echo $NCCLTAP_COLLECTOR");
    let output = command.env("LD_PRELOAD", &other).output().unwrap();
    let said = text(&output.stdout);
    let mut lines = said.lines();
    let expected = format!("{}:{}", library.display(), other.display());
    assert_eq!(lines.next(), Some(expected.as_str()));
    let socket = lines.next().and_then(|line| line.strip_prefix("unix:")).unwrap();
    assert!(!PathBuf::from(socket).exists(), "it is gone with the command");
}

#[test]
fn signals_are_the_commands() {
    let (_dir, library) = some_library();
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")] {
        let script = format!(
            "trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.01; done"
        );
        let mut child =
            run_with(&library, &["--quiet"], &script).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("got {name}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(9));
    }
}

#[test]
fn what_cannot_work_is_said_before_the_command_runs() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("taken.rec");
    std::fs::write(&taken, "NCCLREC1 and more").unwrap();
    let taken = taken.display().to_string();
    for (options, sentence) in [
        (vec!["--record", &taken], "exists; remove it"),
        (vec!["--record", "/nowhere/a.rec"], "cannot record to /nowhere/a.rec"),
        (vec!["--collector", "unix:/nowhere.sock"], "no collector answers at unix:/nowhere.sock"),
        (vec!["--collector", "nowhere"], "not an address of a collector"),
    ] {
        let output = run(&options, "echo it ran");
        assert!(!output.status.success(), "{options:?}");
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains(sentence), "{}", text(&output.stderr));
    }
    let output = nccltap().env("NCCLTAP_LIBRARY", "/nowhere.so").args(["run", "true"]).output();
    let said = text(&output.unwrap().stderr);
    assert!(said.contains("NCCLTAP_LIBRARY names /nowhere.so"), "{said}");
}

#[test]
fn with_a_collector_that_is_running_the_counts_are_there() {
    let collector = support::Collector::start();
    let address = format!("unix:{}", collector.socket.display());
    let output = run(&["--collector", &address], "echo $NCCLTAP_COLLECTOR");
    assert_eq!(text(&output.stdout), format!("{address}\n"));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("nccltap report --collector {address}")), "{said}");
}

#[test]
fn rows_and_recording_are_written_where_asked() {
    let dir = tempfile::tempdir().unwrap();
    let rows = dir.path().join("rows.json");
    let record = dir.path().join("run.rec");
    let options =
        ["--report", rows.to_str().unwrap(), "--record", record.to_str().unwrap(), "--quiet"];
    assert!(run(&options, "true").status.success());
    assert_eq!(std::fs::read_to_string(rows).unwrap(), "[]\n");
    let output = nccltap().arg("report").arg(record).output().unwrap();
    assert_eq!(text(&output.stdout), "No process has called NCCL under the tap.\n");
}

/// An engine's `/metrics`, which counts two requests more each time it is asked, and makes a file when it has
/// answered three times.
fn engine(answered: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (asked, stream) in (1u32..).zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            let head = BufReader::new(&stream).lines().map_while(Result::ok);
            head.take_while(|line| !line.is_empty()).for_each(drop);
            let count = 2 * asked;
            let body = format!(
                "vllm:e2e_request_latency_seconds_bucket{{le=\"+Inf\"}} {count}\n\
                 vllm:e2e_request_latency_seconds_sum {count}\n\
                 vllm:e2e_request_latency_seconds_count {count}\n\
                 vllm:generation_tokens_total {count}\n"
            );
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
            if asked == 3 {
                std::fs::write(&answered, "").unwrap();
            }
        }
    });
    address
}

#[test]
fn latencies_of_requests_are_those_that_the_engine_counted_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let answered = dir.path().join("answered");
    let address = engine(answered.clone());
    let script = format!("until [ -e {} ]; do sleep 0.1; done", answered.display());
    let recording = dir.path().join("run.rec").display().to_string();
    let options = ["--engine-metrics", &format!("http://{address}"), "--record", &recording];
    let output = run(&options, &script);
    let said = text(&output.stderr);
    // The third answer may have been given and not been read when the command ends.
    let between = |count: u32| said.contains(&format!(": {count} finished, 0 tokens of prompts"));
    assert!(between(2) || between(4), "{said}");
    assert!(said.contains("end to end") && said.contains("1.00 s"), "{said}");
    // `nccltap report` finds beside the recording what the engine said last.
    let last = std::fs::read_to_string(format!("{recording}.metrics")).unwrap();
    assert!(
        last.contains("generation_tokens_total 4") || last.contains("generation_tokens_total 6")
    );
    let report = nccltap().args(["report", &recording, "--view", "summary"]).output().unwrap();
    assert!(report.status.success(), "{}", text(&report.stderr));
}

#[test]
fn the_doctor_says_what_cannot_be_preloaded() {
    let (dir, library) = some_library();
    let text_file = dir.path().join("text");
    std::fs::write(&text_file, "hello").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&text_file, mode).unwrap();
    let text_file = text_file.display().to_string();
    for (program, sentence) in [
        ("nothing-of-this-name", "MISS  nothing-of-this-name is not found"),
        (&text_file, "is no program of this system"),
    ] {
        let output = nccltap()
            .env("NCCLTAP_LIBRARY", &library)
            .args(["doctor", "--", program])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains(sentence), "{}", text(&output.stdout));
    }
    let output = nccltap().env("NCCLTAP_LIBRARY", &text_file).arg("doctor").output().unwrap();
    assert!(text(&output.stdout).contains("MISS  the tap cannot be loaded"));
    let output = nccltap()
        .env("NCCLTAP_LIBRARY", &library)
        .args(["doctor", "--pid", &std::process::id().to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("MISS  the tap is not in process"));
}
