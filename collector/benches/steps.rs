//! Records per second and core, from a message to the counts of a process: timeline, steps and ledger.
//!
//! `cargo bench -p nccltap --bench steps` takes ten million records of each engine, and fails when a core takes
//! fewer than five million a second, or when memory grows with their number. What counts is processor
//! time, so that others on the same cores do not matter. No socket and no other thread is in it; `ingest` has those.
#![allow(missing_docs)]

use nccltap_collector::process::Process;
use nccltap_collector::steps::Phase;
use nccltap_proto::Function::{
    self, cudaGraphLaunch, ncclAllGather, ncclAllReduce, ncclBcast, ncclGroupEnd, ncclGroupStart,
    ncclRecv, ncclSend,
};
use nccltap_proto::record::{NO_PEER, Record};
use nccltap_proto::v1::{self, agent_message::Message};
use std::time::Duration;

const RECORDS: usize = 10_000_000;

/// Calls in one message, as a busy agent sends them: 256 KiB.
const MESSAGE: usize = 4096;

/// Slowest that is good enough, in records a second.
const SLOWEST: f64 = 5e6;

/// Memory that a process may come to need after its first million records, in KiB.
const GROWTH: u64 = 16 * 1024;

const HIDDEN: u64 = 4096;
const PART: u64 = 64_128;
const LAYERS: usize = 32;
const PYNCCL: u64 = 1;
const TORCH: u64 = 2;
const NEXT: u64 = 3;
const INT32: u8 = 2;
const INT64: u8 = 4;
const FLOAT32: u8 = 7;
const BFLOAT16: u8 = 9;

fn call(function: Function, communicator: u64, datatype: u8, count: u64, peer: i32) -> Record {
    let function = function.id();
    Record { communicator, datatype, count, peer, function, start: 1, end: 2, ..Record::default() }
}

fn reduces(tokens: u64) -> Vec<Record> {
    vec![call(ncclAllReduce, PYNCCL, BFLOAT16, tokens * HIDDEN, NO_PEER); 2 * LAYERS + 1]
}

fn logits(rows: u64) -> Record {
    call(ncclAllGather, TORCH, BFLOAT16, rows * PART, NO_PEER)
}

fn warm_up() -> Record {
    call(ncclAllReduce, PYNCCL, FLOAT32, 1, NO_PEER)
}

/// Start-up of vLLM V1, and a decode step.
fn v1() -> [Vec<Record>; 2] {
    let pass = |tokens, rows| [reduces(tokens), vec![logits(rows)]].concat();
    [[vec![warm_up()], pass(8192, 256), pass(256, 256), pass(128, 3)].concat(), pass(3, 3)]
}

/// The same, in pieces of one layer each.
fn graphs() -> [Vec<Record>; 2] {
    let [start, _] = v1();
    let launch = |manifest| call(cudaGraphLaunch, 0, 0, manifest, NO_PEER);
    let mut step = vec![launch(1)];
    step.extend(vec![launch(2); LAYERS]);
    step.push(logits(3));
    [start, step]
}

fn manifests() -> Vec<v1::Manifest> {
    let manifest = |id, times| v1::Manifest {
        id,
        operations: vec![v1::ManifestOperation {
            function: ncclAllReduce.id().into(),
            count: 3 * HIDDEN,
            datatype: BFLOAT16.into(),
            communicator: Some(PYNCCL as u32),
            peer: -1,
            times,
            ..Default::default()
        }],
        ..Default::default()
    };
    vec![manifest(1, 1), manifest(2, 2)]
}

/// Decode steps of vLLM V0: metadata, forward pass, gather of the logits.
fn v0() -> [Vec<Record>; 2] {
    let step = |tokens: u64, blocks: &[u64]| {
        let mut tensors = vec![(INT64, tokens); 3];
        tensors.extend([(INT32, 3); 2]);
        tensors.extend(blocks.iter().map(|blocks| (INT32, *blocks)));
        tensors.extend([(INT32, 4), (INT32, 4), (INT64, 3)]);
        let bcast = |(datatype, count)| call(ncclBcast, TORCH, datatype, count, 0);
        let mut step: Vec<_> = tensors.into_iter().map(bcast).collect();
        step.extend(reduces(tokens));
        let grouped = |record: Record| Record { group: 1, depth: 1, ..record };
        let send = call(ncclSend, TORCH, BFLOAT16, 3 * PART, 0);
        step.extend([grouped(call(ncclGroupStart, 0, 0, 0, NO_PEER)), grouped(send)]);
        step.push(grouped(call(ncclGroupEnd, 0, 0, 0, NO_PEER)));
        step
    };
    [[vec![warm_up()], step(128, &[])].concat(), step(3, &[27])]
}

/// A middle stage whose next stage never says anything: as many steps wait as may.
fn stage() -> [Vec<Record>; 2] {
    let step = |tokens: u64| {
        let recv = call(ncclRecv, NEXT, BFLOAT16, tokens * HIDDEN, 0);
        let send = call(ncclSend, NEXT, BFLOAT16, tokens * HIDDEN, 1);
        [vec![recv; 2], reduces(tokens), vec![send; 2]].concat()
    };
    [[vec![warm_up()], reduces(8192), step(128)].concat(), step(3)]
}

fn main() {
    let mut well = true;
    for (name, [start, step], phase) in [
        ("V1, eager", v1(), Phase::Decode),
        ("V1, graphs", graphs(), Phase::Decode),
        ("V0", v0(), Phase::Decode),
        ("V1, a stage without logits", stage(), Phase::Unknown),
    ] {
        well &= measure(name, &start, &step, phase);
    }
    assert!(well, "too slow, or memory grows");
}

fn measure(name: &str, start: &[Record], step: &[Record], phase: Phase) -> bool {
    let mut process = Process::new(&v1::Hello::default());
    let facts = [PYNCCL, TORCH, NEXT].map(|handle| v1::Communicator {
        id: handle as u32,
        handle,
        group: handle,
        ranks: 2,
        rank: 1,
        ..Default::default()
    });
    let opening = v1::Report {
        communicators: facts.to_vec(),
        manifests: manifests(),
        batches: vec![batch(0, start)],
        ..Default::default()
    };
    process.take(&Message::Report(opening), false);
    let steps = MESSAGE / step.len();
    let records: Vec<Record> = step.repeat(steps);
    let messages = RECORDS / records.len();
    let mut message = v1::Report { batches: vec![batch(0, &records)], ..Default::default() };
    let mut resident_before = 0;
    let began = processor_time();
    for number in 0..messages {
        message.batches[0].first = (start.len() + number * records.len()) as u64;
        let one = Message::Report(std::mem::take(&mut message));
        process.take(&one, false);
        let Message::Report(again) = one else { unreachable!("it was a report") };
        message = again;
        if number == messages / 10 {
            resident_before = resident();
        }
    }
    let seconds = (processor_time() - began).as_secs_f64();
    let taken = messages * records.len();
    let growth = resident().saturating_sub(resident_before);
    let rate = taken as f64 / seconds;
    let known = process.steps().counts().iter().filter(|(label, _)| label.phase == phase);
    let known = known.map(|(_, count)| count.steps).sum::<u64>();
    let expected = (messages * steps - process.steps().waiting()) as u64;
    assert!(known.abs_diff(expected) <= 2, "{name}: {known} steps, not {expected}");
    println!(
        "{name}: {taken} records in {seconds:.2} s: {:.1} M records/s, {:.1} M operations/s; memory grew by {growth} \
         KiB over the last nine tenths",
        rate / 1e6,
        process.ledger().operations() as f64 / seconds / 1e6,
    );
    rate >= SLOWEST && growth <= GROWTH
}

fn batch(first: u64, records: &[Record]) -> v1::Batch {
    let words = records.iter().flat_map(|record| record.to_words());
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    v1::Batch { first, records: bytes.into(), ..Default::default() }
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("proc is mounted");
    let spent = times.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(spent.expect("a number of nanoseconds"))
}

/// Memory of this program that is in RAM, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line for it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}
