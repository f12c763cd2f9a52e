//! The engines whose schedule is known, and how they are set up.
//!
//! Everything here was read in the source of vLLM 0.8.5.post1, 0.11.0, 0.20.0 and 0.32.0, and each rule names
//! its file; what is SGLang's is in [`sglang`]. Nothing was fitted to what a run showed.

use super::{
    Architecture, Graphs, Layout, Model, Speculation, modelled, sequence_parallelism, sglang,
};
use nccltap_proto::Datatype;
use std::fmt;

/// An engine, by the release whose source was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// vLLM 0.8.5 with `VLLM_USE_V1=0`, as in the paper.
    V0,
    /// vLLM 0.8.5 with its default engine.
    V1Release0_8,
    /// vLLM 0.11.
    V1Release0_11,
    /// vLLM 0.20, with the model runner that is its default.
    V1Release0_20,
    /// vLLM 0.32, with the model runner that is its default, another one.
    V1Release0_32,
    /// SGLang 0.5.5.
    Sglang,
}

impl Engine {
    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V0 => "vLLM 0.8.5 V0",
            Self::V1Release0_8 => "vLLM 0.8.5 V1",
            Self::V1Release0_11 => "vLLM 0.11 V1",
            Self::V1Release0_20 => "vLLM 0.20 V1",
            Self::V1Release0_32 => "vLLM 0.32 V1",
            Self::Sglang => "SGLang 0.5.5",
        }
    }

    /// V0 collects the logits at one rank; V1 gives them to all (`platforms/interface.py`,
    /// `use_all_gather`), and so does SGLang (`layers/logits_processor.py`, `_get_logits`).
    pub const fn gathers_logits(self) -> bool {
        matches!(self, Self::V0)
    }

    /// The driver tells the other tensor-parallel ranks each step's input by broadcasts of tensors
    /// (`worker/worker_base.py`, `_get_driver_input_and_broadcast`). V1 tells them through shared
    /// memory, SGLang by Gloo (`managers/scheduler.py`, `recv_requests`).
    pub const fn broadcasts_metadata(self) -> bool {
        matches!(self, Self::V0)
    }

    /// The last stage tells the others the tokens it sampled, because the next step is scheduled
    /// before they are known (`v1/worker/gpu_model_runner.py`,
    /// `_pp_broadcast_prev_sampled_token_ids`; in 0.32 `v1/worker/gpu/pp_utils.py`).
    pub const fn broadcasts_sampled_tokens(self) -> bool {
        matches!(self, Self::V1Release0_20 | Self::V1Release0_32)
    }

    /// What activations are made of. Since 0.11 vLLM serves Gemma 2 and 3 of float16 in bfloat16
    /// (`config/model.py`, `_FLOAT16_NOT_SUPPORTED_MODELS`).
    pub fn activations(self, model: &Model) -> Datatype {
        let falls_back = match self {
            Self::V0 | Self::V1Release0_8 | Self::Sglang => false,
            Self::V1Release0_11 | Self::V1Release0_20 | Self::V1Release0_32 => {
                matches!(model.architecture, Architecture::Gemma2 | Architecture::Gemma3)
            }
        };
        match model.activations {
            Datatype::Float16 if falls_back => Datatype::Bfloat16,
            other => other,
        }
    }

    /// Whether FlashAttention takes heads of `size` elements (`attention/backends/flash_attn.py`,
    /// `get_supported_head_sizes`; in 0.11 under `v1`; `supports_head_size` since 0.20). If not, V0 takes xFormers, and 0.11
    /// FlexAttention (`platforms/cuda.py`, `get_attn_backend_cls`).
    pub const fn flash_attention_takes(self, size: u64) -> bool {
        match self {
            Self::V0 | Self::V1Release0_8 | Self::V1Release0_11 => {
                size.is_multiple_of(32) && size <= 256
            }
            _ => size.is_multiple_of(8) && size <= 256,
        }
    }

    /// V1 computes logits for each request of a step, also for a part of a prompt
    /// (`v1/worker/gpu_model_runner.py`, `logits_indices`), as SGLang does (`layers/logits_processor.py`); V0 for
    /// those that sample (`model_executor/sampling_metadata.py`).
    pub const fn rows_of_partial_prompts(self) -> bool {
        !matches!(self, Self::V0)
    }

    /// SGLang's graphs have the logits in them, so these are padded as well (`model_executor/cuda_graph_runner.py`,
    /// `capture_one_batch_size`); vLLM computes them behind the graph.
    pub const fn captures_logits(self) -> bool {
        matches!(self, Self::Sglang)
    }
}

/// What of the engine's command line changes the schedule, by vLLM's names. `None` is the engine's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The engine.
    pub engine: Engine,
    /// CUDA graphs: the opposite of `--enforce-eager`.
    pub cuda_graphs: bool,
    /// `--max-model-len`.
    pub max_model_len: Option<u64>,
    /// `--max-num-seqs`.
    pub max_num_seqs: Option<u64>,
    /// `--max-num-batched-tokens`.
    pub max_num_batched_tokens: Option<u64>,
    /// `--enable-chunked-prefill`.
    pub chunked_prefill: Option<bool>,
    /// `--block-size`: tokens per block of the KV cache.
    pub block_size: u64,
    /// The opposite of `--disable-custom-all-reduce`.
    pub custom_all_reduce: bool,
    /// Sequence parallelism by vLLM's compiler pass: `pass_config.enable_sp`.
    pub sequence_parallelism: bool,
    /// `pass_config.sp_min_token_num`: from how many tokens on.
    pub sp_min_token_num: Option<u64>,
    /// Speculative decoding: who guesses tokens.
    pub speculation: Option<Speculation>,
    /// `--all2all-backend naive`, which is a way of its own in 0.11 (there `VLLM_ALL2ALL_BACKEND`).
    pub naive_all_to_all: bool,
    /// `--disable-nccl-for-dp-synchronization` (in 0.11 `VLLM_DISABLE_NCCL_FOR_DP_SYNCHRONIZATION=1`): replicas
    /// tell each other on the CPU how many tokens they have.
    pub disable_nccl_for_dp_synchronization: bool,
}

impl Settings {
    /// The setting of the paper: V0, no graphs, no custom all-reduce.
    pub const PAPER: Self = Self {
        engine: Engine::V0,
        cuda_graphs: false,
        max_model_len: None,
        max_num_seqs: None,
        max_num_batched_tokens: None,
        chunked_prefill: None,
        block_size: 16,
        custom_all_reduce: false,
        sequence_parallelism: false,
        sp_min_token_num: None,
        speculation: None,
        naive_all_to_all: false,
        disable_nccl_for_dp_synchronization: false,
    };
}

/// Everything that a schedule depends on but the workload, with the defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// What is served.
    pub model: Model,
    /// On which ranks.
    pub layout: Layout,
    /// By what.
    pub engine: Engine,
    /// `None` without CUDA graphs.
    pub graphs: Option<Graphs>,
    /// The longest sequence.
    pub max_model_len: u64,
    /// Requests in one step.
    pub max_num_seqs: u64,
    /// Tokens in one step.
    pub max_num_batched_tokens: u64,
    /// Whether a prompt may be cut, and served together with decodes.
    pub chunked_prefill: bool,
    /// Tokens per block of the KV cache.
    pub block_size: u64,
    /// Whether small all-reduces go past NCCL.
    pub custom_all_reduce: bool,
    /// From how many tokens on a pass is sequence parallel.
    pub sequence_parallel_from: Option<u64>,
    /// Who guesses tokens, if anybody does.
    pub speculation: Option<Speculation>,
    /// Whether experts that replicas share get the tokens by broadcasts.
    pub naive_all_to_all: bool,
    /// Whether replicas tell each other on the CPU how many tokens they have.
    pub disable_nccl_for_dp_synchronization: bool,
}

/// Why there is no schedule for what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The engine would refuse it.
    Layout(super::LayoutError),
    /// The engine would do it in a way that is not known here.
    NotModelled(String),
    /// The setting contradicts itself.
    Setting(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(error) => error.fmt(f),
            Self::NotModelled(what) | Self::Setting(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<super::LayoutError> for Refusal {
    fn from(error: super::LayoutError) -> Self {
        Self::Layout(error)
    }
}

/// vLLM's `_DEFAULT_MAX_NUM_BATCHED_TOKENS` in 0.8.5 (`config.py`).
const V0_BATCHED_TOKENS: u64 = 2048;

/// Its default of `--max-num-seqs`.
const V0_SEQUENCES: u64 = 256;

/// V0 turns chunked prefill on for sequences longer than this (`engine/arg_utils.py`,
/// `_set_default_args_v0`).
const V0_LONG_CONTEXT: u64 = 32_768;

/// V1's defaults for `vllm serve` on a GPU of 70 GiB or more that is no A100
/// (`engine/arg_utils.py`).
const V1_SERVE: (u64, u64) = (8192, 1024);

impl Deployment {
    /// Fills in the engine's defaults, and refuses what the engine refuses or what is not known here.
    pub fn new(mut model: Model, layout: Layout, settings: Settings) -> Result<Self, Refusal> {
        layout.check(&model)?;
        let engine = settings.engine;
        model.activations = engine.activations(&model);
        modelled::check(&model, layout, settings)?;
        let max_model_len = settings.max_model_len.unwrap_or(model.max_position_embeddings);
        let v0 = engine == Engine::V0;
        let chunked_prefill = settings.chunked_prefill.unwrap_or(match v0 {
            true => {
                max_model_len > V0_LONG_CONTEXT
                    && model.sliding_window.is_none()
                    && !model.architecture.latent_attention()
            }
            false => true,
        });
        let (tokens, sequences) = match (engine, chunked_prefill) {
            (Engine::V0, true) => (V0_BATCHED_TOKENS, V0_SEQUENCES),
            (Engine::V0, false) => (max_model_len.max(V0_BATCHED_TOKENS), V0_SEQUENCES),
            (Engine::Sglang, _) => sglang::SERVE,
            _ => V1_SERVE,
        };
        let max_num_seqs = settings.max_num_seqs.unwrap_or(sequences);
        let max_num_batched_tokens = settings.max_num_batched_tokens.unwrap_or(tokens);
        for (flag, value) in [
            ("--max-model-len", max_model_len),
            ("--max-num-seqs", max_num_seqs),
            ("--max-num-batched-tokens", max_num_batched_tokens),
            ("--block-size", settings.block_size),
        ] {
            if value == 0 {
                return Err(Refusal::Setting(format!("{flag} must be above 0")));
            }
        }
        if engine != Engine::Sglang && max_num_batched_tokens < max_num_seqs {
            return Err(Refusal::Setting(format!(
                "--max-num-batched-tokens {max_num_batched_tokens} is below --max-num-seqs \
                 {max_num_seqs}, which vLLM refuses"
            )));
        }
        if !chunked_prefill && max_num_batched_tokens < max_model_len {
            return Err(Refusal::Setting(format!(
                "--max-num-batched-tokens {max_num_batched_tokens} is below --max-model-len \
                 {max_model_len}, which vLLM refuses without chunked prefill"
            )));
        }
        let sequence_parallel_from =
            sequence_parallelism::threshold(&model, layout, settings, max_num_batched_tokens)?;
        let mut deployment = Self {
            model,
            layout,
            engine,
            graphs: None,
            max_model_len,
            max_num_seqs,
            max_num_batched_tokens,
            chunked_prefill,
            block_size: settings.block_size,
            custom_all_reduce: settings.custom_all_reduce,
            sequence_parallel_from,
            speculation: settings.speculation,
            naive_all_to_all: settings.naive_all_to_all && engine == Engine::V1Release0_11,
            disable_nccl_for_dp_synchronization: settings.disable_nccl_for_dp_synchronization,
        };
        if settings.cuda_graphs {
            deployment.graphs = Some(Graphs::of(&deployment)?);
        }
        if deployment.speculation.is_some() {
            deployment.accept_drafts()?;
        }
        Ok(deployment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;

    fn deployment(settings: Settings) -> Result<Deployment, Refusal> {
        Deployment::new(preset("llama-3.1-8b").unwrap(), Layout::new(2, 1), settings)
    }

    #[test]
    fn v0_cuts_prompts_when_sequences_may_be_long() {
        let long = deployment(Settings::PAPER).unwrap();
        assert!(long.chunked_prefill);
        assert_eq!((long.max_num_batched_tokens, long.max_num_seqs), (2048, 256));
        let short = Settings { max_model_len: Some(4096), ..Settings::PAPER };
        let short = deployment(short).unwrap();
        assert!(!short.chunked_prefill);
        assert_eq!(short.max_num_batched_tokens, 4096);
    }

    #[test]
    fn gemma_of_float16_is_served_in_bfloat16_since_0_11() {
        let config = r#"{"architectures": ["Gemma2ForCausalLM"], "hidden_size": 256, "num_hidden_layers": 2,
            "num_attention_heads": 4, "vocab_size": 2048, "intermediate_size": 512,
            "max_position_embeddings": 4096, "torch_dtype": "float16"}"#;
        let activations = |engine| {
            let model = Model::from_config("gemma", config).unwrap();
            let settings = Settings { engine, ..Settings::PAPER };
            Deployment::new(model, Layout::new(2, 1), settings).unwrap().model.activations
        };
        assert_eq!(activations(Engine::V0), Datatype::Float16);
        assert_eq!(activations(Engine::V1Release0_8), Datatype::Float16);
        assert_eq!(activations(Engine::V1Release0_11), Datatype::Bfloat16);
        assert_eq!(activations(Engine::V1Release0_32), Datatype::Bfloat16);
        let llama = Model { activations: Datatype::Float16, ..preset("llama-3.1-8b").unwrap() };
        assert_eq!(Engine::V1Release0_20.activations(&llama), Datatype::Float16);
    }

    #[test]
    fn what_vllm_would_refuse_is_refused() {
        let few = Settings { max_num_batched_tokens: Some(100), ..Settings::PAPER };
        assert!(deployment(few).unwrap_err().to_string().contains("--max-num-seqs"));
        let cut = Settings {
            max_num_batched_tokens: Some(1000),
            chunked_prefill: Some(false),
            ..Settings::PAPER
        };
        assert!(deployment(cut).unwrap_err().to_string().contains("--max-model-len"));
        let none = Settings { block_size: 0, ..Settings::PAPER };
        assert!(deployment(none).unwrap_err().to_string().contains("--block-size"));
    }
}
