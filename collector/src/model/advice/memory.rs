//! What a GPU must hold.

use super::serving::Workload;
use super::step::Placed;
use crate::model::padded_vocabulary;

/// vLLM's default of `--gpu-memory-utilization` until 0.19, in which it takes what the memory has.
const USED: f64 = 0.9;

/// Bytes of one GPU, the fullest of the layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Weights.
    pub weights: f64,
    /// Activations and logits of the largest step, an estimate.
    pub activations: f64,
    /// What is left for the KV cache, negative if there is too little.
    pub cache: f64,
    /// Requests of the workload whose KV cache has room, on all stages, each at its full length.
    pub requests: u64,
}

impl Memory {
    pub(super) fn new(placed: &Placed<'_>, workload: &Workload) -> Self {
        let deployment = placed.deployment;
        let model = &deployment.model;
        let usable = USED * placed.cluster.gpu.memory;
        let length = (workload.prompt + workload.output) as f64;
        let activations = {
            // Of the layer that is being computed: its input, its residual, its output, and the
            // two halves of the gated MLP.
            let bytes = model.activations.size() as f64;
            let width = model.experts.as_ref().map_or(model.intermediate_size, |experts| {
                (experts.intermediate_size * experts.per_token).max(model.intermediate_size)
            });
            let tokens = deployment.max_num_batched_tokens as f64;
            let mlp = 2.0 * width as f64 / f64::from(deployment.layout.tensor);
            // Logits are sampled from in float32.
            let logits = (deployment.max_num_seqs * padded_vocabulary(model.vocab_size)) as f64;
            tokens * bytes * (3.0 * model.hidden_size as f64 + mlp) + 4.0 * logits
        };
        let of_stage = |share: &super::weights::Share| {
            let weights = share.bytes();
            let cache = usable - weights - activations;
            let requests = (cache / (share.cache_per_token() * length)).max(0.0) as u64;
            Self { weights, activations, cache, requests }
        };
        let stages = placed.shares.iter().map(of_stage);
        let none = Self { weights: 0.0, activations, cache: usable, requests: u64::MAX };
        stages.fold(none, |all, stage| Self {
            weights: all.weights.max(stage.weights),
            activations,
            cache: all.cache.min(stage.cache),
            requests: all.requests.min(stage.requests),
        })
    }
}
