//! What a draft model sends: its own passes, on the ranks of the model that it guesses for.

use super::Schedule;
use super::forward::Forward;
use super::startup::Captures;
use crate::model::Engine;

impl Forward<'_> {
    /// Behind a step: a pass of as many tokens as the step, and then for each further guess one of a
    /// token per request; each ends in the logits of every request, which a part of a prompt has too
    /// (`propose`). With CUDA graphs they are padded like steps.
    pub(super) fn draft(&self, schedule: &mut Schedule, requests: u64) {
        let Some(draft) = self.deployment.draft() else { return };
        let further = draft.tokens.saturating_sub(1);
        let graphs = self.deployment.graphs.as_ref();
        let padded = graphs.and_then(|graphs| graphs.padded(requests)).unwrap_or(requests);
        self.draft_passes(schedule, self.tokens(), 1);
        self.draft_passes(schedule, padded, further);
        self.logits_of(schedule, requests, draft.vocabulary, 1 + further);
    }

    /// Behind a pass that serves nobody: passes of as many tokens, without logits.
    pub(super) fn draft_without_requests(&self, schedule: &mut Schedule) {
        let Some(draft) = self.deployment.draft() else { return };
        let passes = draft.passes_without_requests(self.deployment.engine);
        self.draft_passes(schedule, self.tokens(), passes);
    }

    /// Where the size of this pass is captured: behind the pass before each capture, and behind each capture one
    /// more. That one is captured too where 0.20 captures the model in pieces (`_dummy_run`, `use_cudagraphs`);
    /// else it is made (in 0.11 `dummy_run`, which knows of no graphs).
    pub(super) fn draft_at_captures(&self, schedule: &mut Schedule, captures: Captures) {
        let Some(draft) = self.deployment.draft() else { return };
        let Captures { in_pieces, whole } = captures;
        let before = draft.passes_without_requests(self.deployment.engine);
        let behind = match self.deployment.engine {
            Engine::V1Release0_11 => in_pieces + whole,
            _ => whole,
        };
        self.draft_passes(schedule, self.tokens(), before * (in_pieces + whole) + behind);
    }

    /// All-reduces of the embedding and of two linears per layer, as in the model itself.
    fn draft_passes(&self, schedule: &mut Schedule, tokens: u64, times: u64) {
        let Some(draft) = self.deployment.draft() else { return };
        if self.deployment.layout.tensor > 1 {
            let count = (1 + 2 * draft.layers) * times;
            self.all_reduces(schedule, self.last_stage(), (tokens, draft.hidden_size), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::presets::preset;
    use crate::model::{
        Deployment, Draft, Engine, Layout, Model, Prediction, Settings, Speculation, Step,
    };
    use crate::outputs::rows::View;

    const DRAFT: Draft = Draft { tokens: 3, hidden_size: 1024, layers: 1, vocabulary: 32_000 };

    /// 16 sequences, 512 tokens, a draft model.
    fn settings(engine: Engine) -> Settings {
        Settings {
            engine,
            max_num_seqs: Some(16),
            max_num_batched_tokens: Some(512),
            speculation: Some(Speculation::Draft(DRAFT)),
            ..Settings::PAPER
        }
    }

    /// Counts of (operation, elements) in a phase, at rank 0: two requests, each with its next token and three
    /// guesses.
    fn counts(settings: Settings, phase: &str) -> Vec<(&'static str, u64, u64)> {
        let model = preset("llama-3.1-8b").unwrap();
        let deployment = Deployment::new(model, Layout::new(2, 1), settings).unwrap();
        let step = Step { decodes: vec![9, 9], drafts: 6, ..Step::default() };
        let prediction = Prediction::of_steps(deployment, &[vec![step]]).unwrap();
        let rows = prediction.rows(View::Operations).into_iter().filter(|row| row.phase == phase);
        rows.map(|row| (row.op.unwrap(), row.elements, row.count)).collect()
    }

    #[test]
    fn a_draft_model_passes_over_the_step_and_then_over_a_token_of_each_request() {
        let counts = counts(settings(Engine::V1Release0_11), "decode");
        for row in [
            ("AllReduce", 8 * 4096, 65),
            ("AllGather", 8 * 64_128, 1),
            ("AllReduce", 8 * 1024, 3),
            ("AllReduce", 2 * 1024, 6),
            ("AllGather", 2 * 16_000, 3),
        ] {
            assert!(counts.contains(&row), "{row:?}: {counts:?}");
        }
        assert_eq!(counts.len(), 5);
    }

    #[test]
    fn passes_that_serve_nobody_have_drafts_without_logits() {
        for (engine, passes) in [(Engine::V1Release0_11, 1), (Engine::V1Release0_20, 3)] {
            let counts = counts(settings(engine), "startup");
            assert!(counts.contains(&("AllReduce", 512 * 1024, 3 * passes)), "profiling");
            assert!(counts.contains(&("AllReduce", 16 * 1024, 3 * passes)), "sampler");
        }
    }

    /// The pass over one token of each of two requests is padded to the smallest size: 4 in 0.20, whose sizes are
    /// multiples of the 4 tokens of a decode, and 2 in 0.11. The step has 8 tokens, a size in both.
    #[test]
    fn with_graphs_the_passes_of_a_draft_model_are_padded_too() {
        for (engine, padded) in [(Engine::V1Release0_20, 4), (Engine::V1Release0_11, 2)] {
            let counts = counts(Settings { cuda_graphs: true, ..settings(engine) }, "decode");
            for row in [
                ("AllReduce", 8 * 4096, 65),
                ("AllReduce", 8 * 1024, 3),
                ("AllReduce", padded * 1024, 6),
                ("AllGather", 2 * 16_000, 3),
            ] {
                assert!(counts.contains(&row), "{row:?}: {counts:?}");
            }
        }
    }

    /// Three all-reduces of the draft model in each of its passes. 0.20 captures 4, 8, 16 up to 128 tokens, min(16
    /// sequences x 4 tokens x 2, 512), in pieces, and up to 64, those of 16 sequences, also as a whole. Before each
    /// capture it makes three passes, and one behind that of a whole graph: 3 + 3 + 1 for 32 tokens. Of each kind it
    /// tries the two largest before, so that 64 have 3 + 2 x (3 + 1) and 128 have 2 x 3. 0.11 captures 1, 2, 4, 8
    /// up to 32 tokens, 16 sequences x 2, in pieces, and from the 4 tokens of a decode on also as a whole. It makes one
    /// pass before and one behind each: 2 + 2 for 32 tokens, 2 for 1.
    #[test]
    fn a_draft_model_makes_its_passes_at_each_capture_too() {
        for (engine, passes) in [
            (Engine::V1Release0_20, [(32, 7), (64, 11), (128, 6)].as_slice()),
            (Engine::V1Release0_11, [(32, 4), (8, 4), (1, 2)].as_slice()),
        ] {
            let graphs = Settings { cuda_graphs: true, ..settings(engine) };
            let counts = counts(graphs, "startup");
            for (tokens, passes) in passes {
                let row = ("AllReduce", tokens * 1024, 3 * passes);
                assert!(counts.contains(&row), "{row:?}: {counts:?}");
            }
        }
    }

    /// Behind a step of DeepSeek V3: of its prediction layer the embedding and two linears, at the width of the model,
    /// and the logits of its vocabulary.
    #[test]
    fn multi_token_prediction_is_a_draft_model_of_one_layer_of_the_target() {
        let config = r#"{"architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 512, "num_hidden_layers": 3,
            "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 2048,
            "intermediate_size": 512, "moe_intermediate_size": 128, "n_routed_experts": 8,
            "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 1,
            "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
            "max_position_embeddings": 4096, "torch_dtype": "bfloat16"}"#;
        let settings = Settings {
            speculation: Some(Speculation::MultiTokenPrediction { tokens: 2 }),
            cuda_graphs: true,
            ..settings(Engine::V1Release0_20)
        };
        let model = Model::from_config("deepseek", config).unwrap();
        let deployment = Deployment::new(model, Layout::new(2, 1), settings).unwrap();
        let step = Step { decodes: vec![9], drafts: 2, ..Step::default() };
        let prediction = Prediction::of_steps(deployment, &[vec![step]]).unwrap();
        let rows =
            prediction.rows(View::Operations).into_iter().filter(|row| row.phase == "decode");
        let counts: Vec<_> = rows.map(|row| (row.op.unwrap(), row.shape, row.count)).collect();
        // Three tokens of the step, a size of its own; the second pass is padded to it too.
        assert!(counts.contains(&("AllReduce", vec![3, 512], 7 + 3 + 3)), "{counts:?}");
        assert!(counts.contains(&("AllGather", vec![1, 2048], 2)), "{counts:?}");
    }

    #[test]
    fn at_captures_custom_all_reduce_sends_nothing_for_a_draft_model_either() {
        let graphs = Settings {
            cuda_graphs: true,
            custom_all_reduce: true,
            ..settings(Engine::V1Release0_20)
        };
        let counts = counts(graphs, "startup");
        assert!(!counts.iter().any(|(_, elements, _)| *elements == 32 * 1024), "{counts:?}");
        assert!(counts.contains(&("AllReduce", 16 * 1024, 9)), "sampler, by custom all-reduce");
    }
}
