//! What of the engines is modelled, and the sentence that refuses what is not.

use super::{Architecture, Deployment, Engine, Layout, Model, Refusal, Settings, sglang};

impl Deployment {
    /// Whether the replicas of data parallelism make every pass together: where they share experts, and
    /// before vLLM 0.20 in any case.
    pub(super) fn replicas_step_together(&self) -> bool {
        let always = self.engine == Engine::V1Release0_11 && self.layout.data > 1;
        always || self.replicas_share_experts()
    }

    /// Whether they tell each other by NCCL how many tokens they have. With the asynchronous scheduling
    /// that is the default of 0.20, they do so on the CPU (`config/vllm.py`).
    pub(super) fn replicas_agree_over_nccl(&self) -> bool {
        let may = self.engine == Engine::V1Release0_11 && self.layout.data > 1;
        may && !self.disable_nccl_for_dp_synchronization
    }

    /// Whether the replicas of data parallelism share experts.
    pub(super) fn replicas_share_experts(&self) -> bool {
        self.layout.data > 1 && self.model.experts.is_some()
    }
}

/// Whether the schedule of `model` in `layout` is known.
pub(super) fn check(model: &Model, layout: Layout, settings: Settings) -> Result<(), Refusal> {
    let not_modelled = |what: &str| Err(Refusal::NotModelled(what.to_owned()));
    match settings.engine {
        Engine::Sglang => sglang::check(model, layout, settings),
        Engine::V0 | Engine::V1Release0_8 if layout.data > 1 => not_modelled(
            "data parallelism is modelled of vLLM 0.11 and 0.20: give --engine vllm-v1",
        ),
        Engine::V0 if layout.tensor > 1 && model.architecture.latent_attention() => not_modelled(
            "what V0 broadcasts for a model with latent attention is not modelled: give --engine \
             vllm-v1",
        ),
        Engine::V1Release0_8 if layout.pipeline > 1 => not_modelled(
            "vLLM 0.8.5 V1 sends between pipeline stages through Ray, which is not modelled: give \
             --engine-version 0.11 or 0.20",
        ),
        Engine::V1Release0_32 if layout.data > 1 => not_modelled(
            "data parallelism is modelled of vLLM 0.11 and 0.20: give --engine-version 0.20",
        ),
        _ if layout.data > 1 && model.experts.is_some() => shared_experts(model, layout),
        _ => Ok(()),
    }
}

/// Whether it is known what experts send that replicas share.
fn shared_experts(model: &Model, layout: Layout) -> Result<(), Refusal> {
    let not_modelled = |what: &str| Err(Refusal::NotModelled(what.to_owned()));
    // Those whose block hands each tensor-parallel rank a share of the tokens
    // (`sequence_parallel_chunk` in `models/qwen3_moe.py` and `models/deepseek_v2.py`).
    let takes_shares = matches!(
        model.architecture,
        Architecture::Qwen3Moe | Architecture::DeepseekV2 | Architecture::DeepseekV3
    );
    if !layout.expert_parallel {
        not_modelled(
            "data parallelism of a mixture of experts is modelled with expert parallelism alone: give --ep",
        )
    } else if layout.pipeline > 1 {
        not_modelled(
            "experts that replicas share are not modelled with pipeline stages: give --pp 1",
        )
    } else if layout.tensor > 1 && !takes_shares {
        not_modelled(
            "experts that replicas share are modelled with tensor parallelism for Qwen3-MoE and DeepSeek \
             alone: give --tp 1",
        )
    } else if model.quantization.is_some() {
        not_modelled(
            "experts that replicas share are not modelled for quantised weights: tokens may be \
             quantised before they are sent",
        )
    } else {
        Ok(())
    }
}
