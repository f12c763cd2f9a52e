//! The options that say which model is served, and by which engine.

use crate::model::presets::preset;
use crate::model::{Draft, Eagle, Engine, Model, Settings, Speculation};
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct ModelOptions {
    /// A model of the paper: llama-3.2-3b, llama-3.1-8b or llama-2-13b
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// The config.json of any other model
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    model_config: Option<PathBuf>,
}

impl ModelOptions {
    /// Whether a model is named.
    pub(super) fn is_named(&self) -> bool {
        self.model.is_some() || self.model_config.is_some()
    }

    pub(super) fn described(&self) -> anyhow::Result<Model> {
        match (&self.model_config, &self.model) {
            (Some(file), _) => {
                let place = file.display();
                let config = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {place}"))?;
                // A config.json lies in a folder named after its model.
                let name = match file.file_stem().and_then(|stem| stem.to_str()) {
                    Some("config") => file.parent().and_then(Path::file_name),
                    _ => file.file_stem(),
                };
                let name = name.and_then(|name| name.to_str()).unwrap_or("config.json");
                Model::from_config(name, &config).with_context(|| format!("{place} is no use"))
            }
            (None, Some(name)) => Ok(preset(name)?),
            (None, None) => bail!("say which model: --model NAME or --model-config FILE"),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct EngineOptions {
    /// Engine of vLLM, or SGLang
    #[arg(long, value_enum, default_value_t = EngineName::VllmV0)]
    engine: EngineName,

    /// Its release [default: 0.8.5 for vllm-v0, 0.20 for vllm-v1, 0.5.5 for sglang]
    #[arg(long, value_enum, value_name = "RELEASE")]
    engine_version: Option<Release>,

    /// With CUDA graphs, that is without vLLM's --enforce-eager and SGLang's --disable-cuda-graph
    #[arg(long)]
    cuda_graphs: bool,

    /// With the engine's custom all-reduce, that is without its --disable-custom-all-reduce
    #[arg(long)]
    custom_all_reduce: bool,

    /// As given to vLLM; SGLang's --context-length [default: the model's]
    #[arg(long, value_name = "TOKENS")]
    max_model_len: Option<u64>,

    /// As given to vLLM; SGLang's --max-running-requests [default: that of the engine]
    #[arg(long, value_name = "N")]
    max_num_seqs: Option<u64>,

    /// As given to vLLM; SGLang's --chunked-prefill-size [default: that of the engine]
    #[arg(long, value_name = "TOKENS")]
    max_num_batched_tokens: Option<u64>,

    /// As given to vLLM [default: that of the engine]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_chunked_prefill: Option<bool>,

    /// As given to vLLM
    #[arg(long, value_name = "TOKENS", default_value_t = 16)]
    block_size: u64,

    /// Sequence parallelism, vLLM's pass_config.enable_sp
    #[arg(long)]
    enable_sp: bool,

    /// As given to vLLM in pass_config: from how many tokens on [default: by the size of the model]
    #[arg(long, value_name = "TOKENS", requires = "enable_sp")]
    sp_min_token_num: Option<u64>,

    /// As given to vLLM 0.20 (in 0.11 VLLM_ALL2ALL_BACKEND): how tokens reach experts that replicas share
    #[arg(long, value_enum, value_name = "BACKEND", default_value_t = AllToAll::AllgatherReducescatter)]
    all2all_backend: AllToAll,

    /// As given to vLLM 0.20 (in 0.11 VLLM_DISABLE_NCCL_FOR_DP_SYNCHRONIZATION=1)
    #[arg(long)]
    disable_nccl_for_dp_synchronization: bool,

    /// Speculative decoding by this method of vLLM; what it does is known from a trace
    #[arg(long, value_enum, value_name = "METHOD")]
    speculative_method: Option<SpeculativeMethod>,

    /// As given to vLLM in --speculative-config; with ngram it counts where --cuda-graphs is given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    num_speculative_tokens: Option<u64>,

    /// The config.json of the draft model, with eagle and eagle3
    #[arg(long, value_name = "FILE")]
    draft_model_config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineName {
    VllmV0,
    VllmV1,
    Sglang,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SpeculativeMethod {
    Ngram,
    Eagle,
    Eagle3,
    Mtp,
}

/// The backends of vLLM that go through NCCL's collectives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum AllToAll {
    AllgatherReducescatter,
    Naive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Release {
    #[value(name = "0.8.5")]
    R0_8,
    #[value(name = "0.11")]
    R0_11,
    #[value(name = "0.20")]
    R0_20,
    #[value(name = "0.32")]
    R0_32,
    #[value(name = "0.5.5")]
    Sglang0_5_5,
}

impl EngineOptions {
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let engine = match (self.engine, self.engine_version) {
            (EngineName::VllmV0, None | Some(Release::R0_8)) => Engine::V0,
            (EngineName::Sglang, None | Some(Release::Sglang0_5_5)) => Engine::Sglang,
            (_, Some(Release::Sglang0_5_5)) => {
                bail!("0.5.5 is a release of SGLang: give --engine sglang")
            }
            (EngineName::Sglang, Some(_)) => {
                bail!("of SGLang, 0.5.5 is modelled: leave out --engine-version")
            }
            (EngineName::VllmV0, Some(_)) => {
                bail!("vLLM has no V0 engine after 0.10: give --engine vllm-v1")
            }
            (EngineName::VllmV1, Some(Release::R0_8)) => Engine::V1Release0_8,
            (EngineName::VllmV1, Some(Release::R0_11)) => Engine::V1Release0_11,
            (EngineName::VllmV1, None | Some(Release::R0_20)) => Engine::V1Release0_20,
            (EngineName::VllmV1, Some(Release::R0_32)) => Engine::V1Release0_32,
        };
        Ok(Settings {
            engine,
            cuda_graphs: self.cuda_graphs,
            max_model_len: self.max_model_len,
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            chunked_prefill: self.enable_chunked_prefill,
            block_size: self.block_size,
            custom_all_reduce: self.custom_all_reduce,
            sequence_parallelism: self.enable_sp,
            sp_min_token_num: self.sp_min_token_num,
            speculation: self.speculation()?,
            naive_all_to_all: self.all2all_backend == AllToAll::Naive,
            disable_nccl_for_dp_synchronization: self.disable_nccl_for_dp_synchronization,
        })
    }

    fn speculation(&self) -> anyhow::Result<Option<Speculation>> {
        let method = match self.speculative_method {
            None => return Ok(None),
            Some(SpeculativeMethod::Ngram) => {
                return Ok(Some(Speculation::Ngrams { tokens: self.num_speculative_tokens }));
            }
            Some(SpeculativeMethod::Mtp) => {
                let Some(tokens) = self.num_speculative_tokens else {
                    bail!("of --speculative-method mtp give --num-speculative-tokens");
                };
                return Ok(Some(Speculation::MultiTokenPrediction { tokens }));
            }
            Some(SpeculativeMethod::Eagle) => Eagle::First,
            Some(SpeculativeMethod::Eagle3) => Eagle::Third,
        };
        let (Some(tokens), Some(file)) = (self.num_speculative_tokens, &self.draft_model_config)
        else {
            bail!("of a draft model give --num-speculative-tokens and --draft-model-config");
        };
        let place = file.display();
        let config =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {place}"))?;
        let draft = Draft::from_config(method, tokens, &config);
        Ok(Some(Speculation::Draft(draft.with_context(|| format!("{place} is no use"))?)))
    }
}
