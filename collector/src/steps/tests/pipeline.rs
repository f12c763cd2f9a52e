//! V1 with two tensor-parallel ranks on each of several pipeline stages (`v1/worker/gpu_worker.py`): hidden states
//! and residual go to the next stage, a part from each rank.

use super::*;
use crate::groups::Board;

/// AllReduce of a forward pass of the first stage, which has the embedding, and of another one.
const FIRST: usize = 5;
const LATER: usize = 4;

/// One rank of each stage, and what they know of each other.
struct Pipeline {
    stages: Vec<(Process, u64)>,
    board: Board,
}

impl Pipeline {
    fn new(stages: usize) -> Self {
        Self { stages: (0..stages).map(|_| (process(), 0)).collect(), board: Board::default() }
    }

    fn take(&mut self, stage: usize, records: &[Record]) {
        // The link from a stage to the next is one communicator: rank 0 sends, rank 1 receives.
        let links = [
            communicator(NEXT, 100 + stage as u64, 0),
            communicator(PREVIOUS, 99 + stage as u64, 1),
        ];
        let own = [PYNCCL, TORCH].map(|handle| communicator(handle, 10 * stage as u64 + handle, 1));
        let communicators = [links, own].concat();
        let (process, first) = &mut self.stages[stage];
        process.take(&report_of(&communicators, &[], *first, records), false);
        *first += records.len() as u64;
        process.exchange(&mut self.board);
    }

    /// Lets every stage ask what it waits for.
    fn settle(&mut self) {
        for _ in 0..self.stages.len() {
            for (process, _) in &mut self.stages {
                process.exchange(&mut self.board);
            }
        }
    }

    fn end(&mut self, stage: usize) {
        self.stages[stage].0.take(&Message::Goodbye(v1::Goodbye::default()), false);
    }

    fn counted(&self, stage: usize) -> BTreeMap<Phase, u64> {
        counted(&self.stages[stage].0)
    }
}

/// What a stage other than the last calls for a step.
fn passing(tokens: u64, first: bool) -> Vec<Record> {
    let send = call(ncclSend, NEXT, BFLOAT16, tokens * HIDDEN / 2, 1);
    let mut step = match first {
        true => reduces(tokens, FIRST),
        false => [received(tokens), reduces(tokens, LATER)].concat(),
    };
    step.extend([send; 2]);
    step
}

fn received(tokens: u64) -> Vec<Record> {
    let part = tokens * HIDDEN / 2;
    let recv = call(ncclRecv, PREVIOUS, BFLOAT16, part, 0);
    let gather = call(ncclAllGather, TORCH, BFLOAT16, part, NO_PEER);
    vec![recv, gather, recv, gather]
}

fn last(tokens: u64, rows: u64) -> Vec<Record> {
    let logits = call(ncclAllGather, TORCH, BFLOAT16, rows * PART, NO_PEER);
    [received(tokens), reduces(tokens, LATER), vec![logits]].concat()
}

fn starting(first: bool) -> Vec<Record> {
    [warm_up(), reduces(8192, if first { FIRST } else { LATER })].concat()
}

fn starting_last() -> Vec<Record> {
    let logits = || vec![call(ncclAllGather, TORCH, BFLOAT16, 256 * PART, NO_PEER)];
    [warm_up(), reduces(8192, LATER), logits(), reduces(256, LATER), logits()].concat()
}

const TOKENS: [(u64, u64); 4] = [(128, 1), (1, 1), (1, 1), (1, 1)];

#[test]
fn a_stage_that_sees_no_logits_takes_the_phase_from_the_one_that_does() {
    let mut pipeline = Pipeline::new(3);
    pipeline.take(0, &starting(true));
    pipeline.take(1, &starting(false));
    pipeline.take(2, &starting_last());
    for (tokens, rows) in TOKENS {
        pipeline.take(0, &passing(tokens, true));
        pipeline.take(1, &passing(tokens, false));
        pipeline.take(2, &last(tokens, rows));
    }
    (0..3).for_each(|stage| pipeline.end(stage));
    pipeline.settle();
    let expected = |startup, step: u64| -> BTreeMap<Phase, u64> {
        [(Startup, startup), (Prefill, step), (Decode, 3 * step)].into()
    };
    assert_eq!(pipeline.counted(0), expected(6, 7));
    assert_eq!(pipeline.counted(1), expected(5, 10));
    assert_eq!(pipeline.counted(2), expected(11, 9));
    let sources: Vec<_> = pipeline.stages[0].0.steps().counts().keys().collect();
    let known = |phase| Label::known(phase, Source::Pipeline);
    assert_eq!(sources, [&known(Prefill), &known(Decode)]);
}

#[test]
fn what_the_last_stage_does_not_know_no_stage_knows() {
    let mut pipeline = Pipeline::new(2);
    pipeline.take(0, &starting(true));
    pipeline.take(1, &starting_last());
    for (tokens, rows) in [(128, 1), (1, 1), (90, 2), (2, 2)] {
        pipeline.take(0, &passing(tokens, true));
        pipeline.take(1, &last(tokens, rows));
    }
    pipeline.end(0);
    pipeline.settle();
    assert_eq!(
        pipeline.counted(0),
        [(Startup, 6), (Prefill, 7), (Decode, 14), (Unknown, 7)].into()
    );
}

#[test]
fn a_late_answer_is_waited_for_and_a_missing_one_leaves_the_step_unknown() {
    let mut pipeline = Pipeline::new(2);
    pipeline.take(0, &starting(true));
    pipeline.take(1, &starting_last());
    TOKENS.iter().for_each(|(tokens, _)| pipeline.take(0, &passing(*tokens, true)));
    pipeline.end(0);
    assert_eq!(pipeline.counted(0), [(Startup, 6), (Unknown, 28)].into());
    let steps: Vec<_> = TOKENS.map(|(tokens, rows)| last(tokens, rows)).concat();
    // The last stage is killed in its third step.
    pipeline.take(1, &steps[..22]);
    pipeline.settle();
    assert_eq!(
        pipeline.counted(0),
        [(Startup, 6), (Prefill, 7), (Decode, 7), (Unknown, 14)].into()
    );
}

#[test]
fn behind_lost_calls_no_step_is_taken_for_another() {
    let mut pipeline = Pipeline::new(2);
    pipeline.take(0, &starting(true));
    pipeline.take(1, &starting_last());
    let steps: Vec<_> = TOKENS.map(|(tokens, _)| passing(tokens, true)).concat();
    pipeline.take(0, &steps[..7]);
    // The second step of the first stage is lost.
    pipeline.stages[0].1 += 7;
    pipeline.take(0, &steps[14..]);
    TOKENS.iter().for_each(|(tokens, rows)| pipeline.take(1, &last(*tokens, *rows)));
    pipeline.end(0);
    pipeline.settle();
    assert_eq!(pipeline.counted(0), [(Startup, 6), (Unknown, 21)].into());
}

#[test]
fn ends_of_a_link_that_do_not_count_alike_are_not_joined() {
    let mut pipeline = Pipeline::new(2);
    pipeline.take(0, &starting(true));
    pipeline.take(1, &starting_last());
    TOKENS.iter().for_each(|(tokens, _)| pipeline.take(0, &passing(2 * tokens, true)));
    TOKENS.iter().for_each(|(tokens, rows)| pipeline.take(1, &last(*tokens, *rows)));
    pipeline.end(0);
    pipeline.settle();
    assert_eq!(pipeline.counted(0), [(Startup, 6), (Unknown, 28)].into());
}

/// A step of V0 as a stage other than the last calls it: no rows are in its metadata.
fn v0_passing(tokens: u64, sequences: u64) -> Vec<Record> {
    let send = call(ncclSend, NEXT, BFLOAT16, tokens * HIDDEN / 2, 1);
    [burst(tokens, sequences, 8 * sequences, 0), reduces(tokens, FIRST), vec![send; 2]].concat()
}

fn v0_last(tokens: u64, sequences: u64, rows: u64) -> Vec<Record> {
    let logits = call(ncclSend, TORCH, BFLOAT16, rows * PART, 0);
    let metadata = burst(tokens, sequences, 8 * sequences, rows);
    [metadata, received(tokens), reduces(tokens, LATER), vec![logits]].concat()
}

#[test]
fn a_stage_of_v0_asks_the_last_one_for_what_rows_tell() {
    let mut pipeline = Pipeline::new(2);
    (0..2).for_each(|stage| pipeline.take(stage, &warm_up()));
    let mut steps = vec![(128, 1, 1), (1, 1, 1), (512, 2, 1)];
    // Behind a prompt that was cut, only the stage that sees rows can tell when nothing is left of it.
    steps.extend([(2, 2, 2); 20]);
    for (tokens, sequences, rows) in steps {
        pipeline.take(0, &v0_passing(tokens, sequences));
        pipeline.take(1, &v0_last(tokens, sequences, rows));
    }
    pipeline.end(0);
    pipeline.settle();
    let decode = |stage: usize| {
        let counts = pipeline.stages[stage].0.steps().counts().iter();
        let of = counts.filter(|(label, _)| label.phase == Decode);
        of.map(|(_, count)| count.steps).sum::<u64>()
    };
    assert_eq!((decode(0), decode(1)), (5, 5));
    let each = v0_passing(2, 2).len() as u64;
    let expected = [(Startup, 1), (Prefill, each), (Decode, 5 * each), (Unknown, 17 * each)];
    assert_eq!(pipeline.counted(0), expected.into());
}

#[test]
fn a_first_stage_is_not_taken_for_v0_whose_logits_are_sent_too() {
    // V0 sends its logits once; two transfers of one size show hidden states and residual.
    let v0_like = [warm_up(), reduces(2048, 5), vec![call(ncclSend, TORCH, BFLOAT16, 9 * PART, 0)]];
    let steps = [v0_like.concat(), v0(128, 1, 0, 1)];
    assert_eq!(of(&steps), [(Startup, 7), (Prefill, 14)].into());
}

#[test]
fn only_so_many_steps_wait_and_the_oldest_stays_unknown() {
    let mut pipeline = Pipeline::new(2);
    pipeline.take(0, &starting(true));
    let steps: Vec<_> = (0..10).flat_map(|_| passing(1, true)).collect();
    for _ in 0..=WAITING_STEPS / 10 {
        pipeline.take(0, &steps);
    }
    let process = &pipeline.stages[0].0;
    assert_eq!(process.steps().waiting(), WAITING_STEPS);
    let made = (WAITING_STEPS as u64 / 10 + 1) * 10;
    let unknown = process.steps().counts()[&Label::UNKNOWN].steps;
    assert_eq!(unknown + WAITING_STEPS as u64 + 1, made, "one step is under way");
}

proptest! {
    /// However each stage's stream is cut, and whoever is heard first, the phases are the same.
    #[test]
    fn cuts_and_order_change_nothing(
        cuts in prop::collection::vec((0usize..2, 1usize..30), 0..40),
        steps in prop::collection::vec((1u64..60, 1u64..3), 1..12),
    ) {
        let streams: [Vec<Record>; 2] = [
            [starting(true), steps.iter().flat_map(|(n, _)| passing(*n, true)).collect()].concat(),
            [starting_last(), steps.iter().flat_map(|(n, r)| last(*n, *r)).collect()].concat(),
        ];
        let mut whole = Pipeline::new(2);
        let mut cut = Pipeline::new(2);
        let mut places = [0; 2];
        for (stage, more) in cuts {
            let until = (places[stage] + more).min(streams[stage].len());
            cut.take(stage, &streams[stage][places[stage]..until]);
            places[stage] = until;
        }
        for stage in [1, 0] {
            whole.take(stage, &streams[stage]);
            cut.take(stage, &streams[stage][places[stage]..]);
        }
        for pipeline in [&mut whole, &mut cut] {
            (0..2).for_each(|stage| pipeline.end(stage));
            pipeline.settle();
        }
        for (stage, stream) in streams.iter().enumerate() {
            prop_assert_eq!(cut.counted(stage), whole.counted(stage));
            prop_assert_eq!(whole.counted(stage).values().sum::<u64>(), stream.len() as u64);
        }
    }
}
