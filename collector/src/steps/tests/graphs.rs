//! V1 with CUDA graphs: a pass for each size is captured, as a whole for decode and in pieces for the rest
//! (`CudagraphDispatcher` of vLLM 0.11).

use super::*;
use nccltap_proto::Function::cudaGraphLaunch;
use nccltap_proto::record::CAPTURED;

const SIZES: [u64; 7] = [1, 2, 4, 8, 16, 24, 32];
const REDUCES: u32 = 5;

/// Numbers of manifests: of whole passes from 1 on, of their pieces with one AllReduce from 101 on.
fn whole(size: u64) -> u64 {
    1 + SIZES.iter().position(|known| *known == size).expect("a size that was captured") as u64
}

fn piece(size: u64) -> u64 {
    100 + whole(size)
}

fn manifests() -> Vec<v1::Manifest> {
    let manifest = |id: u64, size: u64, times| v1::Manifest {
        id: id as u32,
        operations: vec![v1::ManifestOperation {
            function: ncclAllReduce.id().into(),
            count: size * HIDDEN,
            datatype: BFLOAT16.into(),
            communicator: Some(PYNCCL as u32),
            peer: -1,
            times,
            ..Default::default()
        }],
        ..Default::default()
    };
    let of = |size| [manifest(whole(size), size, REDUCES), manifest(piece(size), size, 1)];
    SIZES.into_iter().flat_map(of).collect()
}

fn captured(size: u64) -> Vec<Record> {
    let mut all = reduces(size, REDUCES as usize);
    all.iter_mut().for_each(|record| record.depth = CAPTURED);
    all
}

/// Profiling run, capture of each size in so many ways, and the run with one row per token.
fn start(ways: usize) -> Vec<Record> {
    let capture = |size: &u64| [reduces(*size, REDUCES as usize), captured(*size)].concat();
    let way: Vec<Record> = SIZES.iter().rev().flat_map(capture).collect();
    [warm_up(), v1_step(8192, 32), way.repeat(ways), v1_step(32, 32)].concat()
}

fn launch(manifest: u64) -> Record {
    call(cudaGraphLaunch, 0, 0, manifest, NO_PEER)
}

fn logits(rows: u64) -> Record {
    call(ncclAllGather, TORCH, BFLOAT16, rows * PART, NO_PEER)
}

fn in_whole(size: u64, rows: u64) -> Vec<Record> {
    vec![launch(whole(size)), logits(rows)]
}

fn in_pieces(size: u64, rows: u64) -> Vec<Record> {
    let mut step = vec![launch(piece(size)); REDUCES as usize];
    step.push(logits(rows));
    step
}

/// How often each label was given to AllGather of logits, in the order of steps.
fn labels(start: Vec<Record>, steps: &[Vec<Record>]) -> Vec<Label> {
    let mut process = process();
    let communicators = [PYNCCL, TORCH, OTHER].map(|handle| communicator(handle, handle, 1));
    let mut take = |first: usize, records: &[Record]| {
        process.take(&report_of(&communicators, &manifests(), first as u64, records), false);
        process.steps().counts().clone()
    };
    let mut first = start.len();
    let mut before = take(0, &start);
    let mut labels = Vec::new();
    for step in steps {
        let after = take(first, step);
        first += step.len();
        let more = |(label, count): (&Label, &StepCount)| {
            let known = before.get(label).map_or(0, |count| count.steps);
            (count.steps > known).then_some(*label)
        };
        labels.extend(after.iter().filter_map(more));
        before = after;
    }
    labels
}

const GRAPH: Label = Label::known(Decode, Source::Graph);
const PADDED: Label = Label::known(Decode, Source::Padding);
const ROWS: Label = Label::known(Decode, Source::Rows);
const PROMPT: Label = Label::known(Prefill, Source::Rows);

#[test]
fn a_whole_graph_is_decode_where_each_size_was_captured_in_two_ways() {
    let steps = [in_pieces(32, 3), in_whole(4, 3), in_whole(4, 3), in_whole(2, 2)];
    assert_eq!(labels(start(2), &steps), [PROMPT, GRAPH, GRAPH, GRAPH]);
}

#[test]
fn tokens_that_can_be_the_rows_padded_are_decode_known_less_well() {
    let steps = [in_pieces(32, 3), in_pieces(4, 3), in_pieces(2, 2)];
    assert_eq!(labels(start(1), &steps), [PROMPT, PADDED, ROWS]);
}

#[test]
fn one_row_with_more_tokens_is_a_prompt_whatever_ran_before() {
    let steps = [in_pieces(24, 1), in_whole(1, 1), in_pieces(32, 1), v1_step(100, 1)];
    assert_eq!(labels(start(2), &steps), [PROMPT, GRAPH, PROMPT, PROMPT]);
}

#[test]
fn a_prompt_beside_a_sequence_that_may_run_is_unknown() {
    let steps = [in_pieces(24, 1), in_pieces(32, 2), in_whole(2, 2), in_pieces(16, 2)];
    let expected = [PROMPT, Label::UNKNOWN, GRAPH, Label::UNKNOWN];
    assert_eq!(labels(start(2), &steps), expected);
}

#[test]
fn a_new_sequence_with_one_token_is_unknown() {
    let steps = [in_pieces(24, 1), in_whole(1, 1), in_whole(2, 2), in_whole(2, 2)];
    assert_eq!(labels(start(2), &steps), [PROMPT, GRAPH, Label::UNKNOWN, GRAPH]);
}

#[test]
fn what_is_left_of_a_cut_prompt_is_not_taken_for_decode() {
    // As large as the engine allows: a prompt may be half computed behind it.
    let steps = [in_pieces(24, 2), v1_step(8192, 2), in_whole(2, 2), in_whole(2, 2)];
    assert_eq!(labels(start(2), &steps), [PROMPT, Label::UNKNOWN, Label::UNKNOWN, GRAPH]);
}

#[test]
fn another_parallel_group_may_be_one_of_copies_that_pad_each_other() {
    let other = vec![call(ncclAllReduce, OTHER, FLOAT32, 1, NO_PEER)];
    let steps = [in_pieces(24, 1), in_whole(1, 1), in_pieces(32, 1)];
    let labels = labels([other, start(2)].concat(), &steps);
    // Tokens above the rows may be those of another copy.
    assert_eq!(labels, [Label::UNKNOWN, GRAPH, Label::UNKNOWN]);
}

#[test]
fn sizes_that_are_not_the_default_ones_do_not_show_one_token() {
    let twice = |record: Record| match record.function == ncclAllReduce.id() {
        true if record.datatype == BFLOAT16 => Record { count: record.count * 2, ..record },
        _ => record,
    };
    let start: Vec<Record> =
        start(1).into_iter().filter(|r| r.count != HIDDEN).map(twice).collect();
    let steps = [v1_step(200, 1), v1_step(2, 1), v1_step(200, 1)];
    let last = labels(start, &steps).pop();
    assert_eq!(last, Some(Label::UNKNOWN));
}

/// SGLang 0.5.5 runs each size twice before it captures it, logits and all, largest first
/// (`model_executor/cuda_graph_runner.py`, `capture_one_batch_size`); both by pynccl.
#[test]
fn an_engine_that_captures_its_logits_is_none_that_is_known() {
    let pass = |size: u64| {
        let gather = call(ncclAllGather, PYNCCL, BFLOAT16, size * PART, NO_PEER);
        [reduces(size, REDUCES as usize), vec![gather]].concat()
    };
    let capture = |size: &u64| {
        let mut captured = pass(*size);
        captured.iter_mut().for_each(|record| record.depth = CAPTURED);
        [pass(*size), pass(*size), captured].concat()
    };
    let start: Vec<Record> = SIZES.iter().rev().flat_map(capture).collect();
    let counts = of(&[warm_up(), start, pass(100), in_whole(1, 1)]);
    // The first size looks as the dummy runs of vLLM do.
    let eager = (2 * (SIZES.len() as u64 - 1) + 1) * u64::from(REDUCES + 1);
    assert_eq!(counts[&Startup], 1 + 2 * u64::from(REDUCES + 1));
    assert!(counts[&Unknown] >= eager, "{counts:?}");
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [Startup, Unknown]);
}

/// Without graphs SGLang reduces by PyTorch's communicator, though it has made one of pynccl's.
#[test]
fn an_engine_that_reduces_by_another_communicator_than_pynccls_is_none_that_is_known() {
    let by_torch = |record: Record| Record { communicator: TORCH, ..record };
    let step = |tokens| v1_step(tokens, 1).into_iter().map(by_torch).collect::<Vec<_>>();
    let counts = of(&[warm_up(), step(29), step(1), step(1), step(1)]);
    assert_eq!(counts, [(Startup, 1), (Unknown, 24)].into());
}
