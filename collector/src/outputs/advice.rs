//! Advice for people and scripts.

use super::text::{grouped, size, write_table};
use crate::model::advice::{Advice, Cluster, Load, Refused, Unfit, Workload};
use crate::model::{Engine, Model};
use serde::Serialize;
use std::fmt::Write;

/// One layout. Scripts rely on its keys, which carry their units.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    layout: String,
    tensor_parallel: u32,
    pipeline_parallel: u32,
    gpus: u32,
    nodes: u32,
    /// `fits`, `memory` or `too_slow`.
    outcome: &'static str,
    weight_bytes: u64,
    activation_bytes: u64,
    /// Bytes left for the KV cache, 0 if none.
    cache_bytes: u64,
    /// Requests of the workload that the KV cache has room for.
    cache_requests: u64,
    /// Exact, of one request over all ranks.
    operations: u64,
    /// Exact, of one request over all ranks.
    message_bytes: u64,
    /// Exact, of one request over all ranks.
    bus_bytes: u64,
    /// Modelled, as are all times; null where the layout does not serve the workload.
    communication_ms: Option<f64>,
    ttft_ms: Option<f64>,
    tpot_ms: Option<f64>,
    e2e_ms: Option<f64>,
    running_requests: Option<u64>,
    requests_per_second: Option<f64>,
}

/// The rows, the best first.
pub fn rows(ranked: &[Advice]) -> Vec<Row> {
    ranked.iter().map(row).collect()
}

fn row(advice: &Advice) -> Row {
    let times = advice.outcome.ok();
    // A microsecond is more than the model knows.
    let rounded = |seconds: f64| (seconds * 1e6).round() / 1e3;
    let milliseconds =
        |of: fn(&crate::model::advice::Times) -> f64| times.as_ref().map(of).map(rounded);
    let too_slow = match advice.outcome {
        Err(Unfit::TooSlow(most)) => Some(most),
        _ => None,
    };
    let requests_per_second = times.map(|times| times.throughput).or(too_slow);
    let layout = advice.layout;
    Row {
        layout: layout.to_string(),
        tensor_parallel: layout.tensor,
        pipeline_parallel: layout.pipeline,
        gpus: layout.ranks(),
        nodes: advice.nodes,
        outcome: match advice.outcome {
            Ok(_) => "fits",
            Err(Unfit::Memory) => "memory",
            Err(Unfit::TooSlow(_)) => "too_slow",
        },
        weight_bytes: advice.memory.weights as u64,
        activation_bytes: advice.memory.activations as u64,
        cache_bytes: advice.memory.cache.max(0.0) as u64,
        cache_requests: advice.memory.requests,
        operations: advice.sent.operations,
        message_bytes: advice.sent.message_bytes,
        bus_bytes: advice.sent.bus_bytes,
        communication_ms: milliseconds(|times| times.communication),
        ttft_ms: milliseconds(|times| times.ttft),
        tpot_ms: milliseconds(|times| times.tpot),
        e2e_ms: milliseconds(|times| times.e2e),
        running_requests: times.map(|times| times.running),
        requests_per_second: requests_per_second.map(|rate| (rate * 1e3).round() / 1e3),
    }
}

/// A table, the best layout first.
pub fn text(
    model: &Model,
    engine: Engine,
    cluster: &Cluster,
    workload: &Workload,
    ranked: &[Advice],
    refused: &[Refused],
) -> String {
    let mut text = String::new();
    let plural = |number: u32, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let load = match workload.load {
        Load::Concurrent(1) if workload.first => "the first request to a server".to_owned(),
        Load::Concurrent(1) => "one request at a time".to_owned(),
        Load::Concurrent(requests) => format!("{} requests at any time", grouped(requests)),
        Load::PerSecond(rate) => format!("{rate} requests per second"),
    };
    let _ = writeln!(
        text,
        "{}, {}, on {} of {} {}: {load}, {} prompt and {} output tokens.\n",
        model.name,
        engine.name(),
        plural(cluster.nodes, "node"),
        cluster.gpus_per_node,
        cluster.gpu.name,
        workload.prompt,
        workload.output,
    );
    let head = [
        "layout",
        "GPUs",
        "nodes",
        "weights/GPU",
        "KV room",
        "operations",
        "bus bytes",
        "communication",
        "TTFT",
        "TPOT",
        "E2E",
        "requests/s",
    ];
    let right: [bool; 12] = std::array::from_fn(|at| at > 0);
    write_table(&mut text, head, &right, ranked.iter().map(|advice| line(&row(advice))).collect());
    text.push_str(
        "\nExact: operations and bus bytes, of one request over all ranks, as `nccltap predict` counts \
         them.\nA model: all times (peak of the GPU, NCCL's own formula, nothing of the host), and the \
         requests that the\nKV cache has room for. \"communication\" is the part of a request's time that \
         NCCL takes.\nEach layout is one replica; the cluster holds as many as its GPUs allow.\n",
    );
    write_refused(&mut text, refused);
    text
}

fn line(row: &Row) -> [String; 12] {
    let time = |milliseconds: Option<f64>| match (milliseconds, row.outcome) {
        (Some(time), _) if time < 10.0 => format!("{time:.2} ms"),
        (Some(time), _) if time < 10_000.0 => format!("{time:.0} ms"),
        (Some(time), _) => format!("{:.1} s", time / 1e3),
        (None, "memory") => "does not fit".to_owned(),
        (None, _) => "too slow".to_owned(),
    };
    let at_most = if row.outcome == "too_slow" { "at most " } else { "" };
    [
        row.layout.clone(),
        row.gpus.to_string(),
        row.nodes.to_string(),
        size(row.weight_bytes),
        format!("{} requests", grouped(row.cache_requests)),
        grouped(row.operations),
        size(row.bus_bytes),
        time(row.communication_ms),
        time(row.ttft_ms),
        time(row.tpot_ms),
        time(row.e2e_ms),
        row.requests_per_second.map_or_else(String::new, |rate| format!("{at_most}{rate:.2}")),
    ]
}

/// What is left out, by the reason.
fn write_refused(text: &mut String, refused: &[Refused]) {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for (layout, refusal) in refused {
        let why = refusal.to_string();
        match reasons.iter_mut().find(|(other, _)| *other == why) {
            Some((_, layouts)) => layouts.push(layout.to_string()),
            None => reasons.push((why, vec![layout.to_string()])),
        }
    }
    if !reasons.is_empty() {
        text.push_str("\nLeft out:\n");
    }
    for (why, layouts) in reasons {
        let _ = writeln!(text, "  {}: {why}", layouts.join(", "));
    }
}
