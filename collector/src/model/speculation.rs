//! Speculative decoding: who guesses tokens, and what that sends.
//!
//! A guess is computed along with the token that it follows, and has its own row of logits
//! (`v1/worker/gpu_model_runner.py`, `_calc_spec_decode_metadata`). N-grams are looked up on the host. The draft model of EAGLE and EAGLE-3
//! makes passes of its own behind each step (`v1/spec_decode/eagle.py`, `propose`, in 0.11; `llm_base_proposer.py` in
//! 0.20), on the same tensor-parallel ranks. What CUDA graphs make of it is in [`Graphs`](super::Graphs).

use super::config::{Fields, object};
use super::{Architecture, Deployment, Engine, ModelError, Refusal};

/// Who guesses tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speculation {
    /// N-grams of the text so far.
    Ngrams {
        /// `num_speculative_tokens`: guesses for each request and step. Only what is captured depends on it.
        tokens: Option<u64>,
    },
    /// A draft model.
    Draft(Draft),
    /// The layer for multi-token prediction that DeepSeek V3 brings along (`models/deepseek_mtp.py`). vLLM makes a draft
    /// model of it, which has one layer of the target's kind, and embedding and head as the target.
    MultiTokenPrediction {
        /// `num_speculative_tokens`: guesses for each request and step.
        tokens: u64,
    },
}

/// A draft model like EAGLE's, described by what its communication depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// `num_speculative_tokens`: guesses for each request and step.
    pub tokens: u64,
    /// Width of its activations.
    pub hidden_size: u64,
    /// Its decoder layers.
    pub layers: u64,
    /// Rows of its head, before padding.
    pub vocabulary: u64,
}

/// The method of EAGLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eagle {
    /// `eagle`: the head is the target's (`models/llama_eagle.py`).
    First,
    /// `eagle3`: the head is its own, and may have fewer rows (`models/llama_eagle3.py`).
    Third,
}

/// Classes whose draft models have the layers of Llama: those of published weights, and as vLLM calls them.
const CLASSES: [(&str, ()); 4] = [
    ("LlamaForCausalLM", ()),
    ("EagleLlamaForCausalLM", ()),
    ("LlamaForCausalLMEagle3", ()),
    ("Eagle3LlamaForCausalLM", ()),
];

impl Draft {
    /// Reads the `config.json` of a draft model that makes `tokens` guesses.
    pub fn from_config(method: Eagle, tokens: u64, config: &str) -> Result<Self, ModelError> {
        let object = object(config)?;
        let fields = Fields(&object);
        fields.class(&CLASSES)?;
        let vocabulary = fields.positive("vocab_size")?;
        Ok(Self {
            tokens,
            hidden_size: fields.positive("hidden_size")?,
            layers: fields.positive("num_hidden_layers")?,
            vocabulary: match method {
                Eagle::First => vocabulary,
                Eagle::Third => fields.positive_or("draft_vocab_size", vocabulary)?,
            },
        })
    }

    /// How many passes of the draft model go with each pass that serves nobody, each of as many
    /// tokens (`dummy_run`).
    pub(super) fn passes_without_requests(&self, engine: Engine) -> u64 {
        if engine == Engine::V1Release0_11 { 1 } else { self.tokens }
    }
}

impl Speculation {
    /// Guesses for each request and step, if it is said.
    fn tokens(&self) -> Option<u64> {
        match self {
            Self::Ngrams { tokens } => *tokens,
            Self::Draft(Draft { tokens, .. }) | Self::MultiTokenPrediction { tokens } => {
                Some(*tokens)
            }
        }
    }
}

impl Deployment {
    /// The tokens that a decode has, guesses counted (`v1/worker/gpu_model_runner.py`,
    /// `uniform_decode_query_len`).
    pub(super) fn decode_tokens(&self) -> u64 {
        1 + self.speculation.and_then(|speculation| speculation.tokens()).unwrap_or(0)
    }

    /// The draft model, if one guesses tokens.
    pub(super) fn draft(&self) -> Option<Draft> {
        match self.speculation? {
            Speculation::Ngrams { .. } => None,
            Speculation::Draft(draft) => Some(draft),
            Speculation::MultiTokenPrediction { tokens } => Some(Draft {
                tokens,
                hidden_size: self.model.hidden_size,
                layers: 1,
                vocabulary: self.model.vocab_size,
            }),
        }
    }

    /// Whether what guesses send is known.
    pub(super) fn accept_drafts(&self) -> Result<(), Refusal> {
        let refuse = |what: &str| Err(Refusal::NotModelled(what.to_owned()));
        let releases = matches!(self.engine, Engine::V1Release0_11 | Engine::V1Release0_20);
        match self.speculation {
            None => refuse("the trace has drafts: say what made them with --speculative-method"),
            _ if self.engine == Engine::V0 => {
                refuse("speculative decoding of V0 is not modelled: give --engine vllm-v1")
            }
            Some(_) if self.draft().is_some() && !releases => refuse(
                "draft models are modelled of vLLM 0.11 and 0.20: give --engine-version 0.11 or 0.20",
            ),
            Some(_)
                if self.draft().is_some() && (self.layout.pipeline > 1 || self.layout.data > 1) =>
            {
                refuse(
                    "draft models are modelled with tensor parallelism alone: give --pp 1 and --dp 1",
                )
            }
            Some(Speculation::MultiTokenPrediction { .. })
                if self.model.architecture != Architecture::DeepseekV3 =>
            {
                refuse("--speculative-method mtp is modelled of DeepseekV3ForCausalLM alone")
            }
            // The first stage has nobody who guesses, and asks who it is (`v1/worker/gpu_model_runner.py`,
            // `_build_attention_metadata`; in 0.11 `_prepare_inputs`).
            Some(_) if releases && self.layout.pipeline > 1 => Err(Refusal::Setting(
                "vLLM 0.11 and 0.20 end with an error when they guess with pipeline stages: give --pp 1".to_owned(),
            )),
            // Without asynchronous scheduling replicas agree over NCCL, in a way that is not known here.
            Some(Speculation::Ngrams { .. })
                if self.engine == Engine::V1Release0_20 && self.replicas_share_experts() =>
            {
                refuse("n-grams are not modelled of vLLM 0.20 with replicas that share experts")
            }
            Some(speculation) if self.graphs.is_some() => self.accept_captured_drafts(speculation),
            Some(_) => Ok(()),
        }
    }

    /// The same with CUDA graphs.
    fn accept_captured_drafts(&self, speculation: Speculation) -> Result<(), Refusal> {
        let refuse = |what: &str| Err(Refusal::NotModelled(what.to_owned()));
        if self.engine == Engine::V1Release0_32 {
            refuse(
                "speculative decoding with CUDA graphs is modelled of vLLM 0.8.5, 0.11 and 0.20: give \
                 --engine-version",
            )
        } else if self.sequence_parallel_from.is_some() {
            refuse(
                "speculative decoding is not modelled with sequence parallelism: leave out --enable-sp",
            )
        } else if self.replicas_step_together() {
            refuse(
                "speculative decoding with CUDA graphs is not modelled of replicas that make every pass \
                 together: give --dp 1",
            )
        } else if speculation.tokens().is_none() && self.engine != Engine::V1Release0_8 {
            let needed =
                "which sizes are captured depends on the guesses: give --num-speculative-tokens";
            Err(Refusal::Setting(needed.to_owned()))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use crate::model::{Layout, Settings};

    const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLMEagle3"], "hidden_size": 4096,
        "num_hidden_layers": 1, "vocab_size": 128256, "draft_vocab_size": 32000}"#;

    #[test]
    fn the_head_of_a_draft_model_is_the_targets_or_a_smaller_one_of_its_own() {
        let rows = |method| Draft::from_config(method, 3, CONFIG).unwrap().vocabulary;
        assert_eq!((rows(Eagle::First), rows(Eagle::Third)), (128_256, 32_000));
        let other = CONFIG.replace("LlamaForCausalLMEagle3", "MedusaModel");
        let error = Draft::from_config(Eagle::First, 3, &other).unwrap_err().to_string();
        assert!(error.contains("`architectures`") && error.contains("Eagle3LlamaForCausalLM"));
    }

    #[test]
    fn drafts_are_accepted_in_v1_and_of_a_model_with_tensor_parallelism() {
        let with = |settings, layout| {
            let deployment = Deployment::new(preset("llama-3.1-8b").unwrap(), layout, settings);
            deployment.and_then(|deployment| deployment.accept_drafts())
        };
        let engine = Engine::V1Release0_11;
        let ngrams = Some(Speculation::Ngrams { tokens: Some(3) });
        let ngrams = Settings { engine, speculation: ngrams, ..Settings::PAPER };
        let draft = Speculation::Draft(Draft::from_config(Eagle::Third, 3, CONFIG).unwrap());
        let draft = Settings { speculation: Some(draft), ..ngrams };
        let (pairs, stages) = (Layout::new(2, 1), Layout::new(2, 2));
        let graphs = |settings| Settings { cuda_graphs: true, ..settings };
        let release = |engine, settings| Settings { engine, ..settings };
        for (settings, layout) in [
            (ngrams, pairs),
            (draft, pairs),
            (graphs(ngrams), pairs),
            (graphs(draft), pairs),
            (graphs(release(Engine::V1Release0_8, ngrams)), pairs),
            (graphs(release(Engine::V1Release0_20, draft)), pairs),
        ] {
            assert!(with(settings, layout).is_ok());
        }
        for (settings, layout) in [
            (Settings { speculation: None, ..ngrams }, pairs),
            (release(Engine::V0, ngrams), pairs),
            (release(Engine::V1Release0_32, draft), pairs),
            (graphs(release(Engine::V1Release0_32, ngrams)), pairs),
            (graphs(ngrams), Layout { data: 2, ..Layout::new(1, 1) }),
            (draft, stages),
            (ngrams, stages),
            (release(Engine::V1Release0_20, ngrams), stages),
        ] {
            assert!(with(settings, layout).is_err());
        }
        let mtp = Some(Speculation::MultiTokenPrediction { tokens: 1 });
        let error = with(Settings { speculation: mtp, ..ngrams }, pairs).unwrap_err().to_string();
        assert!(error.contains("mtp") && error.contains("DeepseekV3ForCausalLM"), "{error}");
        let unsaid = Settings { speculation: Some(Speculation::Ngrams { tokens: None }), ..ngrams };
        assert!(with(unsaid, pairs).is_ok(), "eager, nothing is captured");
        let error = with(graphs(unsaid), pairs).unwrap_err().to_string();
        assert!(error.contains("--num-speculative-tokens"), "{error}");
        let sequence_parallel = Settings {
            sequence_parallelism: true,
            sp_min_token_num: Some(64),
            ..graphs(release(Engine::V1Release0_20, draft))
        };
        let error = with(sequence_parallel, pairs).unwrap_err().to_string();
        assert!(error.contains("--enable-sp"), "{error}");
    }
}
