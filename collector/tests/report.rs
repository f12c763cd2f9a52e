//! The report of a run: `nccltap report` and `/api/v1/report?view=summary`.
//! `NCCLTAP_BLESS=1 cargo test -p nccltap --test report` writes what is printed.
#![allow(missing_docs)]

mod support;

use nccltap_proto::Function::ncclAllReduce;
use nccltap_proto::record::Record;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use support::engine::{METRICS, OUTPUT, PROMPT, record};
use support::{Collector, nccltap};

/// A recording of the whole run, in a folder of its own.
fn recorded() -> (tempfile::TempDir, PathBuf) {
    recorded_without(|_, _| false)
}

fn recorded_without(lost: impl Fn(u32, &Record) -> bool) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.rec");
    record(&file, lost);
    (folder, file)
}

fn report(file: &Path, more: &[&str]) -> Output {
    nccltap().arg("report").arg(file).args(more).output().unwrap()
}

fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The options that name what was served; the layout is the one that is seen.
fn named() -> Vec<String> {
    let (prompt, output) = (PROMPT.to_string(), OUTPUT.to_string());
    ["--model", "llama-3.1-8b", "--max-model-len", "2048", "--prompt", &prompt, "--output", &output]
        .map(str::to_owned)
        .to_vec()
}

fn report_with_model(file: &Path, more: &[&str]) -> String {
    let mut options = named();
    options.extend(more.iter().map(|option| (*option).to_owned()));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    text(&report(file, &options))
}

fn same_as(name: &str, fresh: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::write(&kept, fresh).unwrap();
        return;
    }
    let text = std::fs::read_to_string(&kept).unwrap_or_default();
    let hint = "NCCLTAP_BLESS=1 cargo test -p nccltap --test report writes it";
    assert!(text == fresh, "{} differs from what is printed; {hint}", kept.display());
}

#[test]
fn what_is_printed() {
    let (_folder, file) = recorded();
    for format in ["text", "json", "html"] {
        let ending = if format == "text" { "txt" } else { format };
        let fresh = report_with_model(&file, &["--format", format]);
        same_as(&format!("report-summary.{ending}"), &fresh);
    }
}

fn summary(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn rows<'a>(of: &'a Value, name: &str) -> &'a Vec<Value> {
    of[name].as_array().unwrap()
}

#[test]
fn table_6_of_the_paper_is_read_off_a_run() {
    let (_folder, file) = recorded();
    let report = summary(&report_with_model(&file, &["--format", "json"]));
    for (phase, collective, shape, count) in [
        ("prefill", "AllReduce", vec![128, 4096], 33),
        ("prefill", "Gather", vec![64_128], 1),
        ("prefill", "AllGather", vec![128, 4096], 2),
        ("prefill", "Send", vec![128, 2048], 2),
        ("prefill", "Recv", vec![128, 2048], 2),
        ("decode", "AllReduce", vec![1, 4096], 4191),
        ("decode", "Gather", vec![64_128], 127),
        ("decode", "AllGather", vec![1, 4096], 254),
        ("decode", "Send", vec![1, 2048], 254),
        ("decode", "Recv", vec![1, 2048], 254),
    ] {
        let is = |row: &&Value| row["phase"] == phase && row["collective"] == collective;
        let found: Vec<&Value> = rows(&report, "paper").iter().filter(is).collect();
        let [row] = found.as_slice() else { panic!("{phase} {collective}: {found:?}") };
        assert_eq!((&row["table"], &row["count"]), (&"VI".into(), &count.into()), "{row}");
        assert_eq!(row["shape"], serde_json::to_value(shape).unwrap(), "{row}");
    }
    let four = rows(&report, "paper").iter().filter(|row| row["collective"] == "AllReduce");
    let sizes: Vec<_> = four.map(|row| row["message_size"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1_048_576, 8192]);
}

#[test]
fn a_run_that_is_as_predicted_is_said_to_be_and_one_that_is_not_is_not() {
    let (_folder, file) = recorded();
    let report = summary(&report_with_model(&file, &["--format", "json"]));
    let compared = &report["compared"];
    assert_eq!(compared["agrees"], true, "{compared}");
    for cell in rows(compared, "cells") {
        assert_eq!(cell["seen_count"], cell["predicted_count"], "{cell}");
        assert_eq!(cell["seen_bytes"], cell["predicted_bytes"], "{cell}");
    }
    // Figure 6: the layout that ran, and the others of four ranks; pipelines send least.
    let layouts = rows(compared, "layouts");
    let names: Vec<_> = layouts.iter().map(|row| row["layout"].as_str().unwrap()).collect();
    assert_eq!(names, ["TP=2xPP=2", "TP=4", "PP=4"]);
    let total = |row: &Value| -> u64 {
        row["bus_bytes"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum()
    };
    assert_eq!(layouts[0]["seen"], layouts[0]["bus_bytes"]);
    assert!(total(&layouts[2]) < total(&layouts[0]) && total(&layouts[0]) < total(&layouts[1]));
    // Figure 7: one, two and four times as many tokens.
    let growth = rows(compared, "growth");
    assert_eq!(growth[0]["seen"], growth[0]["bus_bytes"]);
    assert_eq!(growth[2]["output"], 4 * OUTPUT);

    let few = |rank: u32, call: &Record| {
        rank == 1 && call.function == ncclAllReduce.id() && call.start.is_multiple_of(7)
    };
    let (_folder, file) = recorded_without(few);
    let text = report_with_model(&file, &[]);
    assert!(text.contains("is not what was predicted"), "{text}");
    let (_, rows) = text.split_once("Rows that are not as predicted").expect(&text);
    assert!(rows.lines().nth(2).unwrap().contains("AllReduce"), "{rows}");
}

#[test]
fn who_sends_to_whom_adds_up_to_what_is_sent() {
    let (_folder, file) = recorded();
    let report = summary(&text(&report(&file, &["--view", "summary", "--format", "json"])));
    let decodes = OUTPUT - 1;
    let tokens = PROMPT + decodes;
    let hidden = 4096 * 2;
    let cell = |from: u64, to: u64| {
        let cells = rows(&report["transfers"], "cells").iter();
        let mut here = cells.filter(|cell| cell["from"] == from && cell["to"] == to);
        here.next().map(|cell| (cell["named_bytes"].as_u64(), cell["ring_bytes"].as_u64()))
    };
    // Two tensors of half the hidden size cross the boundary, for each token.
    for (from, to) in [(0, 2), (1, 3)] {
        assert_eq!(cell(from, to), Some((Some(tokens * hidden), Some(0))));
    }
    // Rank 3 gives its part of the logits to the root, and its ring what AllReduce and AllGather send.
    let ring = tokens * hidden * 32 + tokens * hidden;
    let logits = (1 + decodes) * 64_128 * 2;
    // Of the broadcasts of metadata, the root sends, and the rank before the root does not.
    assert_eq!(cell(3, 2), Some((Some(logits), Some(ring))));
    assert_eq!(cell(2, 0), None);
}

#[test]
fn the_timeline_has_every_step_and_every_byte_after_start_up() {
    let (_folder, file) = recorded();
    let report = summary(&text(&report(&file, &["--view", "summary", "--format", "json"])));
    let bins = rows(&report["timeline"], "bins");
    let sum = |what: &str, phase: usize| -> u64 {
        bins.iter().map(|bin| bin[what][phase].as_u64().unwrap()).sum()
    };
    // Prefill, decode.
    assert_eq!([sum("steps", 0), sum("steps", 1)], [1, OUTPUT - 1]);
    let told = rows(&report, "operation_rows").iter();
    let prefill = told.filter(|row| row["phase"] == "prefill");
    let bytes: u64 = prefill.map(|row| row["message_bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum("message_bytes", 0), bytes);
    let startup = report["timeline"]["startup_operations_before"].as_u64().unwrap();
    // Two warm-ups of each rank, the profiling pass, and both sides of its logits.
    assert_eq!(startup, 8 + 2 * (33 + 32) + 2);
}

#[test]
fn without_a_model_shapes_are_numbers_of_elements() {
    let (_folder, file) = recorded();
    let report = summary(&text(&report(&file, &["--view", "summary", "--format", "json"])));
    assert_eq!(report["compared"], Value::Null);
    let shapes: Vec<_> = rows(&report, "paper").iter().map(|row| row["shape"].clone()).collect();
    assert!(shapes.iter().all(|shape| shape.as_array().unwrap().len() == 1), "{shapes:?}");
}

#[test]
fn a_live_collector_gives_the_same_report_as_its_recording() {
    let (folder, file) = recorded();
    let of_file = summary(&report_with_model(&file, &["--format", "json"]));
    // A collector that goes on from the recording knows what is in it.
    let collector = Collector::start_in(folder, &["--record", &file.display().to_string()]);
    let address = format!("http://{}", collector.http);
    let mut options = vec!["report".to_owned(), "--collector".to_owned(), address.clone()];
    options.extend(named());
    options.extend(["--format".to_owned(), "json".to_owned()]);
    let live = nccltap().args(&options).output().unwrap();
    let mut live = summary(&text(&live));
    assert_eq!(live["source"], address);
    live["source"] = of_file["source"].clone();
    // It records, which its overview says and a summary does not.
    assert_eq!(live, of_file);

    let page = collector.get("/api/v1/report?view=summary&format=html");
    assert!(page.contains("<!DOCTYPE html>") && page.contains("id=\"peers\""), "{page}");
    let refused = collector.get("/api/v1/report?view=operations&format=html");
    assert!(refused.contains("HTML is of view=summary"), "{refused}");
}

/// A page that is passed on must not ask anybody for anything.
fn stands_alone(page: &str) {
    for foreign in ["http:", "https:", "src=", "<script", "@import", "url("] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
}

#[test]
fn a_page_needs_nothing_but_itself() {
    let (folder, file) = recorded();
    let page = folder.path().join("page.html");
    report_with_model(&file, &["--html", page.to_str().unwrap()]);
    stands_alone(&std::fs::read_to_string(&page).unwrap());

    let mut options = vec!["predict", "--tp", "4,1,2", "--pp", "1,4,2", "--format", "html"];
    let named = named();
    options.extend(named.iter().map(String::as_str));
    let predicted = text(&nccltap().args(&options).output().unwrap());
    stands_alone(&predicted);
    for layout in ["TP=4", "PP=4", "TP=2xPP=2"] {
        assert!(predicted.contains(&format!("<h2>{layout}</h2>")), "{layout}");
    }
    same_as("predict.html", &predicted);
}

#[test]
fn what_is_missing_stands_at_the_top() {
    let (_folder, file) = recorded();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 40]).unwrap();
    let output = report(&file, &["--view", "summary"]);
    let text = text(&output);
    let missing = text.find("the recording is cut off").expect(&text);
    assert!(missing < text.find("Over all ranks").unwrap(), "{text}");
}

#[test]
fn options_that_contradict_each_other_are_refused_in_a_sentence() {
    let (_folder, file) = recorded();
    for (options, why) in [
        (vec!["--view", "operations", "--format", "html"], "leave --view out"),
        (vec!["--view", "collectives", "--model", "llama-3.1-8b"], "leave --view out"),
        (vec!["--model", "gpt-5"], "llama-3.1-8b"),
        (
            vec!["--model", "llama-3.1-8b", "--tp", "2,4", "--prompt", "1", "--output", "1"],
            "one size each",
        ),
    ] {
        let output = report(&file, &options);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why) && output.stdout.is_empty(), "{said}");
    }
}

#[test]
fn what_the_engine_measured_stands_beside_what_is_predicted_of_each_layout() {
    let (_folder, file) = recorded();
    let without = report(&file, &["--view", "summary", "--cluster", "paper"]);
    assert!(String::from_utf8_lossy(&without.stderr).contains("--engine-metrics"));

    // Where `nccltap run --record` leaves it.
    std::fs::write(format!("{}.metrics", file.display()), METRICS).unwrap();
    let alone = summary(&report_with_model(&file, &["--format", "json"]));
    assert_eq!(alone["serving"]["predicted"], Value::Null, "no cluster is named");
    let of = |name: &str| {
        let levels = rows(&alone["serving"], "measured").iter();
        levels.clone().find(|level| level["name"] == name).unwrap()["mean"].as_f64().unwrap()
    };
    assert_eq!([of("TTFT"), of("TPOT"), of("E2E")], [0.3, 0.01, 1.57]);

    let report = summary(&report_with_model(&file, &["--format", "json", "--cluster", "paper"]));
    let layouts = rows(&report["serving"]["predicted"], "layouts");
    let names: Vec<_> = layouts.iter().map(|layout| layout["layout"].as_str().unwrap()).collect();
    assert_eq!(names, ["TP=2xPP=2", "TP=4", "PP=4"], "the one that ran first");
    let advised = nccltap()
        .args(["advise", "--model", "llama-3.1-8b", "--prompt", &PROMPT.to_string()])
        .args(["--output", &OUTPUT.to_string(), "--cluster", "paper", "--max-model-len", "2048"])
        .args(["--format", "json"])
        .output()
        .unwrap();
    let advised: Vec<Value> = serde_json::from_slice(&advised.stdout).unwrap();
    for layout in layouts {
        let same = advised.iter().find(|row| row["layout"] == layout["layout"]).unwrap();
        let (seconds, milliseconds) = (&layout["tpot"], &same["tpot_ms"]);
        let off = seconds.as_f64().unwrap() * 1e3 - milliseconds.as_f64().unwrap();
        assert!(off.abs() < 1e-3, "{layout} {same}");
    }

    let page = report_with_model(&file, &["--format", "html", "--cluster", "paper"]);
    for part in
        ["id=\"levels\"", "TP=2xPP=2, measured: 300.00 ms", "Figures 8 to 10 of the paper: E2E"]
    {
        assert!(page.contains(part), "{part}");
    }
    let text = report_with_model(&file, &["--cluster", "paper"]);
    assert!(text.contains("2 requests, 256 tokens of prompts, 256 generated"), "{text}");
}
