//! `nccltap export`: every operation of a recording is a row and an event, with what the engine was told.
#![allow(missing_docs)]

mod support;

use nccltap_collector::outputs::export::parquet::{COLUMNS, table};
use nccltap_proto::Function;
use nccltap_proto::record::Record;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use support::engine::record_with;
use support::nccltap;

/// Process, operation, elements.
type What = (u32, String, u64);

/// A recording of four ranks, and how often each did what, by the engine's own account.
fn recorded(folder: &Path) -> (PathBuf, BTreeMap<What, u64>) {
    let file = folder.join("run.rec");
    let mut truth = BTreeMap::new();
    record_with(&file, |rank, call: Record| {
        if let Some(op) = Function::from_id(call.function).and_then(Function::operation) {
            *truth.entry((500 + rank, op.name().to_owned(), call.count)).or_default() += 1;
        }
        Some(call)
    });
    (file, truth)
}

fn export(file: &Path, format: &str, to: &Path) -> String {
    let output =
        nccltap().args(["export", "--format", format, "-o"]).args([to, file]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn rows(file: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

fn field(row: &Row, name: &str) -> Field {
    row.get_column_iter().find(|(column, _)| *column == name).unwrap().1.clone()
}

fn text(row: &Row, name: &str) -> Option<String> {
    match field(row, name) {
        Field::Str(text) => Some(text),
        Field::Null => None,
        other => panic!("{name} is {other}"),
    }
}

fn number(row: &Row, name: &str) -> Option<u64> {
    match field(row, name) {
        Field::ULong(number) => Some(number),
        Field::UInt(number) => Some(number.into()),
        Field::Int(number) => Some(number.try_into().unwrap()),
        Field::Long(number) => Some(number.try_into().unwrap()),
        Field::Null => None,
        other => panic!("{name} is {other}"),
    }
}

#[test]
fn each_operation_is_a_row_with_what_nccl_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, truth) = recorded(folder.path());
    let to = folder.path().join("run.parquet");
    let said = export(&file, "parquet", &to);
    let total: u64 = truth.values().sum();
    assert!(said.contains(&format!("{total} operations")), "{said}");
    let rows = rows(&to);
    let mut found: BTreeMap<What, u64> = BTreeMap::new();
    for row in &rows {
        let pid = number(row, "pid").unwrap() as u32;
        let what = (pid, text(row, "op").unwrap(), number(row, "elements").unwrap());
        *found.entry(what).or_default() += 1;
        assert_eq!(text(row, "host").as_deref(), Some("node-1"));
        assert_eq!(text(row, "launch").as_deref(), Some("eager"));
        assert_eq!(number(row, "stage"), Some(u64::from((pid - 500) / 2)));
        assert_eq!(number(row, "tensor_rank"), Some(u64::from((pid - 500) % 2)));
        // The engine's calls take 10 us each.
        assert_eq!(number(row, "duration_ns"), Some(10_000));
        let (start, end) = (number(row, "start").unwrap(), number(row, "end").unwrap());
        assert_eq!(end - start, 10_000);
        assert_eq!(number(row, "ranks_in_group"), Some(2));
    }
    assert_eq!(found, truth);
    // A decode's AllReduce of one row: 4096 bfloat16.
    let of_layers = |row: &&Row| {
        text(row, "op").as_deref() == Some("AllReduce") && number(row, "elements") == Some(4096)
    };
    for row in rows.iter().filter(of_layers) {
        assert_eq!(text(row, "dtype").as_deref(), Some("bfloat16"));
        assert_eq!(text(row, "phase").as_deref(), Some("decode"));
        assert_eq!(text(row, "role").as_deref(), Some("tensor"));
        assert_eq!(
            (number(row, "message_bytes"), number(row, "bus_bytes")),
            (Some(8192), Some(8192))
        );
        assert_eq!(number(row, "peer"), None);
    }
}

#[test]
fn rows_and_report_have_the_same_sums_by_phase() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = recorded(folder.path());
    let to = folder.path().join("run.parquet");
    export(&file, "parquet", &to);
    let mut sums: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for row in rows(&to) {
        let key = (text(&row, "phase").unwrap(), text(&row, "op").unwrap());
        let sum = sums.entry(key).or_default();
        sum.0 += 1;
        sum.1 += number(&row, "bus_bytes").unwrap();
    }
    let output = nccltap().arg("report").arg(&file).args(["--format", "json"]).output().unwrap();
    let report: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut reported: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for row in &report {
        let word = |name: &str| row[name].as_str().unwrap().to_owned();
        let sum = reported.entry((word("phase"), word("op"))).or_default();
        sum.0 += row["count"].as_u64().unwrap();
        sum.1 += row["bus_bytes"].as_u64().unwrap();
    }
    assert_eq!(sums, reported);
    assert!(sums.keys().any(|(phase, _)| phase == "prefill"), "{sums:?}");
}

/// The rules of the trace event format that Perfetto's importer and Chrome go by.
#[test]
fn each_operation_is_an_event_of_a_trace_that_keeps_to_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let (file, truth) = recorded(folder.path());
    let to = folder.path().join("run.trace.json");
    export(&file, "perfetto", &to);
    let trace: serde_json::Value = serde_json::from_reader(File::open(&to).unwrap()).unwrap();
    let mut found: BTreeMap<What, u64> = BTreeMap::new();
    let (mut processes, mut threads) = (BTreeMap::new(), BTreeMap::new());
    let mut ends: BTreeMap<(u64, u64), f64> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap() {
        let of = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
        let name = event["name"].as_str().unwrap();
        match event["ph"].as_str().unwrap() {
            "M" => {
                let value = event["args"]["name"].as_str().unwrap().to_owned();
                let before = match name {
                    "process_name" => processes.insert(of.0, value),
                    "thread_name" => threads.insert(of, value),
                    other => panic!("metadata {other}"),
                };
                assert_eq!(before, None, "named twice");
            }
            "X" => {
                assert!(threads.contains_key(&of), "{event} is on a thread without a name");
                let (ts, dur) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
                assert_eq!(dur, 10.0, "{event}");
                // Slices of one thread may not overlap but by nesting: these follow each other.
                let end = ends.insert(of, ts + dur).unwrap_or(f64::NEG_INFINITY);
                assert!(ts >= end, "{event} begins before {end}");
                let process = processes[&of.0].split_once("process ").unwrap().1;
                let pid = process.split(' ').next().unwrap().parse().unwrap();
                let elements = event["args"]["elements"].as_u64().unwrap();
                *found.entry((pid, name.to_owned(), elements)).or_default() += 1;
            }
            other => panic!("{other} in {event}"),
        }
    }
    assert_eq!(found, truth);
    assert!(processes.values().any(|name| name == "stage 0, tensor rank 1: process 501 on node-1"));
    assert!(threads.values().any(|name| name == "tp0 rank 1"), "{threads:?}");
}

#[test]
fn what_is_no_recording_leaves_nothing_behind_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "no recording").unwrap();
    let output = nccltap().args(["export", "--format", "parquet"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("notes.txt is no use") && said.contains("not a recording"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [file]);
}

#[test]
fn a_recording_that_is_cut_off_is_exported_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (file, truth) = recorded(folder.path());
    let length = std::fs::metadata(&file).unwrap().len();
    File::options().write(true).open(&file).unwrap().set_len(length - 7).unwrap();
    let to = folder.path().join("run.parquet");
    let output =
        nccltap().args(["export", "--format", "parquet", "-o"]).args([&to, &file]).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("cut off"), "{said}");
    let rows = rows(&to).len() as u64;
    assert!(rows > 0 && rows <= truth.values().sum(), "{rows}");
}

#[test]
fn the_page_about_exports_has_every_column() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/exports.md");
    let text = std::fs::read_to_string(&page).unwrap_or_default();
    let (begin, end) = ("<!-- columns: written by the test -->\n", "<!-- end of columns -->\n");
    let (before, rest) = text.split_once(begin).unwrap();
    let (kept, after) = rest.split_once(end).unwrap();
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::write(&page, format!("{before}{begin}{}{end}{after}", table())).unwrap();
        return;
    }
    assert_eq!(kept, table(), "NCCLTAP_BLESS=1 cargo test -p nccltap --test export writes it");
    assert!(COLUMNS.len() > 20);
}
