//! The models of the paper, as the part of their `config.json` that matters here.

use super::{Model, ModelError};

/// Name on the command line and `config.json`.
pub const PRESETS: [(&str, &str); 3] = [
    ("llama-3.2-3b", include_str!("presets/llama-3.2-3b.json")),
    ("llama-3.1-8b", include_str!("presets/llama-3.1-8b.json")),
    ("llama-2-13b", include_str!("presets/llama-2-13b.json")),
];

/// The preset with that name, in any case, with or without its organisation
/// (`meta-llama/Llama-3.1-8B`).
pub fn preset(name: &str) -> Result<Model, ModelError> {
    let short = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let found = PRESETS.iter().find(|(preset, _)| *preset == short);
    let (preset, config) = found.ok_or_else(|| ModelError::NoPreset { name: name.to_owned() })?;
    Model::from_config(preset, config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_proto::Datatype;

    #[test]
    fn the_models_of_the_paper_are_those_of_the_paper() {
        let shape = |name| {
            let model = preset(name).unwrap();
            (model.layers, model.hidden_size, model.vocab_size)
        };
        assert_eq!(shape("llama-3.2-3b"), (28, 3072, 128_256));
        assert_eq!(shape("llama-3.1-8b"), (32, 4096, 128_256));
        assert_eq!(shape("llama-2-13b"), (40, 5120, 32_000));
        assert_eq!(preset("llama-2-13b").unwrap().activations, Datatype::Float16);
    }

    #[test]
    fn a_preset_is_found_by_the_name_that_the_hub_has_for_it() {
        assert_eq!(preset("meta-llama/Llama-3.1-8B").unwrap().layers, 32);
    }

    #[test]
    fn a_name_that_is_no_preset_is_answered_with_those_that_are() {
        let error = preset("gpt-5").unwrap_err().to_string();
        assert!(error.contains("gpt-5") && error.contains("llama-3.1-8b"), "{error}");
    }
}
