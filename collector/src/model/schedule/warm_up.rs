//! The steps by which the model runner of vLLM 0.32 warms up before it captures: requests of its own, which go
//! through the engine's steps (`v1/worker/gpu/warmup.py`, `warmup_kernels`).

use super::Schedule;
use super::forward::Forward;
use crate::model::{Deployment, Engine, Phase};

/// Tokens of each request's prompt: one more than a decode has, so that no prefill is taken for one.
const PROMPT: u64 = 2;

/// The requests want the log probabilities of their prompts, for so many rows of logits at once
/// (`v1/worker/gpu/sample/prompt_logprob.py`, `compute_prompt_logprobs_with_chunking`).
const PROMPT_ROWS: u64 = 1024;

/// The warm-up of one replica, if it makes one. `--enforce-eager` turns it off (`config/vllm.py`,
/// `enable_jit_warmup`).
///
/// There are fewer requests where the cache has fewer blocks than sequences, which is not known here.
pub(super) fn warm_up(schedule: &mut Schedule, deployment: &Deployment, replica: u32) {
    if deployment.engine != Engine::V1Release0_32 || deployment.graphs.is_none() {
        return;
    }
    let requests = deployment.max_num_seqs.min(deployment.max_num_batched_tokens / PROMPT);
    let prompts = requests * PROMPT;
    step(schedule, deployment, replica, prompts, requests);
    let rows = (0..prompts).step_by(PROMPT_ROWS as usize).map(|at| PROMPT_ROWS.min(prompts - at));
    for rows in rows {
        forward(deployment, replica, &[prompts]).logits(schedule, rows);
    }
    // Decodes of all of them, of two, and of one.
    step(schedule, deployment, replica, requests, requests);
    if requests > 1 {
        step(schedule, deployment, replica, 2, 2);
        step(schedule, deployment, replica, 1, 1);
    }
}

/// A step of all stages. Nothing is captured yet, so nothing is padded.
fn step(
    schedule: &mut Schedule,
    deployment: &Deployment,
    replica: u32,
    tokens: u64,
    requests: u64,
) {
    let tokens = [tokens];
    let forward = forward(deployment, replica, &tokens);
    for stage in 0..deployment.layout.pipeline {
        forward.receive(schedule, stage);
        forward.layers(schedule, stage, 1);
        forward.send(schedule, stage);
    }
    forward.logits(schedule, requests);
    forward.sampled_tokens(schedule, requests);
}

fn forward<'a>(deployment: &'a Deployment, replica: u32, tokens: &'a [u64]) -> Forward<'a> {
    Forward { deployment, replica, phase: Phase::Startup, replicas: tokens, warms_up: false }
}
