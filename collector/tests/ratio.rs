//! `nccltap_prediction_ratio`. The rules that alert on it: `deploy.rs`.
#![allow(missing_docs)]

mod support;

use nccltap_proto::Function::{ncclAllReduce, ncclReduceScatter};
use nccltap_proto::record::Record;
use support::engine::{OUTPUT, record, record_with};
use support::{Collector, nccltap};

const SERVED: [&str; 8] =
    ["--model", "llama-3.1-8b", "--tp", "2", "--pp", "2", "--max-model-len", "2048"];

/// A collector that knows the run in `folder`, and the model that was served.
fn serving(folder: tempfile::TempDir) -> Collector {
    let file = folder.path().join("run.rec").display().to_string();
    let mut arguments = vec!["--record", file.as_str()];
    arguments.extend(SERVED);
    Collector::start_in(folder, &arguments)
}

/// Samples of a metric: the labels as written, and the value.
fn samples(text: &str, metric: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
    lines
        .map(|line| line.rsplit_once("} ").unwrap())
        .map(|(l, v)| (l.into(), v.parse().unwrap()))
        .collect()
}

#[test]
fn a_run_that_does_what_its_model_must_has_the_ratio_one_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    record(&folder.path().join("run.rec"), |_, _| false);
    let text = serving(folder).get("/metrics");
    let ratios = samples(&text, "nccltap_prediction_ratio");
    for (labels, ratio) in &ratios {
        assert_eq!(*ratio, 1.0, "{labels}");
    }
    // AllReduce of four ranks, transfers over the boundary, AllGather behind it, and the logits, in two
    // phases; Broadcast of four ranks in decode.
    for (op, series) in
        [("AllReduce", 8), ("Broadcast", 4), ("Send", 6), ("Recv", 4), ("AllGather", 4)]
    {
        let of = format!("op=\"{op}\"");
        let seen = ratios.iter().filter(|(labels, _)| labels.contains(&of)).count();
        assert_eq!(seen, series, "{op} in {ratios:?}");
    }
    let predicted = samples(&text, "nccltap_predicted_operations_total");
    let first = |labels: &str| {
        ["stage=\"0\"", "tensor_rank=\"1\"", "decode", "AllReduce"]
            .iter()
            .all(|part| labels.contains(part))
    };
    let all_reduces = predicted.iter().find(|(labels, _)| first(labels)).unwrap();
    assert_eq!(all_reduces.1, (33 * (OUTPUT - 1)) as f64);
}

#[test]
fn a_rank_that_does_less_than_its_model_must_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // At rank 1, one AllReduce in 33 of a decode goes another way.
    let mut number = 0usize;
    let decode = |call: &Record| call.function == ncclAllReduce.id() && call.count == 4096;
    record_with(&folder.path().join("run.rec"), |rank, call| {
        number += usize::from(rank == 1 && decode(&call));
        let lost = rank == 1 && decode(&call) && number.is_multiple_of(33);
        (!lost).then_some(call)
    });
    let text = serving(folder).get("/metrics");
    let off: Vec<_> = samples(&text, "nccltap_prediction_ratio")
        .into_iter()
        .filter(|(_, ratio)| *ratio != 1.0)
        .collect();
    let [(labels, ratio)] = off.as_slice() else { panic!("{off:?}") };
    assert_eq!(*ratio, 32.0 / 33.0);
    for part in ["stage=\"0\"", "tensor_rank=\"1\"", "phase=\"decode\"", "op=\"AllReduce\""] {
        assert!(labels.contains(part), "{labels}");
    }
}

#[test]
fn what_the_model_never_sends_has_a_count_and_nothing_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    record_with(&folder.path().join("run.rec"), |rank, mut call| {
        number +=
            usize::from(rank == 2 && call.function == ncclAllReduce.id() && call.count == 4096);
        if rank == 2 && number == 40 {
            (number, call.function) = (41, ncclReduceScatter.id());
        }
        Some(call)
    });
    let text = serving(folder).get("/metrics");
    let of = |metric: &str| {
        let mut found = samples(&text, metric)
            .into_iter()
            .filter(|(labels, _)| labels.contains("ReduceScatter"));
        found.next().map(|(_, value)| value)
    };
    assert_eq!(of("nccltap_compared_operations_total"), Some(1.0), "{text}");
    assert_eq!(of("nccltap_predicted_operations_total"), Some(0.0));
    assert_eq!(of("nccltap_prediction_ratio"), None);
}

#[test]
fn without_a_model_nothing_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.rec");
    record(&file, |_, _| false);
    let collector = Collector::start_in(folder, &["--record", &file.display().to_string()]);
    let text = collector.get("/metrics");
    assert!(text.contains("# TYPE nccltap_prediction_ratio gauge"));
    assert!(samples(&text, "nccltap_prediction_ratio").is_empty());
}

#[test]
fn a_model_without_a_layout_and_a_layout_without_a_model_are_refused() {
    for (options, why) in [
        (vec!["--model", "llama-3.1-8b"], "give the layout that is served"),
        (vec!["--tp", "4"], "name it with --model"),
        (vec!["--model", "llama-3.2-3b", "--tp", "5"], "24 attention heads"),
    ] {
        let output =
            nccltap().args(["serve", "--http", "127.0.0.1:0"]).args(&options).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
}
