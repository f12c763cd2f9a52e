//! What a running collector shows of itself, by HTTP: the snapshots, the events, the files of the page.
#![allow(missing_docs)]

mod support;

use nccltap_proto::Function::{cudaLaunchKernel, ncclAllReduce};
use nccltap_proto::record::KernelCall;
use nccltap_proto::v1;
use nccltap_proto::{Kernel, Path, Record};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::engine::Shape;
use support::job::Job;
use support::*;

fn live(collector: &Collector) -> Value {
    serde_json::from_str(&collector.get("/api/v1/live")).expect("a snapshot")
}

/// Waits for a snapshot that is as it should be.
fn live_when(collector: &Collector, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || Some(live(collector)).filter(|live| is(live)))
}

/// What a request is answered with, head and body.
fn answer(collector: &Collector, path: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(&collector.http).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// A listener of events.
struct Events(BufReader<TcpStream>);

impl Events {
    fn of(collector: &Collector) -> Self {
        let mut stream = TcpStream::connect(&collector.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    /// The next snapshot; `None` when the stream has ended.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }
}

/// Rows without the fields that only a live view has.
fn without_rates(rows: &Value) -> Vec<Value> {
    let rates = ["rate", "operations_rate", "message_rate", "bus_rate"];
    let strip = |row: &Value| {
        let mut row = row.clone();
        rates.iter().for_each(|rate| {
            row.as_object_mut().unwrap().remove(*rate);
        });
        row
    };
    rows.as_array().unwrap().iter().map(strip).collect()
}

#[tokio::test]
async fn the_snapshot_says_what_the_report_says() {
    for shape in [Shape { tensor: 2, stages: 1 }, Shape { tensor: 4, stages: 2 }] {
        let collector = Collector::start();
        let mut job = Job::start(&collector.socket, shape).await;
        job.step(128, 0).await;
        for decoded in 1..20u64 {
            job.step(1, (128 + decoded).div_ceil(16)).await;
        }
        let report = collector.get("/api/v1/report?view=summary&format=json");
        let report: Value = serde_json::from_str(&report).unwrap();
        let live = live(&collector);
        assert_eq!(live["layouts"], report["layouts"]);
        // The traffic is the report's table of collectives, in its order.
        let named = |row: &Value| {
            let mut row = row.clone();
            let row = row.as_object_mut().unwrap();
            let count = row.remove("operations").unwrap();
            row.insert("count".into(), count);
            json!(row)
        };
        let traffic: Vec<Value> = without_rates(&live["traffic"]).iter().map(named).collect();
        assert_eq!(json!(traffic), report["collectives"]);
        assert_eq!(json!(without_rates(&live["peers"]["cells"])), report["transfers"]["cells"]);
        assert_eq!(json!(without_rates(&live["sizes"])), report["sizes"]);
        for key in ["accounting", "missing"] {
            assert_eq!(live[key], report[key], "{key}");
        }
        assert_eq!(live["run"]["bins"], report["timeline"]["bins"]);
        for (rank, worker) in
            live["ranks"].as_array().unwrap().iter().zip(report["workers"].as_array().unwrap())
        {
            for key in ["host", "pid", "data", "stage", "tensor", "message_bytes", "bus_bytes"] {
                assert_eq!(rank[key], worker[key], "{key}");
            }
        }
        let steps = |of: &Value| -> Vec<(String, u64, Value)> {
            let rows = of.as_array().unwrap().iter();
            let row = |row: &Value| {
                let phase = row["phase"].as_str().unwrap().to_owned();
                (phase, row["steps"].as_u64().unwrap(), row["tokens"].clone())
            };
            rows.map(row).collect()
        };
        assert_eq!(steps(&live["steps"]), steps(&report["phases"]));
    }
}

#[tokio::test]
async fn rates_are_those_of_the_last_seconds_and_seconds_are_remembered_before_anybody_looks() {
    let collector = Collector::start();
    let mut job = Job::start(&collector.socket, Shape { tensor: 2, stages: 1 }).await;
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let mut sent = 0;
    while began.elapsed() < Duration::from_secs(4) {
        tick.tick().await;
        job.step(1, 9).await;
        sent += 1;
    }
    let first = live(&collector);
    // Rates need two looks; seconds do not.
    assert_eq!(first["window_seconds"], 0.0);
    let seconds = first["recent"].as_array().unwrap();
    assert!(seconds.len() >= 2, "{seconds:?}");
    // Each is a rate over about a second: together they are about as many steps as there were by then.
    let decode = |second: &Value| second["steps"][1].as_u64().unwrap();
    let told: u64 = seconds.iter().map(decode).sum();
    assert!((20..=2 * sent).contains(&told), "{told} of {sent}: {seconds:?}");
    let began = Instant::now();
    let mut last = first;
    while began.elapsed() < Duration::from_secs(4) {
        tick.tick().await;
        job.step(1, 9).await;
        last = live(&collector);
    }
    let steps = last["steps"].as_array().unwrap();
    let decode = steps.iter().find(|row| row["phase"] == "decode").unwrap();
    let rate = decode["rate"].as_f64().unwrap();
    let window = last["window_seconds"].as_f64().unwrap();
    assert!((5.0..=40.0).contains(&rate), "20 steps a second were told as {rate}");
    assert!((1.0..=5.0).contains(&window), "{window}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_past_nccl_is_said_with_its_share_as_the_report_says_it() {
    let collector = Collector::start();
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    let kernel = Kernel::all().find(|kernel| kernel.path() == Path::CustomAllReduce);
    let reduction = KernelCall { kernel, ranks: 2 }.to_word();
    let custom = Record { reduction, peer: 0, ..call(cudaLaunchKernel, 4096) };
    let mut calls = vec![custom; 3];
    calls.push(call(ncclAllReduce, 4096));
    let communicators = vec![communicator(0)];
    agent.report(v1::Report { communicators, ..report(vec![batch(0, 0, &calls)]) }).await.unwrap();
    let seen = live_when(&collector, "four operations", |live| live["accounting"]["seen"] == 4);
    let said = "AllReduce of unknown: 75 % custom_all_reduce, 25 % nccl (message bytes)";
    assert_eq!(seen["coverage"]["ways"], json!([said]));
    for format in ["text", "html"] {
        let report = collector.get(&format!("/api/v1/report?view=summary&format={format}"));
        assert!(report.contains(said), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rank_that_stops_is_named() {
    let collector = Collector::start();
    let mut job = Job::start(&collector.socket, Shape { tensor: 4, stages: 1 }).await;
    for _ in 0..5 {
        job.step(1, 9).await;
    }
    let well = live(&collector);
    assert_eq!(well["attention"], json!([]), "{}", well["attention"]);
    // Rank 2 misses a step, and nobody does anything after it; all go on reporting.
    let mut missed = false;
    let deadline = Instant::now() + Duration::from_secs(30);
    let named = loop {
        assert!(Instant::now() < deadline, "waited in vain until the rank is named");
        let first = !std::mem::replace(&mut missed, true);
        job.each(|rank, number| {
            if first && number != 2 {
                rank.step(1, 9);
            }
        })
        .await;
        let live = live(&collector);
        // At first it is behind, while the pace of the others is not forgotten.
        if live["attention"].to_string().contains("stopped") {
            break live;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let said = &named["attention"][0];
    assert_eq!(said["sentence"], "Rank 2 stopped before the others of a group did.");
    assert_eq!((&said["severity"], &said["view"]), (&json!("bad"), &json!("ranks")));
    assert!(named["ranks"][2]["behind"].as_u64().unwrap() > 50, "{}", named["ranks"][2]);
    assert!(named["ranks"][2]["behind_seconds"].as_f64().unwrap() >= 1.0, "{}", named["ranks"][2]);
    assert_eq!(named["ranks"][1]["behind_seconds"], 0.0);
    assert_eq!(named["groups"][0]["members"][1]["behind"], 0);

    // A rank whose stream ends without a Goodbye is named too.
    job.members.remove(3);
    let gone = live_when(&collector, "the rank is gone", |live| {
        live["attention"].to_string().contains("without a Goodbye")
    });
    assert_eq!(gone["attention"][0]["sentence"], "Rank 3 left without a Goodbye.");
    assert_eq!(gone["ranks"][3]["state"], "gone");
}

#[test]
fn without_ranks_everything_is_empty_and_nothing_fails() {
    let collector = Collector::start();
    let live = live(&collector);
    for list in ["ranks", "traffic", "sizes", "groups", "steps", "attention", "missing", "layouts"]
    {
        assert_eq!(live[list], json!([]), "{list}");
    }
    assert_eq!(live["prediction"], Value::Null);
    assert_eq!(live["number"], 1);
}

#[tokio::test]
async fn a_thousand_communicators_long_names_and_clocks_that_jump_are_borne() {
    let collector = Collector::start();
    for rank in 0..2 {
        let mut greeting = hello(7 + rank);
        let odd = "\u{1b}[31m<b>\u{202e}".to_owned() + &"long".repeat(50);
        let process = greeting.process.take().unwrap();
        greeting.process = Some(v1::Process { host: odd.clone(), job: odd, ..process });
        let (mut agent, _) = FakeAgent::connect(&collector.socket, greeting).await.unwrap();
        let many = (0..1000u32).map(|number| v1::Communicator {
            id: number,
            handle: HANDLE + u64::from(number),
            group: GROUP + u64::from(number),
            name: "a name ".repeat(20),
            ..communicator(rank as i32)
        });
        let calls: Vec<Record> = (0..1000)
            .flat_map(|number| {
                let one = Record { communicator: HANDLE + number, ..call(ncclAllReduce, 8) };
                vec![one; 1 + number as usize % 3]
            })
            .collect();
        let first = v1::Report { communicators: many.collect(), ..report(vec![]) };
        agent.report(first).await.unwrap();
        for (number, calls) in calls.chunks(500).enumerate() {
            let mut next = report(vec![batch(0, number as u64 * 500, calls)]);
            // The wall clock of the host goes back, and far into the future.
            let realtime_ns = [u64::MAX - 1, 1, 1 << 62][number % 3];
            let ticks = 10_000 + number as u64;
            next.anchor = Some(v1::Anchor { ticks, monotonic_ns: ticks, realtime_ns });
            agent.report(next).await.unwrap();
        }
        std::mem::forget(agent);
    }
    let mut listener = Events::of(&collector);
    let one = listener.next().unwrap();
    let two = listener.next().unwrap();
    assert_eq!(one["ranks"].as_array().unwrap().len(), 2);
    assert_eq!(one["groups"].as_array().unwrap().len(), 64);
    assert_eq!(one["groups_left_out"], 1000 - 64);
    assert!(two["number"].as_u64() > one["number"].as_u64());
    assert!(two.to_string().len() < 200_000, "{}", two.to_string().len());
}

#[test]
fn listeners_get_the_same_events_and_a_stop_does_not_wait_for_them() {
    let collector = Collector::start();
    let mut all: Vec<Events> = (0..10).map(|_| Events::of(&collector)).collect();
    let first = all[0].next().unwrap();
    let next = all[0].next().unwrap();
    assert_eq!(next["number"].as_u64().unwrap(), first["number"].as_u64().unwrap() + 1);
    for other in &mut all[1..] {
        let same = std::iter::from_fn(|| other.next()).find(|e| e["number"] == next["number"]);
        assert_eq!(same.unwrap(), next);
    }
    let stopping = Instant::now();
    let (_dir, code, _log) = collector.stop();
    assert_eq!(code, Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(2), "{:?}", stopping.elapsed());
    assert!(std::iter::from_fn(|| all[0].next()).count() < 10);
}

#[test]
fn the_page_is_sent_once_and_may_load_nothing_but_itself() {
    let collector = Collector::start();
    let (head, page) = answer(&collector, "/", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/html"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim();
    let (again, nothing) = answer(&collector, "/", &format!("If-None-Match: \"x\", {tag}\r\n"));
    assert!(again.starts_with("http/1.1 304") && nothing.is_empty(), "{again}");
    for piece in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(head.contains(piece), "{head}");
    }
    assert!(!head.contains("unsafe-inline"), "{head}");
    // No handler and no style in the text, and every address is of this collector.
    for inline in [" onclick", " onload", " style=", "<style", "http://", "https://", "//"] {
        assert!(!page.contains(inline), "{inline}");
    }
    let mut asked = vec!["/page/page.css".to_owned(), "/page/main.js".to_owned()];
    let mut at = 0;
    while let Some(file) = asked.get(at).cloned() {
        let (head, text) = answer(&collector, &file, "");
        assert!(head.starts_with("http/1.1 200"), "{file}: {head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{file}: {head}");
        assert!(!text.contains("https://") && !text.contains("innerHTML"), "{file}");
        for import in text.lines().filter_map(|line| line.strip_prefix("import ")) {
            let (_, name) = import.split_once("\"./").unwrap();
            let name = format!("/page/{}", name.trim_end_matches("\";"));
            if !asked.contains(&name) {
                asked.push(name);
            }
        }
        at += 1;
    }
    assert!(asked.len() > 10, "{asked:?}");
    assert!(answer(&collector, "/page/nothing.js", "").0.starts_with("http/1.1 404"));
    assert!(answer(&collector, "/page/..%2f..%2fmod.rs", "").0.starts_with("http/1.1 404"));
}
