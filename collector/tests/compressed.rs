//! Answers over HTTP are compressed where they may be, and say the same.
#![allow(missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use support::*;

/// Head and body of an answer to a request with these headers.
fn ask(collector: &Collector, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(&collector.http).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: here\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    (head, answer.split_off(end + 4))
}

fn plain(compressed: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(compressed).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_gzip_gets_it_and_who_does_not_gets_text() {
    let collector = Collector::start();
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    let calls = vec![call(nccltap_proto::Function::ncclAllReduce, 4096); 65];
    agent.report(report(vec![batch(0, 0, &calls)])).await.unwrap();
    for path in ["/metrics", "/api/v1/report", "/"] {
        let (head, text) = ask(&collector, path, "");
        assert!(!head.contains("content-encoding"), "{head}");
        let (head, compressed) = ask(&collector, path, "Accept-Encoding: deflate, gzip\r\n");
        assert!(head.contains("content-encoding: gzip"), "{path}: {head}");
        assert!(
            head.contains("vary: accept-encoding") || head.contains(", accept-encoding"),
            "{head}"
        );
        assert_eq!(plain(&compressed), String::from_utf8(text.clone()).unwrap(), "{path}");
        assert!(compressed.len() < text.len(), "{path}: {} of {}", compressed.len(), text.len());
    }
    let (head, _) = ask(&collector, "/metrics", "Accept-Encoding: identity, gzip;q=0\r\n");
    assert!(!head.contains("content-encoding"), "{head}");
    collector.stop();
}

/// A compressed event would wait in a buffer for the next one.
#[test]
fn events_are_not_compressed() {
    let collector = Collector::start();
    let mut stream = TcpStream::connect(&collector.http).unwrap();
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: here\r\nAccept-Encoding: gzip\r\n\r\n")
        .unwrap();
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    let head = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(head.contains("text/event-stream") && !head.contains("content-encoding"), "{head}");
    drop(stream);
    collector.stop();
}
