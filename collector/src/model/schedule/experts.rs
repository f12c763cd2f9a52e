//! What a layer of experts sends where replicas share them: data and expert parallelism together.
//!
//! Read in vLLM 0.20 for its default `--all2all-backend allgather_reducescatter`, to which `naive` is
//! mapped: every rank gets the tokens of all, computes its own experts, and the outputs are summed up
//! and handed back (`all2all.py`, `AgRsAll2AllManager`; `fused_moe/prepare_finalize/naive_dp_ep.py`). So what is
//! sent does not depend on which experts the tokens go to.

use super::forward::Forward;
use super::{Call, Part, Role, Schedule, replayed_at};
use crate::model::{Deployment, Step};
use nccltap_proto::{Datatype, Operation};

/// Replicas ask each other whether any has unfinished requests after so many passes
/// (`v1/engine/core.py`, `_has_global_unfinished_reqs`).
const PASSES_UNTIL_ASKED: usize = 32;

/// How many passes all replicas make where the busiest has `steps` steps: up to the first question
/// after it knows that its last request is done, which with asynchronous scheduling is one pass later
/// (`step_with_batch_queue`).
pub(super) fn passes(steps: usize) -> usize {
    if steps == 0 { 0 } else { (steps + 1).next_multiple_of(PASSES_UNTIL_ASKED) }
}

/// How many tokens each replica has in a pass that they make together: all are padded to the largest if
/// all are replayed from graphs, else each to its own size (`v1/worker/dp_utils.py`,
/// `_synchronize_dp_ranks`). One without a step has one token (`execute_dummy_batch`).
pub(super) fn tokens_together(deployment: &Deployment, steps: &[Option<&Step>]) -> Vec<u64> {
    let graphs = deployment.graphs.as_ref();
    let sizes: Vec<(u64, bool)> = steps
        .iter()
        .map(|step| {
            let replayed = match step {
                Some(step) => replayed_at(deployment, step),
                None => graphs.and_then(|graphs| graphs.padded(1)),
            };
            let tokens = step.map_or(1, Step::tokens);
            (replayed.unwrap_or(tokens), replayed.is_some())
        })
        .collect();
    let largest = sizes.iter().map(|(tokens, _)| *tokens).max().unwrap_or(0);
    let all_replayed = sizes.iter().all(|(_, replayed)| *replayed);
    sizes.iter().map(|(tokens, _)| if all_replayed { largest } else { *tokens }).collect()
}

impl Forward<'_> {
    /// How many layers have experts that are shared with other replicas.
    pub(super) fn shared_experts_layers(&self) -> u64 {
        let model = &self.deployment.model;
        match self.deployment.replicas_share_experts() {
            true => (0..model.layers).filter(|layer| model.has_experts(*layer)).count() as u64,
            false => 0,
        }
    }

    /// What `layers` layers of experts send. With tensor parallelism each of its ranks has a share of
    /// the tokens, and they are put together again behind the experts (`use_sequence_parallel_moe`).
    pub(super) fn experts(&self, schedule: &mut Schedule, stage: u32, layers: u64) {
        let layout = self.deployment.layout;
        let model = &self.deployment.model;
        let Some(experts) = &model.experts else { return };
        let tensor = u64::from(layout.tensor);
        let share = |tokens: u64| tokens.div_ceil(tensor);
        let sizes: Vec<u64> = self
            .replicas
            .iter()
            .flat_map(|tokens| std::iter::repeat_n(share(*tokens), layout.tensor as usize))
            .collect();
        let own = share(self.tokens());
        let ranks = self.ranks(stage, Part::Every);
        let role = if layout.tensor == 1 { Role::DataParallel } else { Role::ExpertParallel };
        let mut add = |operation, whole: Operation, datatype, tokens: u64, width: u64| {
            let elements = tokens * width;
            let rows =
                if whole == Operation::AllGather { tokens * sizes.len() as u64 } else { tokens };
            let call = Call {
                role,
                group: sizes.len() as u32,
                collective: operation,
                datatype,
                ..self.tensor_parallel(operation, elements, vec![rows, width])
            };
            schedule.add(ranks, call, layers);
        };
        let hidden = model.hidden_size;
        let activations = model.activations;
        let alike = sizes.iter().all(|size| *size == own);
        // The hidden states, and of each expert that a token goes to its weight and number.
        for (datatype, width) in [
            (activations, hidden),
            (Datatype::Float32, experts.per_token),
            (Datatype::Int32, experts.per_token),
        ] {
            match alike {
                true => add(Operation::AllGather, Operation::AllGather, datatype, own, width),
                // Where ranks have different numbers of tokens, each is the root of a broadcast
                // (`pynccl.py`, `all_gatherv`).
                false => sizes.iter().for_each(|size| {
                    add(Operation::Broadcast, Operation::Broadcast, datatype, *size, width);
                }),
            }
        }
        match alike {
            true => {
                add(Operation::ReduceScatter, Operation::ReduceScatter, activations, own, hidden)
            }
            false => sizes.iter().for_each(|size| {
                add(Operation::Reduce, Operation::Reduce, activations, *size, hidden);
            }),
        }
        if layout.tensor > 1 {
            let call = self.tensor_parallel(
                Operation::AllGather,
                own * hidden,
                vec![own * tensor, hidden],
            );
            schedule.add(ranks, call, layers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Engine, Layout, Model, Prediction, Request, Row, Settings};
    use crate::outputs::rows::View;

    /// Four layers, of which the second is dense.
    const CONFIG: &str = r#"{"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 256,
        "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 32, "vocab_size": 2048, "intermediate_size": 512,
        "moe_intermediate_size": 128, "num_experts": 8, "num_experts_per_tok": 2,
        "mlp_only_layers": [1], "max_position_embeddings": 40960, "torch_dtype": "bfloat16"}"#;

    fn deployment(tensor: u32, cuda_graphs: bool) -> Deployment {
        let model = Model::from_config("experts", CONFIG).unwrap();
        let layout = Layout { data: 2, expert_parallel: true, ..Layout::new(tensor, 1) };
        let settings = Settings {
            engine: Engine::V1Release0_20,
            cuda_graphs,
            max_model_len: Some(2048),
            ..Settings::PAPER
        };
        Deployment::new(model, layout, settings).unwrap()
    }

    fn rows(tensor: u32, requests: &[(u64, u64)]) -> Vec<Row> {
        let request = |(prompt, output): &(u64, u64)| Request {
            prompt: *prompt,
            output: *output,
            cached: 0,
            arrives: 0,
        };
        let requests: Vec<_> = requests.iter().map(request).collect();
        Prediction::of_requests(deployment(tensor, false), &requests)
            .unwrap()
            .rows(View::Operations)
    }

    /// Counts of an operation with so many elements at rank 0, in a phase.
    fn count(rows: &[Row], phase: &str, op: &str, elements: u64) -> u64 {
        let here = |row: &&Row| {
            row.phase == phase
                && row.op == Some(op)
                && row.elements == elements
                && row.ranks.contains(&0)
        };
        rows.iter().filter(here).map(|row| row.count).sum()
    }

    #[test]
    fn alike_replicas_gather_and_scatter_in_each_layer_of_experts() {
        let rows = rows(1, &[(64, 2), (64, 2)]);
        assert_eq!(count(&rows, "prefill", "AllGather", 64 * 256), 3, "hidden states");
        assert_eq!(count(&rows, "prefill", "AllGather", 64 * 2), 6, "weights and numbers");
        assert_eq!(count(&rows, "prefill", "ReduceScatter", 64 * 256), 3);
        assert_eq!(count(&rows, "decode", "ReduceScatter", 256), 3);
        assert_eq!(count(&rows, "idle", "ReduceScatter", 256), 3 * 30, "up to 32 passes");
    }

    #[test]
    fn replicas_with_different_numbers_of_tokens_broadcast_and_reduce() {
        let rows = rows(1, &[(64, 1), (10, 1)]);
        for tokens in [64, 10] {
            assert_eq!(count(&rows, "prefill", "Broadcast", tokens * 256), 3);
            assert_eq!(count(&rows, "prefill", "Broadcast", tokens * 2), 6);
            assert_eq!(count(&rows, "prefill", "Reduce", tokens * 256), 3);
        }
        assert_eq!(count(&rows, "prefill", "AllGather", 64 * 256), 0);
    }

    #[test]
    fn tensor_parallel_ranks_have_a_share_of_the_tokens_each() {
        let rows = rows(2, &[(63, 1), (63, 1)]);
        // The experts' gather of 32 tokens by each of four ranks, and the one behind it in pairs.
        let of_group = |ranks| {
            let wanted = |row: &&Row| row.elements == 32 * 256 && row.ranks_in_group == ranks;
            let gathers =
                rows.iter().filter(|row| row.op == Some("AllGather") && row.phase == "prefill");
            gathers.filter(wanted).map(|row| row.count).sum::<u64>()
        };
        assert_eq!((of_group(4), of_group(2)), (3, 3));
        // Embedding, four attentions and the one dense layer.
        assert_eq!(count(&rows, "prefill", "AllReduce", 63 * 256), 6);
    }

    #[test]
    fn all_are_padded_to_the_largest_only_if_all_are_replayed() {
        let step = |tokens: usize| Step { decodes: vec![9; tokens], ..Step::default() };
        let (few, more, many) = (step(3), step(17), step(1000));
        let graphs = deployment(1, true);
        assert_eq!(tokens_together(&graphs, &[Some(&few), Some(&more)]), [24, 24]);
        assert_eq!(tokens_together(&graphs, &[Some(&few), None]), [4, 4]);
        assert_eq!(tokens_together(&graphs, &[Some(&few), Some(&many)]), [4, 1000]);
        assert_eq!(tokens_together(&deployment(1, false), &[Some(&few), None]), [3, 1]);
    }

    #[test]
    fn passes_end_at_the_first_question_behind_the_last_step() {
        assert_eq!([0, 1, 31, 32, 33].map(passes), [0, 32, 32, 64, 64]);
    }

    #[test]
    fn what_is_not_known_is_refused_in_a_sentence() {
        let model = Model::from_config("experts", CONFIG).unwrap();
        let refusal = |layout, model: &Model| {
            let settings = Settings { engine: Engine::V1Release0_20, ..Settings::PAPER };
            Deployment::new(model.clone(), layout, settings).unwrap_err().to_string()
        };
        let layout = Layout { data: 2, expert_parallel: true, ..Layout::new(1, 1) };
        assert!(refusal(Layout { expert_parallel: false, ..layout }, &model).contains("--ep"));
        assert!(refusal(Layout { pipeline: 2, ..layout }, &model).contains("--pp 1"));
        let quantised = Model { quantization: Some("fp8".to_owned()), ..model.clone() };
        assert!(refusal(layout, &quantised).contains("quantised"));
        let mixtral = Model { architecture: crate::model::Architecture::Mixtral, ..model };
        assert!(refusal(Layout { tensor: 2, ..layout }, &mixtral).contains("--tp 1"));
    }
}
