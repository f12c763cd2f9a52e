//! What of a model decides its communication and its cost.

use nccltap_proto::Datatype;

/// A model that vLLM serves, described by what its communication depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name in tables.
    pub name: String,
    /// Its class in vLLM.
    pub architecture: Architecture,
    /// h of the paper.
    pub hidden_size: u64,
    /// L of the paper.
    pub layers: u64,
    /// v of the paper, before padding.
    pub vocab_size: u64,
    /// Query heads.
    pub attention_heads: u64,
    /// Key and value heads; fewer than query heads where they are shared.
    pub key_value_heads: u64,
    /// Elements of one head.
    pub head_size: u64,
    /// Width of a dense layer's MLP.
    pub intermediate_size: u64,
    /// The mixture of experts, if there is one.
    pub experts: Option<Experts>,
    /// The output head is the embedding.
    pub tied_embeddings: bool,
    /// What activations, and so all collectives of a forward pass, are made of.
    pub activations: Datatype,
    /// Bits per weight.
    pub weight_bits: u32,
    /// Name of the quantisation method, if the weights are quantised.
    pub quantization: Option<String>,
    /// The longest sequence that the model is made for.
    pub max_position_embeddings: u64,
    /// How far back the attention of every layer sees, if not to the beginning. V0 then has no chunked prefill by
    /// default, and shorter block tables.
    pub sliding_window: Option<u64>,
}

/// The part of a mixture-of-experts model that a dense model does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub count: u64,
    /// How many a token is sent to.
    pub per_token: u64,
    /// Width of one expert.
    pub intermediate_size: u64,
    /// Width of the experts that every token passes, 0 if there are none.
    pub shared_intermediate_size: u64,
    /// Which layers have experts.
    pub layers: ExpertLayers,
}

/// Which layers are mixtures of experts; the others are dense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpertLayers {
    /// All of them.
    All,
    /// Those from `first` on whose index is a multiple of `every` (DeepSeek).
    From {
        /// `first_k_dense_replace`.
        first: u64,
        /// `moe_layer_freq`.
        every: u64,
    },
    /// Those whose number, from 1, is a multiple of `step`, except `dense` (Qwen).
    Step {
        /// `decoder_sparse_step`.
        step: u64,
        /// `mlp_only_layers`.
        dense: Vec<u64>,
    },
}

impl ExpertLayers {
    /// Whether layer `index`, from 0, has experts.
    pub fn contains(&self, index: u64) -> bool {
        match self {
            Self::All => true,
            Self::From { first, every } => index >= *first && index.is_multiple_of(*every),
            Self::Step { step, dense } => {
                !dense.contains(&index) && (index + 1).is_multiple_of(*step)
            }
        }
    }
}

/// The classes of vLLM whose communication is known here. Each was read in
/// `vllm/model_executor/models`: a vocabulary-parallel embedding, two row-parallel linears per layer
/// (or a mixture of experts in place of the second), one vocabulary-parallel head, and two tensors,
/// `hidden_states` and `residual`, across a pipeline boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Architecture {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    Phi3,
    Mixtral,
    Qwen2Moe,
    Qwen3Moe,
    DeepseekV2,
    DeepseekV3,
}

impl Architecture {
    /// The name in `architectures`, and what it is here.
    pub const ALL: [(&str, Self); 13] = [
        ("LlamaForCausalLM", Self::Llama),
        ("MistralForCausalLM", Self::Mistral),
        ("Qwen2ForCausalLM", Self::Qwen2),
        ("Qwen3ForCausalLM", Self::Qwen3),
        ("GemmaForCausalLM", Self::Gemma),
        ("Gemma2ForCausalLM", Self::Gemma2),
        ("Gemma3ForCausalLM", Self::Gemma3),
        ("Phi3ForCausalLM", Self::Phi3),
        ("MixtralForCausalLM", Self::Mixtral),
        ("Qwen2MoeForCausalLM", Self::Qwen2Moe),
        ("Qwen3MoeForCausalLM", Self::Qwen3Moe),
        ("DeepseekV2ForCausalLM", Self::DeepseekV2),
        ("DeepseekV3ForCausalLM", Self::DeepseekV3),
    ];

    /// Whether attention is multi-head latent attention, whose metadata differ from those of
    /// FlashAttention.
    pub const fn latent_attention(self) -> bool {
        matches!(self, Self::DeepseekV2 | Self::DeepseekV3)
    }
}

impl Model {
    /// Whether layer `index`, from 0, is a mixture of experts.
    pub fn has_experts(&self, index: u64) -> bool {
        self.experts.as_ref().is_some_and(|experts| experts.layers.contains(index))
    }
}
