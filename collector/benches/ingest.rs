//! Records per second and core, from the socket to the ledger.
//!
//! `cargo bench -p nccltap --bench ingest` starts `nccltap serve` and lets a fake agent send the
//! calls of decode steps of Llama-3.1-8B on four ranks over the Unix socket. What counts is the
//! processor time of the collector, all its threads together, so that the agent beside it on the
//! same cores does not matter.
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use nccltap_proto::Function::{ncclAllReduce, ncclGroupEnd, ncclGroupStart, ncclRecv};
use nccltap_proto::record::Record;
use nccltap_proto::v1;
use std::time::{Duration, Instant};
use support::{Collector, FakeAgent, batch, call, communicator, hello, report};

/// Calls in one Report, as a busy agent sends them: 256 KiB.
const BATCH: usize = 4096;

/// Reports in one run.
const REPORTS: usize = 5000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let collector = Collector::start();
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(1)).await.expect("a stream");
    let facts = v1::Communicator { ranks: 4, ..communicator(0) };
    let first = v1::Report { communicators: vec![facts], ..report(vec![]) };
    agent.report(first).await.expect("an acknowledgement");

    let steps: Vec<Record> = (0..).flat_map(decode_step).take(BATCH).collect();
    let before = processor_time(collector.pid());
    let started = Instant::now();
    for number in 0..REPORTS {
        let report = report(vec![batch(0, (number * BATCH) as u64, &steps)]);
        agent.report(report).await.expect("an acknowledgement");
    }
    let wall = started.elapsed();
    let spent = processor_time(collector.pid()) - before;

    let sent = (REPORTS * BATCH) as u64;
    let accounting = &collector.processes()[0]["accounting"];
    assert_eq!(accounting["seen"], sent, "every record is counted");
    assert_eq!(accounting["balanced"], true);
    println!(
        "{sent} records in {:.2} s: {:.1} M records/s, {:.1} M records/s per core of the collector \
         ({:.0} ns each)",
        wall.as_secs_f64(),
        sent as f64 / wall.as_secs_f64() / 1e6,
        sent as f64 / spent.as_secs_f64() / 1e6,
        spent.as_nanos() as f64 / sent as f64,
    );
}

/// What the root of four ranks calls in one decode step: 65 AllReduce, and the gather of logits.
fn decode_step(step: u32) -> impl Iterator<Item = Record> {
    let group = step + 1;
    let in_group = move |record: Record| Record { group, depth: 1, ..record };
    let recv = move |peer| in_group(Record { peer, ..call(ncclRecv, 32_064) });
    std::iter::repeat_n(call(ncclAllReduce, 4096), 65)
        .chain([in_group(call(ncclGroupStart, 0)), recv(1), recv(2), recv(3)])
        .chain([in_group(call(ncclGroupEnd, 0))])
}

/// Processor time of all threads of a process.
fn processor_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let spent = tasks.filter_map(|task| {
        let times = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
