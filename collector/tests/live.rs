//! A collector with its sockets, and agents that speak to it.
#![allow(missing_docs)]

mod support;

use nccltap_proto::Function::{ncclAllReduce, ncclGroupEnd, ncclGroupStart, ncclRecv};
use nccltap_proto::v1;
use nccltap_proto::v1::agent_message::Message;
use support::*;
use tonic::Code;

#[tokio::test]
async fn every_call_is_in_the_rows_and_in_the_metrics_once_it_is_acknowledged() {
    let collector = Collector::start();
    let (mut agent, welcome) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    assert_eq!(welcome.rings, []);
    let calls = vec![call(ncclAllReduce, 4096); 65];
    let report =
        v1::Report { communicators: vec![communicator(1)], ..report(vec![batch(0, 0, &calls)]) };
    let taken = agent.report(report).await.unwrap();
    assert_eq!(taken, [v1::RingPosition { ring: 0, next: 65 }]);

    let rows = collector.rows();
    assert_eq!(rows.len(), 1);
    let expected = serde_json::json!({
        "host": "node-1", "pid": 7, "rank": 1, "stage": null, "phase": "unknown", "phase_source": null,
        "group": "00000000feedbeef", "communicator": "00000000feedbeef", "role": null, "op": "AllReduce", "collective": null,
        "path": "nccl", "launch": "eager", "dtype": "bfloat16", "elements": 4096, "peer": null,
        "ranks_in_group": 2, "count": 65, "message_bytes": 65 * 8192, "bus_bytes": 65 * 8192,
    });
    assert_eq!(rows[0], expected);
    let total = ["nccltap_operations_total", "op=\"AllReduce\"", "rank=\"1\""];
    assert_eq!(collector.metric(&total), Some(65.0));
    assert_eq!(collector.metric(&["nccltap_records_total", "seen"]), Some(65.0));
    agent.goodbye(v1::Report::default()).await;
    assert_eq!(collector.processes()[0]["life"], "ended");
}

#[tokio::test]
async fn the_api_answers_on_the_collector_socket_too() {
    let collector = Collector::start();
    assert_eq!(unix_get(&collector.socket, "/live"), "live\n");
    assert_eq!(unix_get(&collector.socket, "/api/v1/report"), "[]\n");
    assert_eq!(collector.get("/ready"), "ready\n");
}

#[tokio::test]
async fn after_a_reconnect_repeats_are_discarded() {
    let collector = Collector::start();
    let calls = vec![call(ncclAllReduce, 8); 10];
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    agent.report(report(vec![batch(3, 0, &calls)])).await.unwrap();
    drop(agent);
    let (mut agent, welcome) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    assert_eq!(welcome.rings, [v1::RingPosition { ring: 3, next: 10 }]);
    agent.report(report(vec![batch(3, 5, &calls)])).await.unwrap();
    let accounting = &collector.processes()[0]["accounting"];
    assert_eq!(accounting["seen"], 15);
    assert_eq!(accounting["made"], 15);
    assert_eq!(accounting["balanced"], true);
}

#[tokio::test]
async fn a_group_is_told_when_it_ends() {
    let collector = Collector::start();
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    let grouped = |function| nccltap_proto::Record { group: 1, depth: 1, ..call(function, 8) };
    let open = [grouped(ncclGroupStart), grouped(ncclRecv)];
    agent.report(report(vec![batch(0, 0, &open)])).await.unwrap();
    assert!(collector.rows().is_empty());
    agent.report(report(vec![batch(0, 2, &[grouped(ncclGroupEnd)])])).await.unwrap();
    assert_eq!(collector.rows()[0]["op"], "Recv");
}

/// What each bad peer gets to hear; a good one beside it is not disturbed.
#[tokio::test]
async fn a_peer_that_breaks_the_contract_gets_one_sentence_and_others_go_on() {
    let collector = Collector::start();
    let (mut good, _) = FakeAgent::connect(&collector.socket, hello(1)).await.unwrap();
    good.report(report(vec![batch(0, 0, &[call(ncclAllReduce, 8)])])).await.unwrap();

    let refused =
        |hello| async { FakeAgent::connect(&collector.socket, hello).await.err().unwrap() };
    let version = refused(v1::Hello { protocol_version: 99, ..hello(2) }).await;
    assert_eq!(version.code(), Code::FailedPrecondition);
    assert!(version.message().contains("protocol version 99"), "{version}");
    let size = refused(v1::Hello { record_size: 72, ..hello(2) }).await;
    assert_eq!(size.code(), Code::FailedPrecondition);

    let first = Message::Report(v1::Report::default());
    let (mut early, ()) = FakeAgent::open(channel(&collector.socket).await, first).await.unwrap();
    let early = early.answer().await.unwrap_err();
    assert_eq!(early.code(), Code::InvalidArgument);
    assert!(early.message().contains("must be a Hello"), "{early}");

    for (bad, sentence) in [
        (
            Message::Report(v1::Report {
                batches: vec![v1::Batch { records: vec![1; 65].into(), ..batch(0, 0, &[]) }],
                ..Default::default()
            }),
            "not a multiple of 64",
        ),
        (
            Message::Report(report(vec![v1::Batch {
                first: 3,
                ..batch(0, 0, &[call(ncclAllReduce, 8)])
            }])),
            "says it is record 0",
        ),
        (Message::Hello(hello(3)), "one Hello"),
    ] {
        let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(3)).await.unwrap();
        agent.send(bad).await;
        let status = agent.answer().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(sentence), "{status}");
    }

    // Larger than any message may be.
    let (mut large, _) = FakeAgent::connect(&collector.socket, hello(4)).await.unwrap();
    let records = vec![call(ncclAllReduce, 8); 100_000];
    large.send(Message::Report(report(vec![batch(0, 0, &records)]))).await;
    let status = large.answer().await.unwrap_err();
    assert!(status.message().contains("message could not be read"), "{status}");

    // Not even HTTP.
    {
        use std::io::{Read, Write};
        let mut raw = std::os::unix::net::UnixStream::connect(&collector.socket).unwrap();
        raw.write_all(&[0, 1, 2, 3, 255]).unwrap();
        let mut answer = Vec::new();
        let _ = raw.read_to_end(&mut answer);
    }

    good.report(report(vec![batch(0, 1, &[call(ncclAllReduce, 8)])])).await.unwrap();
    let one =
        |rows: &[serde_json::Value]| rows.iter().find(|r| r["pid"] == 1).unwrap()["count"].clone();
    assert_eq!(one(&collector.rows()), 2);
    for (reason, count) in [("version", 2.0), ("contract", 5.0), ("garbage", 1.0)] {
        let reason = format!("reason=\"{reason}\"");
        let got = collector.metric(&["nccltap_streams_refused_total", &reason]);
        assert_eq!(got, Some(count), "{reason}");
    }
    let (_dir, code, log) = collector.stop();
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("neither gRPC nor HTTP").count(), 1, "{log}");
}

#[tokio::test]
async fn a_clean_stop_ends_the_streams_and_removes_the_socket() {
    let collector = Collector::start();
    let socket = collector.socket.clone();
    let (mut agent, _) = FakeAgent::connect(&socket, hello(7)).await.unwrap();
    let (dir, code, _log) = tokio::task::spawn_blocking(|| collector.stop()).await.unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(agent.answer().await.unwrap_err().code(), Code::Unavailable);
    assert!(!socket.exists());
    drop(dir);
}

#[test]
fn a_live_collector_is_not_pushed_aside_and_a_dead_ones_socket_is() {
    let first = Collector::start();
    let second = nccltap()
        .args(["serve", "--http", "127.0.0.1:0", "--listen"])
        .arg(&first.socket)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("a collector is listening there already"), "{said}");
    assert_eq!(unix_get(&first.socket, "/live"), "live\n");

    let dir = first.kill();
    assert!(dir.path().join("collector.sock").exists());
    let third = Collector::start_in(dir, &[]);
    assert_eq!(unix_get(&third.socket, "/live"), "live\n");
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let collector = Collector::start();
    let mode = std::fs::metadata(&collector.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_address_that_cannot_be_listened_on_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a socket").unwrap();
    let file = file.display().to_string();
    for (address, sentence) in [
        (file.as_str(), "a file that is not a socket is in the way"),
        ("unix:/proc/nothing/here.sock", "cannot be made"),
        ("tcp:0.0.0.0:0", "needs a shared secret"),
        ("nowhere", "not an address of a collector"),
    ] {
        let output = nccltap()
            .args(["serve", "--http", "127.0.0.1:0", "--listen", address])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(sentence), "{address}: {said}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("file")).unwrap(), "not a socket");
}

#[tokio::test]
async fn on_tcp_a_token_is_asked_for_where_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("token");
    std::fs::write(&secret, "hush\n").unwrap();
    let secret = secret.display().to_string();
    let collector =
        Collector::start_in(dir, &["--listen", "tcp:127.0.0.1:0", "--token-file", &secret]);
    let tcp = collector.addresses[1].strip_prefix("tcp:").unwrap().to_owned();
    let connect = async |token: &str| {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{tcp}")).unwrap();
        let hello = v1::Hello { token: token.into(), ..hello(7) };
        let channel = endpoint.connect().await.unwrap();
        let (mut agent, ()) = FakeAgent::open(channel, Message::Hello(hello)).await.unwrap();
        agent.answer().await.map(|_| agent)
    };
    for wrong in ["", "hus", "hush!", "HUSH"] {
        let status = connect(wrong).await.err().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated, "{wrong}");
        assert!(status.message().contains("NCCLTAP_TOKEN"), "{status}");
    }
    let mut agent = connect("hush").await.unwrap();
    agent.report(report(vec![batch(0, 0, &[call(ncclAllReduce, 8)])])).await.unwrap();

    // The report by the same socket asks for it too, and the Unix socket does not.
    let ask = |token: Option<&str>| {
        let mut command = nccltap();
        command.args(["report", "--format", "json", "--collector", &collector.addresses[1]]);
        token.map(|token| command.env("NCCLTAP_TOKEN", token));
        command.output().unwrap()
    };
    let refused = ask(None);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("wants a token"), "{refused:?}");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&ask(Some("hush")).stdout).unwrap();
    assert_eq!(rows[0]["count"], 1);
    assert_eq!(unix_get(&collector.socket, "/live"), "live\n");
    assert_eq!(collector.metric(&["nccltap_streams_refused_total", "token"]), Some(5.0));
}
