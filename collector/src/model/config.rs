//! Reads a model's Hugging Face `config.json`.

use super::presets::PRESETS;
use super::{Architecture, ExpertLayers, Experts, Model};
use nccltap_proto::Datatype;
use serde_json::{Map, Value};
use std::fmt;

/// Why a `config.json` is not understood. Each names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelError {
    /// No preset has that name.
    NoPreset {
        /// The name that was asked for.
        name: String,
    },
    /// It is not a JSON object.
    NotJson(String),
    /// A field that is needed is not there.
    Missing(&'static str),
    /// A field has a value that cannot be meant.
    Invalid {
        /// The field.
        field: &'static str,
        /// What is there.
        value: String,
        /// What would be understood.
        expected: String,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPreset { name } => {
                let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                write!(f, "no model is called {name}: give {names}, or --model-config FILE")
            }
            Self::NotJson(why) => write!(f, "not a JSON object: {why}"),
            Self::Missing(field) => write!(f, "`{field}` is missing"),
            Self::Invalid { field, value, expected } => {
                write!(f, "`{field}` is {value}; known: {expected}")
            }
        }
    }
}

impl std::error::Error for ModelError {}

impl Model {
    /// Reads a `config.json`; `name` is for tables.
    pub fn from_config(name: &str, config: &str) -> Result<Self, ModelError> {
        let object = object(config)?;
        let fields = Fields(&object);
        let architecture = fields.architecture()?;
        let hidden_size = fields.positive("hidden_size")?;
        let attention_heads = fields.positive("num_attention_heads")?;
        let (weight_bits, quantization) = fields.weights()?;
        let activations = fields.activations()?;
        Ok(Self {
            name: name.to_owned(),
            architecture,
            hidden_size,
            layers: fields.positive("num_hidden_layers")?,
            vocab_size: fields.positive("vocab_size")?,
            attention_heads,
            key_value_heads: fields.positive_or("num_key_value_heads", attention_heads)?,
            // Transformers' own defaults for the classes that have one.
            head_size: fields.positive_or(
                "head_dim",
                match architecture {
                    Architecture::Gemma | Architecture::Gemma2 | Architecture::Gemma3 => 256,
                    Architecture::Qwen3 => 128,
                    _ => hidden_size / attention_heads,
                },
            )?,
            intermediate_size: fields.positive("intermediate_size")?,
            experts: fields.experts(architecture)?,
            // Transformers' own defaults for the classes that leave the field out.
            tied_embeddings: fields.flag_or(
                "tie_word_embeddings",
                matches!(
                    architecture,
                    Architecture::Gemma | Architecture::Gemma2 | Architecture::Gemma3
                ),
            )?,
            activations,
            weight_bits: weight_bits.unwrap_or(8 * activations.size() as u32),
            quantization,
            max_position_embeddings: fields.positive("max_position_embeddings")?,
            sliding_window: fields.sliding_window(architecture)?,
        })
    }
}

/// The object that a `config.json` is.
pub(super) fn object(config: &str) -> Result<Map<String, Value>, ModelError> {
    match serde_json::from_str(config) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ModelError::NotJson("it is something else".to_owned())),
        Err(why) => Err(ModelError::NotJson(why.to_string())),
    }
}

/// The fields of a `config.json`, read with errors that name them.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl Fields<'_> {
    /// The value, with null counting as absent, as Transformers reads it.
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn number(&self, field: &'static str) -> Result<Option<u64>, ModelError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = value.as_u64().filter(|number| *number <= u64::from(u32::MAX));
        number.map(Some).ok_or_else(|| invalid(field, value, "a whole number below 2^32"))
    }

    pub(super) fn positive(&self, field: &'static str) -> Result<u64, ModelError> {
        match self.number(field)? {
            None => Err(ModelError::Missing(field)),
            Some(0) => Err(invalid(field, &Value::from(0), "a number above 0")),
            Some(number) => Ok(number),
        }
    }

    pub(super) fn positive_or(
        &self,
        field: &'static str,
        otherwise: u64,
    ) -> Result<u64, ModelError> {
        match self.get(field) {
            None => Ok(otherwise),
            Some(_) => self.positive(field),
        }
    }

    fn flag_or(&self, field: &'static str, otherwise: bool) -> Result<bool, ModelError> {
        let Some(value) = self.get(field) else { return Ok(otherwise) };
        value.as_bool().ok_or_else(|| invalid(field, value, "true or false"))
    }

    fn architecture(&self) -> Result<Architecture, ModelError> {
        self.class(&Architecture::ALL)
    }

    /// What stands in `known` beside the class that `architectures` names.
    pub(super) fn class<T: Copy>(&self, known: &[(&str, T)]) -> Result<T, ModelError> {
        let field = "architectures";
        let value = self.get(field).ok_or(ModelError::Missing(field))?;
        let names: Vec<&str> =
            value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let found = known.iter().find(|(name, _)| names.contains(name));
        found.map(|(_, meant)| *meant).ok_or_else(|| {
            let known: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            invalid(field, value, &known.join(", "))
        })
    }

    /// `torch_dtype`, which newer versions of Transformers call `dtype`. vLLM serves float32 models
    /// in a type that depends on its release and the device: so that is not guessed.
    fn activations(&self) -> Result<Datatype, ModelError> {
        let known = "float16, bfloat16";
        let (field, value) = match (self.get("torch_dtype"), self.get("dtype")) {
            (Some(value), _) => ("torch_dtype", value),
            (None, Some(value)) => ("dtype", value),
            (None, None) => return Err(ModelError::Missing("torch_dtype")),
        };
        match value.as_str().map(|name| name.trim_start_matches("torch.")) {
            Some("float16" | "half") => Ok(Datatype::Float16),
            Some("bfloat16") => Ok(Datatype::Bfloat16),
            _ => Err(invalid(field, value, known)),
        }
    }

    /// Bits per weight and the method, where `quantization_config` says that weights are quantised.
    /// Activations keep `torch_dtype` either way: that is what is sent.
    fn weights(&self) -> Result<(Option<u32>, Option<String>), ModelError> {
        let field = "quantization_config";
        let Some(value) = self.get(field) else { return Ok((None, None)) };
        let unknown = || invalid(field, value, "quant_method awq, gptq, fp8, compressed-tensors");
        let method = value.get("quant_method").and_then(Value::as_str).ok_or_else(unknown)?;
        let bits = |from: &Value, name: &str| {
            from.get(name).and_then(Value::as_u64).and_then(|bits| u32::try_from(bits).ok())
        };
        let bits = match method {
            "awq" | "gptq" => bits(value, "bits").or_else(|| bits(value, "w_bit")),
            "fp8" | "fbgemm_fp8" => Some(8),
            "compressed-tensors" => value
                .get("config_groups")
                .and_then(Value::as_object)
                .and_then(|groups| groups.values().next())
                .and_then(|group| bits(group.get("weights")?, "num_bits")),
            _ => None,
        };
        Ok((Some(bits.ok_or_else(unknown)?), Some(method.to_owned())))
    }

    /// Gemma's windows are of single layers, which vLLM's scheduler ignores (`config.py` of 0.8.5,
    /// `interleaved_attn_models`). Where a field is left out, Transformers' defaults hold: Mistral's window is 4096, which
    /// null turns off, and Qwen has one that it does not use.
    fn sliding_window(&self, architecture: Architecture) -> Result<Option<u64>, ModelError> {
        const DEFAULT: u64 = 4096;
        let (used, otherwise) = match architecture {
            Architecture::Gemma2 | Architecture::Gemma3 => return Ok(None),
            Architecture::Mistral => (true, Some(DEFAULT)),
            Architecture::Qwen2
            | Architecture::Qwen3
            | Architecture::Qwen2Moe
            | Architecture::Qwen3Moe => (false, Some(DEFAULT)),
            _ => (true, None),
        };
        let used = self.flag_or("use_sliding_window", used)?;
        let field = "sliding_window";
        let window = match self.0.contains_key(field) {
            true => self.number(field)?,
            false => otherwise,
        };
        Ok(window.filter(|_| used))
    }

    fn experts(&self, architecture: Architecture) -> Result<Option<Experts>, ModelError> {
        let experts = match architecture {
            Architecture::Mixtral => Experts {
                count: self.positive("num_local_experts")?,
                per_token: self.positive("num_experts_per_tok")?,
                intermediate_size: self.positive("intermediate_size")?,
                shared_intermediate_size: 0,
                layers: ExpertLayers::All,
            },
            Architecture::Qwen2Moe | Architecture::Qwen3Moe => Experts {
                count: self.positive("num_experts")?,
                per_token: self.positive("num_experts_per_tok")?,
                intermediate_size: self.positive("moe_intermediate_size")?,
                shared_intermediate_size: self
                    .number("shared_expert_intermediate_size")?
                    .unwrap_or(0),
                layers: ExpertLayers::Step {
                    step: self.positive_or("decoder_sparse_step", 1)?,
                    dense: self.indices("mlp_only_layers")?,
                },
            },
            Architecture::DeepseekV2 | Architecture::DeepseekV3 => {
                let width = self.positive("moe_intermediate_size")?;
                Experts {
                    count: self.positive("n_routed_experts")?,
                    per_token: self.positive("num_experts_per_tok")?,
                    intermediate_size: width,
                    shared_intermediate_size: width * self.number("n_shared_experts")?.unwrap_or(0),
                    layers: ExpertLayers::From {
                        first: self.number("first_k_dense_replace")?.unwrap_or(0),
                        every: self.positive_or("moe_layer_freq", 1)?,
                    },
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(experts))
    }

    fn indices(&self, field: &'static str) -> Result<Vec<u64>, ModelError> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        let numbers = value.as_array().and_then(|all| all.iter().map(Value::as_u64).collect());
        numbers.ok_or_else(|| invalid(field, value, "a list of layer numbers"))
    }
}

fn invalid(field: &'static str, value: &Value, expected: &str) -> ModelError {
    // A field may be anything; what is shown of it stays short.
    let mut value = value.to_string();
    if let Some((end, _)) = value.char_indices().nth(80) {
        value.truncate(end);
        value.push_str("...");
    }
    ModelError::Invalid { field, value, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn llama() -> Value {
        serde_json::from_str(PRESETS[1].1).unwrap()
    }

    fn with(config: Value, field: &str, value: Value) -> Value {
        let mut config = config;
        config[field] = value;
        config
    }

    fn read(config: Value) -> Result<Model, ModelError> {
        Model::from_config("test", &config.to_string())
    }

    fn refusal(config: Value) -> String {
        read(config).unwrap_err().to_string()
    }

    #[test]
    fn a_dense_model_is_read() {
        let model = read(llama()).unwrap();
        assert_eq!((model.layers, model.hidden_size, model.key_value_heads), (32, 4096, 8));
        assert_eq!((model.head_size, model.weight_bits), (128, 16));
        assert!(!model.has_experts(0) && !model.tied_embeddings);
        let head_size = |architecture| {
            let config = with(llama(), "head_dim", Value::Null);
            read(with(config, "architectures", json!([architecture]))).unwrap().head_size
        };
        assert_eq!((head_size("LlamaForCausalLM"), head_size("GemmaForCausalLM")), (128, 256));
    }

    #[test]
    fn an_architecture_that_is_not_known_is_refused_with_the_field_and_those_that_are() {
        let text = refusal(with(llama(), "architectures", json!(["MambaForCausalLM"])));
        assert!(text.contains("`architectures`") && text.contains("MambaForCausalLM"), "{text}");
        assert!(text.contains("LlamaForCausalLM"), "{text}");
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        for field in ["hidden_size", "num_hidden_layers", "vocab_size", "torch_dtype"] {
            assert_eq!(
                refusal(with(llama(), field, Value::Null)),
                format!("`{field}` is missing"),
                "null is no value"
            );
        }
    }

    #[test]
    fn a_field_that_cannot_be_meant_is_named() {
        for (field, value) in [
            ("hidden_size", json!(0)),
            ("hidden_size", json!(-4)),
            ("num_hidden_layers", json!("32")),
            ("num_attention_heads", json!(1e30)),
            ("torch_dtype", json!("float32")),
            ("tie_word_embeddings", json!("no")),
            ("quantization_config", json!({"quant_method": "magic"})),
        ] {
            let text = refusal(with(llama(), field, value));
            assert!(text.starts_with(&format!("`{field}` is ")), "{text}");
        }
        assert!(refusal(json!([1])).starts_with("not a JSON object"));
    }

    #[test]
    fn quantised_weights_leave_the_activations_as_they_are() {
        let awq = json!({"quant_method": "awq", "bits": 4});
        let model = read(with(llama(), "quantization_config", awq)).unwrap();
        assert_eq!((model.weight_bits, model.activations), (4, Datatype::Bfloat16));
        let fp8 = json!({"quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": {"num_bits": 8}}}});
        assert_eq!(read(with(llama(), "quantization_config", fp8)).unwrap().weight_bits, 8);
    }

    #[test]
    fn a_window_that_is_left_out_is_the_one_of_transformers() {
        let of = |architecture: &str, fields: &[(&str, Value)]| {
            let mut config = with(llama(), "architectures", json!([architecture]));
            fields.iter().for_each(|(field, value)| config[*field] = value.clone());
            read(config).unwrap().sliding_window
        };
        let window = |value| ("sliding_window", value);
        assert_eq!(of("LlamaForCausalLM", &[]), None);
        assert_eq!(of("Phi3ForCausalLM", &[window(json!(512))]), Some(512));
        assert_eq!(of("MistralForCausalLM", &[]), Some(4096));
        assert_eq!(of("MistralForCausalLM", &[window(Value::Null)]), None);
        assert_eq!(of("Qwen2ForCausalLM", &[window(json!(512))]), None, "not used");
        let used = ("use_sliding_window", json!(true));
        assert_eq!(of("Qwen2ForCausalLM", &[window(json!(512)), used]), Some(512));
        assert_eq!(of("Gemma2ForCausalLM", &[window(json!(512))]), None, "of single layers");
    }

    #[test]
    fn mixtures_of_experts_know_their_dense_layers() {
        let qwen = json!({"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048,
            "num_hidden_layers": 8, "num_attention_heads": 32, "num_key_value_heads": 4,
            "vocab_size": 151936, "intermediate_size": 6144, "moe_intermediate_size": 768,
            "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 2,
            "mlp_only_layers": [3], "max_position_embeddings": 40960, "torch_dtype": "bfloat16"});
        let model = read(qwen.clone()).unwrap();
        let sparse: Vec<u64> = (0..8).filter(|layer| model.has_experts(*layer)).collect();
        assert_eq!(sparse, [1, 5, 7]);

        let mut deepseek = with(qwen, "architectures", json!(["DeepseekV3ForCausalLM"]));
        deepseek["n_routed_experts"] = json!(256);
        deepseek["n_shared_experts"] = json!(1);
        deepseek["first_k_dense_replace"] = json!(3);
        let model = read(deepseek).unwrap();
        assert_eq!((0..8).filter(|layer| model.has_experts(*layer)).count(), 5);
        assert_eq!(model.experts.unwrap().shared_intermediate_size, 768);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = Model::from_config("any", &text);
        }

        #[test]
        fn no_value_of_any_field_makes_the_reader_panic(
            field in prop::sample::select(vec!["architectures", "hidden_size", "head_dim",
                "num_attention_heads", "torch_dtype", "quantization_config", "sliding_window"]),
            value in prop_oneof![
                any::<i64>().prop_map(Value::from),
                any::<f64>().prop_map(Value::from),
                ".{0,90}".prop_map(Value::from),
                Just(json!([])), Just(json!({})), Just(Value::Null),
            ],
        ) {
            let _ = read(with(llama(), field, value));
        }
    }
}
