//! What an engine sends before it serves its first request.

use super::forward::Forward;
use super::{Call, Part, Path, Role, Schedule, warm_up};
use crate::model::{Deployment, Engine, Graphs, Phase};
use nccltap_proto::{Datatype, Operation};
use std::collections::BTreeMap;

/// V0 and SGLang run a size so often before they capture it (`worker/model_runner.py`, `_NUM_WARMUP_ITERS`;
/// `model_executor/cuda_graph_runner.py`, `capture_one_batch_size`).
const WARM_UPS: u64 = 2;

/// vLLM 0.20 captures the largest sizes of each kind twice, at first to see what memory they take
/// (`v1/worker/gpu_model_runner.py`, `profile_cudagraph_memory`).
const TRIED_BEFORE: usize = 2;

/// Start-up of one replica.
///
/// Not in it is the pass with which vLLM 0.11 and later tune FlashInfer, where that is installed and
/// wanted (`model_executor/warmup/kernel_warmup.py`).
pub(super) fn start(schedule: &mut Schedule, deployment: &Deployment, replica: u32) {
    let layout = deployment.layout;
    // All replicas start alike.
    let replicas = if deployment.replicas_step_together() { layout.data as usize } else { 1 };
    let tokens = |tokens| vec![tokens; replicas];
    fn forward<'a>(deployment: &'a Deployment, replica: u32, tokens: &'a [u64]) -> Forward<'a> {
        Forward { deployment, replica, phase: Phase::Startup, replicas: tokens, warms_up: false }
    }
    let one = tokens(1);
    for stage in 0..layout.pipeline {
        first_use(schedule, &forward(deployment, replica, &one), stage);
    }
    let sequences = deployment.max_num_seqs.min(deployment.max_num_batched_tokens);
    // A profiling pass of as many tokens and sequences as there may be, each stage for itself
    // (`profile_run` of both model runners of vLLM).
    if deployment.engine != Engine::Sglang {
        let most = tokens(deployment.max_num_batched_tokens);
        let profile = forward(deployment, replica, &most);
        for stage in 0..layout.pipeline {
            profile.agree(schedule, stage, 1);
            profile.layers(schedule, stage, 1);
        }
        profile.draft_without_requests(schedule);
        profile.logits(schedule, sequences);
    }
    warm_up::warm_up(schedule, deployment, replica);
    // What is captured is not sent; the passes before each capture are, and before every capture
    // replicas agree on its size.
    for (size, captures) in captures(deployment) {
        let times = captures.in_pieces + captures.whole;
        let batch = tokens(size);
        for stage in 0..layout.pipeline {
            let warm_up = Forward { warms_up: true, ..forward(deployment, replica, &batch) };
            // Each is captured as often as it is run before.
            warm_up.agree(schedule, stage, 2 * times);
            warm_up.layers(schedule, stage, times);
            if stage == warm_up.last_stage() {
                warm_up.draft_at_captures(schedule, captures);
                if deployment.engine.captures_logits() {
                    warm_up.logits_of(schedule, size, deployment.model.vocab_size, times);
                }
            }
        }
    }
    // The last stage of V1 tries the sampler with as many sequences as there may be
    // (`v1/worker/gpu_worker.py`, `compile_or_warm_up_model`).
    // The model runner of 0.32 has tried it at the end of the profiling pass, and no more.
    if !matches!(deployment.engine, Engine::V0 | Engine::V1Release0_32 | Engine::Sglang) {
        let tokens = tokens(sequences);
        let sampler = forward(deployment, replica, &tokens);
        sampler.agree(schedule, sampler.last_stage(), 1);
        sampler.layers(schedule, sampler.last_stage(), 1);
        sampler.draft_without_requests(schedule);
        sampler.logits(schedule, sequences);
    }
}

/// How often a size is run before it is captured: in pieces, between which attention is computed, and as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Captures {
    pub(super) in_pieces: u64,
    pub(super) whole: u64,
}

const IN_PIECES: Captures = Captures { in_pieces: 1, whole: 0 };
const WHOLE: Captures = Captures { in_pieces: 0, whole: 1 };

/// How often each size is run before it is captured.
fn captures(deployment: &Deployment) -> BTreeMap<u64, Captures> {
    let mut captures: BTreeMap<u64, Captures> = BTreeMap::new();
    let Some(graphs) = &deployment.graphs else { return captures };
    let Graphs { sizes, whole, .. } = graphs;
    let mut run = |sizes: &[u64], each: Captures| {
        for size in sizes {
            let captures = captures.entry(*size).or_default();
            captures.in_pieces += each.in_pieces;
            captures.whole += each.whole;
        }
    };
    let largest = |sizes: &[u64]| sizes[sizes.len().saturating_sub(TRIED_BEFORE)..].to_vec();
    match deployment.engine {
        // One set of graphs for each pipeline stage's turn.
        Engine::V0 => {
            let stages = u64::from(deployment.layout.pipeline);
            run(sizes, Captures { whole: WARM_UPS * stages, ..WHOLE });
        }
        Engine::Sglang => run(sizes, Captures { whole: WARM_UPS, ..WHOLE }),
        Engine::V1Release0_8 => run(sizes, IN_PIECES),
        // From here on every size is captured in pieces, and those that decodes can have whole.
        Engine::V1Release0_11 => {
            run(sizes, IN_PIECES);
            run(whole, WHOLE);
        }
        Engine::V1Release0_20 => {
            let kinds = match graphs.whole_alone {
                true => vec![(sizes, WHOLE)],
                false => vec![(sizes, IN_PIECES), (whole, WHOLE)],
            };
            for (sizes, kind) in kinds {
                run(sizes, kind);
                run(&largest(sizes), kind);
            }
        }
        // Of pieces all sizes are tried before, of whole graphs the largest
        // (`v1/worker/gpu/cudagraph_utils.py`, `profile_cudagraph_memory`).
        Engine::V1Release0_32 => {
            run(sizes, Captures { in_pieces: 2, ..IN_PIECES });
            run(whole, WHOLE);
            run(&largest(whole), WHOLE);
        }
    }
    captures
}

/// pynccl tries each communicator it makes with one all-reduce of one float32 (`pynccl.py`). Which
/// there are, says `initialize_model_parallel` (`distributed/parallel_state.py`): 0.11 makes one for
/// experts in any case, 0.20 for a mixture of experts.
fn first_use(schedule: &mut Schedule, forward: &Forward<'_>, stage: u32) {
    let layout = forward.deployment.layout;
    let experts = match forward.deployment.engine {
        Engine::V0 | Engine::V1Release0_8 | Engine::Sglang => false,
        Engine::V1Release0_11 => true,
        Engine::V1Release0_20 | Engine::V1Release0_32 => forward.deployment.model.experts.is_some(),
    };
    let data = if forward.deployment.replicas_step_together() { layout.data } else { 1 };
    for (role, group) in [
        (Role::TensorParallel, layout.tensor),
        (Role::PipelineParallel, layout.pipeline),
        (Role::DataParallel, data),
        (Role::ExpertParallel, if experts { layout.tensor * data } else { 1 }),
    ] {
        if group > 1 {
            let call = Call {
                phase: Phase::Startup,
                role,
                group,
                path: Path::Nccl,
                collective: Operation::AllReduce,
                operation: Operation::AllReduce,
                datatype: Datatype::Float32,
                elements: 1,
                shape: vec![1],
            };
            schedule.add(forward.ranks(stage, Part::Every), call, 1);
        }
    }
}
