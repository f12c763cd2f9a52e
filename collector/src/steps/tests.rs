//! Streams as vLLM's source makes them (0.8.5: `worker/model_runner.py`, `worker/worker_base.py`,
//! `v1/worker/gpu_worker.py`), taken by a whole process.

mod graphs;
mod pipeline;

use super::*;
use crate::ledger::{Collective, Merged};
use crate::process::Process;
use nccltap_proto::Function::{self, ncclAllGather, ncclAllReduce, ncclBcast, ncclRecv, ncclSend};
use nccltap_proto::record::{NO_PEER, Record};
use nccltap_proto::v1::{self, agent_message::Message};
use proptest::prelude::*;

const HIDDEN: u64 = 4096;
const PART: u64 = 64_128;
const FLOAT32: u8 = 7;
const INT32: u8 = 2;
const INT64: u8 = 4;
const BFLOAT16: u8 = 9;
/// Handles: pynccl's communicator, PyTorch's, those to the next stage and to the one before, and another one
/// of pynccl's.
const PYNCCL: u64 = 1;
const TORCH: u64 = 2;
const NEXT: u64 = 3;
const PREVIOUS: u64 = 4;
const OTHER: u64 = 5;

fn call(function: Function, communicator: u64, datatype: u8, count: u64, peer: i32) -> Record {
    Record {
        communicator,
        datatype,
        count,
        peer,
        function: function.id(),
        start: 1,
        end: 2,
        ..Record::default()
    }
}

fn reduces(tokens: u64, times: usize) -> Vec<Record> {
    vec![call(ncclAllReduce, PYNCCL, BFLOAT16, tokens * HIDDEN, NO_PEER); times]
}

fn warm_up() -> Vec<Record> {
    vec![call(ncclAllReduce, PYNCCL, FLOAT32, 1, NO_PEER)]
}

/// The metadata of a step: lengths of its tensors.
fn burst(tokens: u64, sequences: u64, blocks: u64, rows: u64) -> Vec<Record> {
    let mut tensors = vec![(INT64, tokens); 3];
    tensors.extend([(INT32, sequences); 2]);
    if blocks > 0 {
        tensors.push((INT32, blocks));
    }
    tensors.extend([(INT32, sequences + 1); 2]);
    if rows > 0 {
        tensors.push((INT64, rows));
    }
    let bcast = |(datatype, count)| call(ncclBcast, TORCH, datatype, count, 0);
    tensors.into_iter().map(bcast).collect()
}

/// A step of V0 with tensor parallelism, as a rank that is not the driver sees it.
fn v0(tokens: u64, sequences: u64, blocks: u64, rows: u64) -> Vec<Record> {
    let mut step = burst(tokens, sequences, blocks, rows);
    step.extend(reduces(tokens, 5));
    step.push(call(ncclSend, TORCH, BFLOAT16, rows * PART, 0));
    step
}

/// A step of V1 with tensor parallelism.
fn v1_step(tokens: u64, rows: u64) -> Vec<Record> {
    let mut step = reduces(tokens, 5);
    step.push(call(ncclAllGather, TORCH, BFLOAT16, rows * PART, NO_PEER));
    step
}

fn v0_start() -> Vec<Record> {
    let mut all = warm_up();
    all.extend(reduces(2048, 5));
    all.push(call(ncclSend, TORCH, BFLOAT16, 256 * PART, 0));
    all
}

fn report(first: u64, records: &[Record]) -> Message {
    let communicators =
        [PYNCCL, TORCH, NEXT, PREVIOUS, OTHER].map(|handle| communicator(handle, handle, 1));
    report_of(&communicators, &[], first, records)
}

/// A communicator of two ranks, of which the process is `rank`.
fn communicator(handle: u64, group: u64, rank: i32) -> v1::Communicator {
    v1::Communicator { id: handle as u32, handle, group, ranks: 2, rank, ..Default::default() }
}

fn report_of(
    communicators: &[v1::Communicator],
    manifests: &[v1::Manifest],
    first: u64,
    records: &[Record],
) -> Message {
    let bytes: Vec<u8> =
        records.iter().flat_map(|r| r.to_words().into_iter().flat_map(u64::to_le_bytes)).collect();
    let batch = v1::Batch { first, records: bytes.into(), ..Default::default() };
    Message::Report(v1::Report {
        communicators: communicators.to_vec(),
        manifests: manifests.to_vec(),
        batches: vec![batch],
        ..Default::default()
    })
}

fn process() -> Process {
    Process::new(&v1::Hello::default())
}

/// Operations by phase, when the stream is cut before these places.
fn phases(records: &[Record], cuts: &[usize]) -> BTreeMap<Phase, u64> {
    let mut process = process();
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (records.len() + 1)).collect();
    places.extend([0, records.len()]);
    places.sort_unstable();
    for two in places.windows(2) {
        process.take(&report(two[0] as u64, &records[two[0]..two[1]]), false);
    }
    counted(&process)
}

fn counted(process: &Process) -> BTreeMap<Phase, u64> {
    let mut counts = BTreeMap::new();
    let ledger = process.ledger();
    for entry in ledger.entries().iter().copied().chain(ledger.unsettled()) {
        *counts.entry(entry.key.label.phase).or_default() += entry.count;
    }
    counts
}

fn of(steps: &[Vec<Record>]) -> BTreeMap<Phase, u64> {
    phases(&steps.concat(), &[])
}

use Phase::{Decode, Prefill, Startup, Unknown};

#[test]
fn one_request_of_v0_is_prefill_and_then_decode() {
    let steps = [v0_start(), v0(128, 1, 0, 1), v0(1, 1, 9, 1), v0(1, 1, 9, 1)];
    assert_eq!(of(&steps), [(Prefill, 14), (Decode, 30), (Startup, 7)].into());
}

#[test]
fn the_logits_of_v0_are_a_gather_in_a_group_of_two_as_well() {
    let root = |record: Record| match record.function == ncclSend.id() {
        true => Record { function: ncclRecv.id(), peer: 0, ..record },
        false => record,
    };
    let steps = [v0_start(), v0(128, 1, 0, 1), v0(1, 1, 9, 1)].concat();
    let steps: Vec<Record> = steps.into_iter().map(root).collect();
    let mut process = process();
    process.take(&report(0, &steps), false);
    let merged: Vec<_> = process.ledger().merged().collect();
    let gathers = |phase| {
        let of = |(merged, label, count): &(&Merged, Label, u64)| {
            let is_gather = merged.collective == Collective::Gather && merged.elements == PART;
            (is_gather && label.phase == phase).then_some(*count)
        };
        merged.iter().filter_map(of).sum::<u64>()
    };
    assert_eq!((gathers(Prefill), gathers(Decode), merged.len()), (1, 1, 2));
}

#[test]
fn prompts_of_v0_are_prefill_beside_running_sequences_when_chunked_prefill_is_off() {
    let cached = v0(40, 2, 6, 2);
    let steps = [v0_start(), v0(128, 1, 0, 1), v0(1, 1, 9, 1), cached, v0(3, 3, 27, 3)];
    assert_eq!(of(&steps), [(Prefill, 29), (Decode, 30), (Startup, 7)].into());
}

#[test]
fn a_step_of_v0_that_may_be_mixed_is_unknown() {
    let first = v0(128, 1, 8, 1);
    let steps = [v0_start(), first, v0(1, 1, 9, 1), v0(60, 2, 18, 2), v0(2, 2, 18, 2)];
    assert_eq!(of(&steps), [(Prefill, 15), (Decode, 30), (Unknown, 15), (Startup, 7)].into());
}

#[test]
fn one_token_that_is_left_of_a_prompt_is_not_taken_for_decode() {
    // Two sequences, one of them not sampled: a prompt is half computed.
    let half = v0(512, 2, 40, 1);
    let steps = [v0_start(), v0(128, 1, 8, 1), half, v0(2, 2, 40, 2)];
    assert_eq!(of(&steps)[&Unknown], 30);
}

#[test]
fn what_is_missing_makes_the_step_unknown_and_the_next_one_is_known_again() {
    let before = [v0_start(), v0(128, 1, 0, 1), v0(1, 1, 9, 1)].concat();
    let after = [v0(1, 1, 9, 1), v0(1, 1, 9, 1)].concat();
    let mut process = process();
    process.take(&report(0, &before), false);
    // The first seven of the next step are lost.
    process.take(&report(before.len() as u64 + 7, &after[7..]), false);
    assert_eq!(counted(&process), [(Prefill, 14), (Decode, 30), (Unknown, 8), (Startup, 7)].into());
}

#[test]
fn v1_is_known_by_rows_against_tokens() {
    let start = [warm_up(), v1_step(8192, 256), v1_step(256, 256)].concat();
    let one = [start.clone(), v1_step(128, 1), v1_step(1, 1), v1_step(1, 1)];
    assert_eq!(of(&one), [(Startup, 13), (Prefill, 6), (Decode, 12)].into());
    let joined = [start, v1_step(128, 1), v1_step(1, 1), v1_step(65, 2), v1_step(2, 2)];
    assert_eq!(of(&joined), [(Startup, 13), (Prefill, 6), (Decode, 12), (Unknown, 6)].into());
}

#[test]
fn an_engine_that_warms_up_in_another_way_is_unknown() {
    let steps = [warm_up(), v1_step(8192, 256), v1_step(8192, 128), v1_step(1, 1)];
    assert_eq!(of(&steps), [(Startup, 7), (Unknown, 12)].into());
    let mut process = process();
    process.take(&report(0, &steps.concat()), false);
    assert!(process.steps().is_engine(), "its groups have roles all the same");
}

/// vLLM's custom all-reduce takes what is smaller than 8 MiB.
fn beside_nccl(rows: u64) -> Vec<Record> {
    vec![call(ncclAllGather, TORCH, BFLOAT16, rows * PART, NO_PEER)]
}

#[test]
fn steps_that_reduce_beside_nccl_are_unknown_and_no_start_up() {
    let mut steps = vec![warm_up(), v1_step(8192, 256), beside_nccl(256)];
    steps.extend([beside_nccl(1), beside_nccl(1), v1_step(2000, 2), beside_nccl(2)]);
    assert_eq!(of(&steps), [(Startup, 8), (Unknown, 9)].into());
}

#[test]
fn a_prompt_may_stand_beside_sequences_that_were_decoded_beside_nccl() {
    let mut steps = vec![warm_up(), v1_step(8192, 256), v1_step(256, 256)];
    steps.extend([beside_nccl(1), beside_nccl(1), v1_step(200, 2)]);
    assert_eq!(of(&steps), [(Startup, 13), (Unknown, 8)].into());
}

#[test]
fn a_pipeline_shows_its_first_step_and_steps_of_one_token() {
    let step = |tokens: u64| vec![call(ncclRecv, NEXT, BFLOAT16, tokens * HIDDEN, 0); 2];
    let mut steps = vec![warm_up(), step(128)];
    steps.extend(vec![step(1); 9]);
    steps.push(step(64));
    assert_eq!(of(&steps), [(Startup, 1), (Prefill, 2), (Decode, 18), (Unknown, 2)].into());
}

#[test]
fn a_program_that_is_no_engine_has_no_phases() {
    assert_eq!(of(&[reduces(8, 70), v1_step(1, 1)]), [(Unknown, 76)].into());
}

fn any_record() -> impl Strategy<Value = Vec<Record>> {
    prop_oneof![
        4 => (1u64..40, 1u64..4, 0u64..3, 0u64..4)
            .prop_map(|(tokens, sequences, blocks, rows)| v0(tokens, sequences, blocks * sequences, rows)),
        4 => (1u64..40, 1u64..4).prop_map(|(tokens, rows)| v1_step(tokens, rows)),
        1 => Just(warm_up()),
        1 => (1u64..9).prop_map(|tokens| vec![call(ncclSend, NEXT, BFLOAT16, tokens * HIDDEN, 0)]),
        1 => (0u64..9).prop_map(|n| vec![call(ncclBcast, TORCH, INT64, n, 0)]),
    ]
}

proptest! {
    /// However the stream is cut into batches, every operation counts once and under the same phase.
    #[test]
    fn cuts_change_nothing(
        steps in prop::collection::vec(any_record(), 0..20),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let records = [v0_start(), steps.concat()].concat();
        let whole = phases(&records, &[]);
        prop_assert_eq!(&phases(&records, &cuts), &whole);
        prop_assert_eq!(whole.values().sum::<u64>(), records.len() as u64);
    }
}
