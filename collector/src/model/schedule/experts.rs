//! What a layer of experts sends where replicas share them: data and expert parallelism together.
//!
//! Every rank gets the tokens of all, computes its own experts, and the outputs are summed up and handed
//! back (`all2all.py`). So what is sent does not depend on which experts the tokens go to. Read in vLLM
//! 0.11 (`fused_moe/layer.py`, `forward_impl`) and 0.20 (`fused_moe/prepare_finalize/naive_dp_ep.py`) for the default
//! `allgather_reducescatter` (`AgRsAll2AllManager`), to which 0.20 maps `naive`, and for the `naive` of 0.11
//! (`NaiveAll2AllManager`).

use super::forward::Forward;
use super::{Call, Part, Role, Schedule};
use crate::model::{Engine, Experts};
use nccltap_proto::{Datatype, Operation};

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
        let mut add = |operation, datatype, tokens: u64, width: u64| {
            let elements = tokens * width;
            let gathered = operation == Operation::AllGather;
            let rows = if gathered { tokens * sizes.len() as u64 } else { tokens };
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
        let mut dispatched = vec![(activations, hidden)];
        dispatched.extend(self.routing(experts));
        if self.deployment.naive_all_to_all {
            // Each rank's part of each tensor, and the sum of all outputs at every rank.
            for (datatype, width) in dispatched {
                for size in &sizes {
                    add(Operation::Broadcast, datatype, *size, width);
                }
            }
            add(Operation::AllReduce, activations, sizes.iter().sum(), hidden);
            return;
        }
        for (datatype, width) in dispatched {
            match alike {
                true => add(Operation::AllGather, datatype, own, width),
                // Where ranks have different numbers of tokens, each is the root of a broadcast
                // (`pynccl.py`, `all_gatherv`).
                false => {
                    sizes.iter().for_each(|size| add(Operation::Broadcast, datatype, *size, width));
                }
            }
        }
        // 0.11 takes the way for different numbers also where they are alike (`cuda_communicator.py`,
        // `reduce_scatterv`).
        match alike && self.deployment.engine != Engine::V1Release0_11 {
            true => add(Operation::ReduceScatter, activations, own, hidden),
            false => {
                sizes.iter().for_each(|size| add(Operation::Reduce, activations, *size, hidden))
            }
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

    /// What says which experts a token goes to, as (type, elements per token): 0.11 sends the
    /// router's logits of all experts, 0.20 the weight and the number of each that was chosen.
    fn routing(&self, experts: &Experts) -> Vec<(Datatype, u64)> {
        match self.deployment.engine {
            Engine::V1Release0_11 => vec![(self.deployment.model.activations, experts.count)],
            _ => vec![(Datatype::Float32, experts.per_token), (Datatype::Int32, experts.per_token)],
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Deployment, Engine, Layout, Model, Prediction, Request, Row, Settings};
    use crate::outputs::rows::View;

    /// Four layers, of which the second is dense.
    const CONFIG: &str = r#"{"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 256,
        "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 32, "vocab_size": 2048, "intermediate_size": 512,
        "moe_intermediate_size": 128, "num_experts": 8, "num_experts_per_tok": 2,
        "mlp_only_layers": [1], "max_position_embeddings": 40960, "torch_dtype": "bfloat16"}"#;

    fn deployment(engine: Engine, tensor: u32) -> Deployment {
        let model = Model::from_config("experts", CONFIG).unwrap();
        let layout = Layout { data: 2, expert_parallel: true, ..Layout::new(tensor, 1) };
        let settings = Settings { engine, max_model_len: Some(2048), ..Settings::PAPER };
        Deployment::new(model, layout, settings).unwrap()
    }

    fn rows(tensor: u32, requests: &[(u64, u64)]) -> Vec<Row> {
        rows_of(deployment(Engine::V1Release0_20, tensor), requests)
    }

    fn rows_of(deployment: Deployment, requests: &[(u64, u64)]) -> Vec<Row> {
        let request = |(prompt, output): &(u64, u64)| Request {
            prompt: *prompt,
            output: *output,
            cached: 0,
            arrives: 0,
        };
        let requests: Vec<_> = requests.iter().map(request).collect();
        Prediction::of_requests(deployment, &requests).unwrap().rows(View::Operations)
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
    fn release_0_11_gathers_the_logits_of_the_router_and_reduces_to_each_rank() {
        let rows = rows_of(deployment(Engine::V1Release0_11, 1), &[(64, 2), (64, 2)]);
        assert_eq!(count(&rows, "prefill", "AllGather", 64 * 256), 3, "hidden states");
        assert_eq!(count(&rows, "prefill", "AllGather", 64 * 8), 3, "a logit per expert");
        assert_eq!(count(&rows, "prefill", "Reduce", 64 * 256), 6, "though they are alike");
        assert_eq!(count(&rows, "prefill", "ReduceScatter", 64 * 256), 0);
    }

    #[test]
    fn the_naive_backend_of_release_0_11_broadcasts_and_sums_up_everything() {
        let naive = Deployment { naive_all_to_all: true, ..deployment(Engine::V1Release0_11, 1) };
        let rows = rows_of(naive, &[(64, 1), (10, 1)]);
        for tokens in [64, 10] {
            assert_eq!(count(&rows, "prefill", "Broadcast", tokens * 256), 3);
            assert_eq!(count(&rows, "prefill", "Broadcast", tokens * 8), 3);
        }
        assert_eq!(count(&rows, "prefill", "AllReduce", 74 * 256), 3);
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
