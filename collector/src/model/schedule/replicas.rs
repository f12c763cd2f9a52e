//! Passes that the replicas of data parallelism make together: those of a mixture of experts, and before
//! vLLM 0.20 those of any model (`v1/engine/core.py`, `DPEngineCoreProc`).

use super::forward::Forward;
use super::{Call, Part, Role, Schedule, replayed_at};
use crate::model::{Deployment, Engine, Phase, Step};
use nccltap_proto::{Datatype, Operation};

/// Replicas ask each other whether any has unfinished requests after so many passes
/// (`v1/engine/core.py`, `_has_global_unfinished_reqs`).
const PASSES_UNTIL_ASKED: usize = 32;

/// How many passes all replicas make where the busiest has `steps` steps: up to the first question
/// after it knows that its last request is done, which with the asynchronous scheduling of 0.20 is
/// one pass later (`step_with_batch_queue`).
pub(super) fn passes(engine: Engine, steps: usize) -> usize {
    let late = usize::from(engine != Engine::V1Release0_11);
    if steps == 0 { 0 } else { (steps + late).next_multiple_of(PASSES_UNTIL_ASKED) }
}

/// How many tokens each replica has in a pass that they make together. One without a request has one
/// token (`execute_dummy_batch`). With CUDA graphs all are padded to the largest: in 0.11 in any pass
/// (`v1/worker/gpu_model_runner.py`, `get_dp_padding`), in 0.20 if all of them are replayed, else each to its own
/// size (`v1/worker/dp_utils.py`, `_synchronize_dp_ranks`).
pub(super) fn tokens_together(deployment: &Deployment, steps: &[&Step]) -> Vec<u64> {
    let release_0_11 = deployment.engine == Engine::V1Release0_11;
    let sizes: Vec<(u64, bool)> = steps
        .iter()
        .map(|step| {
            let idle = step.phase() == Phase::Idle;
            let replayed = match (&deployment.graphs, idle) {
                (Some(_), true) if release_0_11 => Some(1),
                (Some(graphs), true) => graphs.padded(1),
                _ => replayed_at(deployment, step),
            };
            (replayed.unwrap_or(if idle { 1 } else { step.tokens() }), replayed.is_some())
        })
        .collect();
    let largest = sizes.iter().map(|(tokens, _)| *tokens).max().unwrap_or(0);
    let all_alike = match release_0_11 {
        true => deployment.graphs.is_some(),
        false => sizes.iter().all(|(_, replayed)| *replayed),
    };
    sizes.iter().map(|(tokens, _)| if all_alike { largest } else { *tokens }).collect()
}

impl Forward<'_> {
    /// Replicas tell each other how many tokens they have, before each of `times` passes: one int32 of
    /// each, summed up (`forward_context.py`, `num_tokens_across_dp`).
    pub(super) fn agree(&self, schedule: &mut Schedule, stage: u32, times: u64) {
        if !self.deployment.replicas_agree_over_nccl() {
            return;
        }
        let replicas = self.deployment.layout.data;
        let elements = u64::from(replicas);
        let call = Call {
            role: Role::DataParallel,
            group: replicas,
            datatype: Datatype::Int32,
            ..self.tensor_parallel(Operation::AllReduce, elements, vec![elements])
        };
        schedule.add(self.ranks(stage, Part::Every), call, times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Layout, Model, Prediction, Settings};
    use crate::outputs::rows::View;

    const EXPERTS: &str = r#"{"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 256,
        "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 32, "vocab_size": 2048, "intermediate_size": 512,
        "moe_intermediate_size": 128, "num_experts": 8, "num_experts_per_tok": 2,
        "max_position_embeddings": 40960, "torch_dtype": "bfloat16"}"#;

    fn deployment(engine: Engine, cuda_graphs: bool) -> Deployment {
        let model = Model::from_config("experts", EXPERTS).unwrap();
        let layout = Layout { data: 2, expert_parallel: true, ..Layout::new(1, 1) };
        let max_model_len = Some(2048);
        let settings = Settings { engine, cuda_graphs, max_model_len, ..Settings::PAPER };
        Deployment::new(model, layout, settings).unwrap()
    }

    #[test]
    fn all_are_padded_to_the_largest_only_if_all_are_replayed() {
        let step = |tokens: usize| Step { decodes: vec![9; tokens], ..Step::default() };
        let (few, more, many, idle) = (step(3), step(17), step(1000), Step::default());
        let graphs = deployment(Engine::V1Release0_20, true);
        assert_eq!(tokens_together(&graphs, &[&few, &more]), [24, 24]);
        assert_eq!(tokens_together(&graphs, &[&few, &idle]), [4, 4]);
        assert_eq!(tokens_together(&graphs, &[&few, &many]), [4, 1000]);
        let eager = deployment(Engine::V1Release0_20, false);
        assert_eq!(tokens_together(&eager, &[&few, &idle]), [3, 1]);
        let older = deployment(Engine::V1Release0_11, true);
        assert_eq!(tokens_together(&older, &[&few, &many]), [1000, 1000], "0.11 always pads");
        assert_eq!(tokens_together(&older, &[&idle, &few]), [4, 4]);
    }

    #[test]
    fn passes_end_at_the_first_question_behind_the_last_step() {
        assert_eq!(
            [0, 1, 31, 32, 33].map(|n| passes(Engine::V1Release0_20, n)),
            [0, 32, 32, 64, 64]
        );
        assert_eq!([0, 1, 32, 33].map(|n| passes(Engine::V1Release0_11, n)), [0, 32, 32, 64]);
    }

    #[test]
    fn the_steps_of_each_replica_are_passes_one_by_one() {
        let prompt = |tokens| Step {
            prompts: vec![crate::model::Chunk {
                tokens,
                context: 0,
                prompt: tokens,
                last: true,
                cache_hit: false,
            }],
            ..Step::default()
        };
        let steps = [vec![prompt(64), Step::default()], vec![Step::default(), prompt(10)]];
        let of = |steps: &[Vec<Step>]| {
            Prediction::of_steps(deployment(Engine::V1Release0_20, false), steps)
        };
        let rows = of(&steps).unwrap().rows(View::Operations);
        let reduced = |elements| -> u64 {
            let wanted = rows.iter().filter(|row| {
                row.phase != "startup" && row.op == Some("Reduce") && row.elements == elements
            });
            wanted.filter(|row| row.ranks.contains(&0)).map(|row| row.count).sum()
        };
        // Each prompt goes with a pass of one token of the other.
        assert_eq!([64, 10, 1].map(|tokens| reduced(tokens * 256)), [4, 4, 8]);
        let error = of(&steps[..1]).unwrap_err().to_string();
        assert!(error.contains("of 1 replicas"), "{error}");
    }

    #[test]
    fn replicas_of_release_0_11_agree_on_their_tokens_before_each_pass() {
        let rows = |synchronised: bool| {
            let model = crate::model::presets::preset("llama-3.2-3b").unwrap();
            let layout = Layout { data: 2, ..Layout::new(1, 1) };
            let settings = Settings {
                engine: Engine::V1Release0_11,
                disable_nccl_for_dp_synchronization: !synchronised,
                ..Settings::PAPER
            };
            let deployment = Deployment::new(model, layout, settings).unwrap();
            let request = crate::model::Request { prompt: 64, output: 4, cached: 0, arrives: 0 };
            let prediction = Prediction::of_requests(deployment, &[request]).unwrap();
            let rows = prediction.rows(View::Operations);
            let counts = rows.iter().filter(|row| row.op == Some("AllReduce") && row.elements == 2);
            counts.map(|row| (row.phase, row.ranks.clone(), row.count)).collect::<Vec<_>>()
        };
        assert_eq!(
            rows(true),
            [
                ("startup", vec![0, 1], 2),
                ("prefill", vec![0], 1),
                ("decode", vec![0], 3),
                ("idle", vec![0], 28),
                ("idle", vec![1], 32)
            ]
        );
        assert_eq!(rows(false), []);
    }
}
