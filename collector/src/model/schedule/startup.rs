//! What an engine sends before it serves its first request.

use super::forward::Forward;
use super::{Call, Part, Path, Role, Schedule, warm_up};
use crate::model::{Deployment, Engine, Phase};
use nccltap_proto::{Datatype, Operation};
use std::collections::BTreeMap;

/// V0 runs a size so often before it captures it (`worker/model_runner.py`, `_NUM_WARMUP_ITERS`).
const V0_WARM_UPS: u64 = 2;

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
    // A profiling pass of as many tokens and sequences as there may be, each stage for itself
    // (`profile_run` of both model runners).
    let most = tokens(deployment.max_num_batched_tokens);
    let profile = forward(deployment, replica, &most);
    for stage in 0..layout.pipeline {
        profile.agree(schedule, stage, 1);
        profile.layers(schedule, stage, 1);
    }
    profile.draft_without_requests(schedule);
    let sequences = deployment.max_num_seqs.min(deployment.max_num_batched_tokens);
    profile.logits(schedule, sequences);
    warm_up::warm_up(schedule, deployment, replica);
    // What is captured is not sent; the passes before each capture are, and before every capture
    // replicas agree on its size.
    for (size, times) in warm_ups(deployment) {
        let size = tokens(size);
        for stage in 0..layout.pipeline {
            let warm_up = Forward { warms_up: true, ..forward(deployment, replica, &size) };
            // Each is captured as often as it is run before.
            warm_up.agree(schedule, stage, 2 * times);
            warm_up.layers(schedule, stage, times);
        }
    }
    // The last stage of V1 tries the sampler with as many sequences as there may be
    // (`v1/worker/gpu_worker.py`, `compile_or_warm_up_model`).
    // The model runner of 0.32 has tried it at the end of the profiling pass, and no more.
    if !matches!(deployment.engine, Engine::V0 | Engine::V1Release0_32) {
        let tokens = tokens(sequences);
        let sampler = forward(deployment, replica, &tokens);
        sampler.agree(schedule, sampler.last_stage(), 1);
        sampler.layers(schedule, sampler.last_stage(), 1);
        sampler.draft_without_requests(schedule);
        sampler.logits(schedule, sequences);
    }
}

/// How often each captured size is run before it is captured.
fn warm_ups(deployment: &Deployment) -> BTreeMap<u64, u64> {
    let mut times = BTreeMap::new();
    let Some(graphs) = &deployment.graphs else { return times };
    let mut run = |sizes: &[u64], each: u64| {
        for size in sizes {
            *times.entry(*size).or_insert(0) += each;
        }
    };
    // V1 of 0.11 and later captures every size in pieces, and those that decodes can have whole.
    let whole: Vec<u64> =
        graphs.sizes.iter().copied().filter(|size| *size <= deployment.max_num_seqs).collect();
    let largest = |sizes: &[u64]| sizes[sizes.len().saturating_sub(TRIED_BEFORE)..].to_vec();
    match deployment.engine {
        // One set of graphs for each pipeline stage's turn.
        Engine::V0 => run(&graphs.sizes, V0_WARM_UPS * u64::from(deployment.layout.pipeline)),
        Engine::V1Release0_8 => run(&graphs.sizes, 1),
        Engine::V1Release0_11 => {
            run(&graphs.sizes, 1);
            run(&whole, 1);
        }
        Engine::V1Release0_20 => {
            let kinds =
                if graphs.whole_alone { vec![&graphs.sizes] } else { vec![&graphs.sizes, &whole] };
            for sizes in kinds {
                run(sizes, 1);
                run(&largest(sizes), 1);
            }
        }
        // Of pieces all sizes are tried before, of whole graphs the largest
        // (`v1/worker/gpu/cudagraph_utils.py`, `profile_cudagraph_memory`).
        Engine::V1Release0_32 => {
            run(&graphs.sizes, 2);
            run(&whole, 1);
            run(&largest(&whole), 1);
        }
    }
    times
}

/// pynccl tries each communicator it makes with one all-reduce of one float32 (`pynccl.py`). Which
/// there are, says `initialize_model_parallel` (`distributed/parallel_state.py`): 0.11 makes one for
/// experts in any case, 0.20 for a mixture of experts.
fn first_use(schedule: &mut Schedule, forward: &Forward<'_>, stage: u32) {
    let layout = forward.deployment.layout;
    let experts = match forward.deployment.engine {
        Engine::V0 | Engine::V1Release0_8 => false,
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
