//! The rows of an export are the calls that the simulator carried out, those of graphs as often as they were launched.

use nccltap_tests::artifacts::built;
use nccltap_tests::tally::Counter;
use nccltap_tests::{Call, Linkage, Stage, Tally};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

fn export(recording: &Path, format: &str, to: &Path) {
    let output = Command::new(&built().command)
        .args(["export", "--format", format, "-o"])
        .args([to, recording])
        .output()
        .expect("nccltap can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn field<'a>(row: &'a Row, name: &str) -> &'a Field {
    row.get_column_iter().find(|(column, _)| *column == name).expect("the column is there").1
}

fn text(row: &Row, name: &str) -> Option<String> {
    match field(row, name) {
        Field::Str(text) => Some(text.clone()),
        _ => None,
    }
}

fn number(row: &Row, name: &str) -> Option<i64> {
    match field(row, name) {
        Field::Int(number) => Some(i64::from(*number)),
        Field::UInt(number) => Some(i64::from(*number)),
        Field::ULong(number) => Some(i64::try_from(*number).expect("a count")),
        Field::Long(number) => Some(*number),
        _ => None,
    }
}

/// Rows as the calls that they are.
fn tally(file: &Path) -> Tally {
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let mut tally = Tally::default();
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let small = |name: &str| number(&row, name).map(|number| i32::try_from(number).unwrap());
        let group = text(&row, "communicator").map(|hex| u64::from_str_radix(&hex, 16).unwrap());
        let call = Call {
            pid: number(&row, "pid").unwrap().try_into().unwrap(),
            op: text(&row, "op").unwrap(),
            elements: number(&row, "elements").map(|number| u64::try_from(number).unwrap()),
            path: text(&row, "path").unwrap(),
            dtype: text(&row, "dtype"),
            peer: small("peer"),
            group,
            ranks: small("ranks_in_group"),
            rank: small("rank"),
            launch: text(&row, "launch").unwrap(),
        };
        tally.add(call, 1);
    }
    tally
}

/// Plays a host with a collector that records, and requires that the rows of the export are the ground truth.
fn exported(stage: &Stage, play: impl FnOnce(&Stage) -> Vec<u32>) -> Tally {
    let recording = stage.path().join("run.rec");
    let file = recording.display().to_string();
    let collector = stage.collector_with(&["--record", &file]);
    for pid in play(stage) {
        collector.ended(pid).is_accounted_for();
    }
    collector.stop();
    let to = stage.path().join("run.parquet");
    export(&recording, "parquet", &to);
    let (rows, truth) = (tally(&to), stage.ground_truth(Counter::CarriedOut));
    assert_eq!(rows.differences(&truth), "");
    rows
}

#[test]
fn operations_groups_and_children_are_rows() {
    let stage = Stage::new();
    let rows = exported(&stage, |stage| {
        let hosts = ["operations", "groups", "children"];
        hosts.map(|host| stage.host(host, Linkage::Lazy).run().succeeded().pid).into()
    });
    assert!(rows.total() > 30 && rows.of("Send") > 0);
}

#[test]
fn operations_of_graphs_are_rows_as_often_as_they_were_launched_and_events_of_a_trace() {
    let stage = Stage::new();
    let rows = exported(&stage, |stage| {
        let host = stage.cuda_host("graphs", Linkage::Lazy, 12).arg("replay");
        vec![host.run().succeeded().pid]
    });
    assert_eq!(rows.of_graphs("AllReduce"), 65 * 127);
    let to = stage.path().join("run.trace.json");
    export(&stage.path().join("run.rec"), "perfetto", &to);
    let trace: serde_json::Value = serde_json::from_str(&fs::read_to_string(to).unwrap()).unwrap();
    let mut events: BTreeMap<&str, u64> = BTreeMap::new();
    let mut last = f64::NEG_INFINITY;
    for event in trace["traceEvents"].as_array().unwrap() {
        *events.entry(event["ph"].as_str().unwrap()).or_default() += 1;
        if event["ph"] == "i" {
            // Each launch at its own time, in order.
            let at = event["ts"].as_f64().unwrap();
            assert!(at >= last, "{event} is before {last}");
            last = at;
        }
    }
    let eager: u64 =
        rows.0.iter().filter(|(call, _)| call.launch == "eager").map(|(_, count)| count).sum();
    assert_eq!(events.get("X").copied().unwrap_or(0), eager);
    assert_eq!(events["i"], rows.total() - eager);
}
