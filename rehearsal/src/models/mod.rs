//! Models to rehearse: a configuration is enough, weights are not needed.
//!
//! A model folder holds `config.json`, `generation_config.json` and a tokenizer of bytes
//! (`tokenizer.rs`), all written here. An engine that is told to load dummy weights
//! (`--load-format dummy`) asks for no more.

mod folder;
mod tokenizer;

pub use folder::{Model, write};

/// A model whose configuration is carried in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Short name.
    pub name: &'static str,
    /// The name that engines and clients call it by.
    pub hub_name: &'static str,
    /// Its `config.json`.
    pub config: &'static str,
}

macro_rules! presets {
    ($($name:literal = $hub_name:literal),* $(,)?) => {
        &[$(Preset {
            name: $name,
            hub_name: $hub_name,
            config: include_str!(concat!("../../models/", $name, ".json")),
        }),*]
    };
}

/// The models that need no file.
pub const PRESETS: &[Preset] = presets! {
    "llama-3.2-3b" = "meta-llama/Llama-3.2-3B",
    "llama-3.1-8b" = "meta-llama/Llama-3.1-8B",
    "llama-2-13b" = "meta-llama/Llama-2-13b-hf",
    "llama-3.1-70b" = "meta-llama/Llama-3.1-70B",
    "qwen3-30b-a3b" = "Qwen/Qwen3-30B-A3B",
    "tiny-llama" = "tiny-llama",
};

impl Preset {
    /// Finds a preset by either of its names. Case, and an `-Instruct` or `-chat-hf` behind the
    /// name of a model whose configuration is the same, do not matter.
    pub fn find(name: &str) -> Option<&'static Self> {
        let wanted = plain(name);
        PRESETS.iter().find(|preset| [preset.name, preset.hub_name].map(plain).contains(&wanted))
    }
}

/// A model's name without what does not tell configurations apart.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    for (suffix, base) in [("-instruct", ""), ("-chat-hf", "-hf")] {
        if let Some(stem) = name.strip_suffix(suffix) {
            return format!("{stem}{base}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_found_by_both_names() {
        for preset in PRESETS {
            assert_eq!(Preset::find(preset.name), Some(preset));
            assert_eq!(Preset::find(preset.hub_name), Some(preset));
        }
        let found = |name| Preset::find(name).map(|preset| preset.name);
        assert_eq!(found("meta-llama/Llama-3.1-8B-Instruct"), Some("llama-3.1-8b"));
        assert_eq!(found("meta-llama/Llama-2-13b-chat-hf"), Some("llama-2-13b"));
        assert_eq!(found("meta-llama/Llama-3.1-405B"), None);
    }

    /// The paper's dimensions (layers, hidden size, vocabulary), and the published ones of the rest.
    #[test]
    fn presets_have_the_dimensions_of_their_models() {
        let dimensions = PRESETS.iter().map(|preset| {
            let config: serde_json::Value = serde_json::from_str(preset.config).unwrap();
            let number = |key: &str| config[key].as_u64().unwrap();
            let dimensions = ["num_hidden_layers", "hidden_size", "vocab_size"].map(number);
            (preset.name, dimensions)
        });
        let expected = [
            ("llama-3.2-3b", [28, 3072, 128_256]),
            ("llama-3.1-8b", [32, 4096, 128_256]),
            ("llama-2-13b", [40, 5120, 32_000]),
            ("llama-3.1-70b", [80, 8192, 128_256]),
            ("qwen3-30b-a3b", [48, 2048, 151_936]),
            ("tiny-llama", [4, 256, 2048]),
        ];
        assert_eq!(dimensions.collect::<Vec<_>>(), expected);
    }
}
