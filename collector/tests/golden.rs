//! What users see, word for word. `NCCLTAP_BLESS=1 cargo test -p nccltap --test golden` writes it.
#![allow(missing_docs)]

mod support;

use nccltap_collector::collector::Collector;
use nccltap_collector::outputs::processes::overview;
use nccltap_collector::outputs::prometheus::continuity::SERIES;
use nccltap_collector::outputs::prometheus::{Exposition, Format, table};
use nccltap_collector::outputs::rows::{View, json, rows};
use nccltap_collector::outputs::text;
use nccltap_proto::Function::{
    ncclAllReduce, ncclBcast, ncclGroupEnd, ncclRecv, ncclReduceScatter, ncclSend,
};
use nccltap_proto::record::Record;
use nccltap_proto::v1::{self, agent_message::Message};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::*;

fn same_as(kept: PathBuf, fresh: &str) {
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::write(&kept, fresh).unwrap();
        return;
    }
    let text = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(
        text == fresh,
        "{} differs from:\n{fresh}\nNCCLTAP_BLESS=1 cargo test -p nccltap --test golden writes it",
        kept.display()
    );
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn take(collector: &Collector, hello: v1::Hello, messages: Vec<Message>) {
    let (stream, _) = collector.hello(hello, 0).unwrap();
    for message in messages {
        collector.take(stream.followed(), message, 0, false);
    }
}

/// Four ranks that serve: a gather of logits to rank 0, and a little trouble at rank 3.
fn four_ranks() -> Arc<Collector> {
    let collector = Collector::new(8);
    for rank in 0..4 {
        let grouped =
            |function, peer| Record { group: 1, depth: 1, peer, ..call(function, 32_064) };
        let mut calls = vec![Record { peer: 0, ..call(ncclBcast, 128) }];
        calls.extend(vec![call(ncclAllReduce, 4096); 65]);
        match rank {
            0 => calls.extend((1..4).map(|peer| grouped(ncclRecv, peer))),
            _ => calls.push(grouped(ncclSend, 0)),
        }
        calls.push(grouped(ncclGroupEnd, -1));
        let facts = v1::Communicator { ranks: 4, ..communicator(rank) };
        let mut one = v1::Report { communicators: vec![facts], ..report(vec![]) };
        if rank == 3 {
            calls.push(Record { result: 5, ..call(ncclReduceScatter, 7) });
            one.faults = vec![v1::Fault { name: "reconnect".into(), count: 2 }];
            let hangs = Record { end: 0, ..call(ncclAllReduce, 4096) };
            let record = hangs.to_words().iter().flat_map(|word| word.to_le_bytes()).collect();
            one.in_flight = vec![v1::InFlight { ring: 0, thread: 77, record }];
        }
        let batches = report(vec![batch(0, 0, &calls)]);
        one.batches = batches.batches;
        one.rings = batches.rings;
        one.rings[0].dropped = u64::from(rank == 3);
        let mut messages = vec![Message::Report(one)];
        if rank < 3 {
            messages.push(Message::Goodbye(v1::Goodbye { last: None }));
        }
        take(&collector, hello(100 + rank.unsigned_abs()), messages);
    }
    Arc::new(collector)
}

#[test]
fn the_text_report() {
    let collector = four_ranks();
    for view in [View::Operations, View::Collectives] {
        let text = text::report(&rows(&collector, view), &overview(&collector), view);
        same_as(golden(&format!("report-{}.txt", view.name())), &text);
    }
}

#[test]
fn the_rows() {
    let collector = four_ranks();
    for view in [View::Operations, View::Collectives] {
        same_as(
            golden(&format!("rows-{}.json", view.name())),
            &json(&rows(&collector, view)).unwrap(),
        );
    }
}

#[test]
fn the_processes() {
    let text = serde_json::to_string_pretty(&overview(&four_ranks()).processes[3]).unwrap();
    same_as(golden("process.json"), &(text + "\n"));
}

#[test]
fn the_metrics() {
    let text = Exposition::new(four_ranks()).write(Format::OpenMetrics).unwrap();
    let text = String::from_utf8(text).unwrap();
    obeys_the_rules(&text);
    same_as(golden("metrics.txt"), &text);
}

#[test]
fn the_text_format_has_the_same_samples_as_openmetrics() {
    let exposition = Exposition::new(four_ranks());
    let samples = |format| {
        let text = String::from_utf8(exposition.write(format).unwrap()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    assert_eq!(samples(Format::Text), samples(Format::OpenMetrics));
}

#[test]
fn promtool_has_nothing_to_say_against_the_metrics() {
    let text = Exposition::new(four_ranks()).write(Format::Text).unwrap();
    let Some(said) = promtool::say(&["check", "metrics"], &text) else { return };
    assert_eq!(said, "");
}

/// The rules of the text format that a scrape would fail on: each sample belongs to the family that
/// was declared last, no sample twice, buckets that only grow and end with the count, a last line.
fn obeys_the_rules(text: &str) {
    let mut family = "";
    let mut seen = std::collections::BTreeSet::new();
    let mut bucket: Option<(String, f64)> = None;
    for line in text.lines().take_while(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with(family), "{line} is not in {family}");
        assert!(seen.insert(series.to_owned()), "{series} twice");
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite(), "{line}");
        let Some((labels, _)) = series.split_once(",le=\"") else { continue };
        if let Some((of, before)) = bucket.filter(|(of, _)| of == labels) {
            assert!(value >= before, "{of} falls");
        }
        if series.contains("le=\"+Inf\"") {
            let count = labels.replacen("_bucket{", "_count{", 1) + "}";
            assert!(text.contains(&format!("{count} {value}\n")), "{count}");
        }
        bucket = Some((labels.to_owned(), value));
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_page_about_metrics() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    same_as(page, &table::document(SERIES));
}

#[test]
fn the_help() {
    let mut text = String::new();
    for command in [
        "",
        "serve",
        "run",
        "report",
        "top",
        "export",
        "predict",
        "check",
        "advise",
        "recover",
        "doctor",
        "demo",
        "library",
        "completions",
        "man",
    ] {
        let mut help = nccltap();
        help.args((!command.is_empty()).then_some(command)).arg("--help");
        let output = help.env("COLUMNS", "100").output().unwrap();
        assert!(output.status.success());
        let name = format!("nccltap {command}");
        text.push_str(&format!("$ {} --help\n", name.trim_end()));
        text.push_str(&String::from_utf8(output.stdout).unwrap());
        text.push('\n');
    }
    same_as(golden("help.txt"), &text);
}
