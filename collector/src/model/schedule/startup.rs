//! What an engine sends before it serves its first request.

use super::forward::Forward;
use super::{Call, Part, Path, Role, Schedule};
use crate::model::{Deployment, Engine, Phase};
use nccltap_proto::{Datatype, Operation};

/// Passes without capture before each capture (`worker/model_runner.py`, `_NUM_WARMUP_ITERS`).
const WARM_UPS_PER_CAPTURE: u64 = 2;

/// Start-up of one replica. Of V1 only the communicators' first use is known.
pub(super) fn start(schedule: &mut Schedule, deployment: &Deployment, replica: u32) {
    let layout = deployment.layout;
    let forward = |tokens| Forward { deployment, replica, phase: Phase::Startup, tokens };
    for stage in 0..layout.pipeline {
        first_use(schedule, &forward(1), stage);
    }
    if deployment.engine != Engine::V0 {
        return;
    }
    // A profiling pass of as many tokens and sequences as there may be, each stage for itself
    // (`worker/model_runner.py`, `profile_run`).
    let profile = forward(deployment.max_num_batched_tokens);
    for stage in 0..layout.pipeline {
        profile.layers(schedule, stage, 1);
    }
    profile.logits(schedule, deployment.max_num_seqs);
    // Captures, one set of graphs for each pipeline stage's turn. What is captured is not sent.
    if let Some(graphs) = &deployment.graphs {
        for size in &graphs.sizes {
            for stage in 0..layout.pipeline {
                let times = WARM_UPS_PER_CAPTURE * u64::from(layout.pipeline);
                forward(*size).layers(schedule, stage, times);
            }
        }
    }
}

/// pynccl tries each communicator it makes with one all-reduce of one float32 (`pynccl.py`).
fn first_use(schedule: &mut Schedule, forward: &Forward<'_>, stage: u32) {
    let layout = forward.deployment.layout;
    for (role, group) in
        [(Role::TensorParallel, layout.tensor), (Role::PipelineParallel, layout.pipeline)]
    {
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
