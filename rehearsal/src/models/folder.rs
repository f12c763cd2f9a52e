//! The folder that an engine loads a model from.

use super::tokenizer;
use crate::put;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A model folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Where it is.
    pub folder: PathBuf,
    /// What clients call the model.
    pub name: String,
}

/// Writes the folder of a model with this `config.json`. A folder that is there already is made
/// the same.
///
/// # Errors
/// When the text is not the configuration of a language model, or the folder cannot be written.
pub fn write(folder: &Path, name: &str, config: &str) -> anyhow::Result<Model> {
    let config: Value = serde_json::from_str(config).context("it is not JSON")?;
    ensure!(
        config["architectures"].as_array().is_some_and(|names| !names.is_empty()),
        "it does not say which `architectures` the model has, so no engine can load it"
    );
    // A model that also sees keeps the sizes of its language in a part of its own.
    let text = match &config["text_config"] {
        part @ Value::Object(_) => part,
        _ => &config,
    };
    let vocabulary = text["vocab_size"].as_u64().context("it has no `vocab_size`")?;
    let needed = tokenizer::TOKENS;
    ensure!(
        vocabulary >= needed,
        "its `vocab_size` is {vocabulary}; the tokenizer of bytes needs {needed}"
    );
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let generation = json!({
        "bos_token_id": text["bos_token_id"],
        "eos_token_id": text["eos_token_id"],
    });
    let longest = text["max_position_embeddings"].as_u64();
    for (file, content) in [
        ("config.json", &config),
        ("generation_config.json", &generation),
        ("tokenizer.json", &tokenizer::tokenizer()),
        ("tokenizer_config.json", &tokenizer::tokenizer_config(longest)),
    ] {
        let path = folder.join(file);
        put(&path, format!("{content:#}\n").as_bytes(), 0o644)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(Model { folder: folder.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::PRESETS;

    #[test]
    fn every_preset_makes_a_folder() {
        let directory = tempfile::tempdir().unwrap();
        for preset in PRESETS {
            let folder = directory.path().join(preset.name);
            write(&folder, preset.hub_name, preset.config).unwrap();
            let mut files: Vec<_> = fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            let expected = [
                "config.json",
                "generation_config.json",
                "tokenizer.json",
                "tokenizer_config.json",
            ];
            assert_eq!(files, expected);
            let config = fs::read_to_string(folder.join("config.json")).unwrap();
            let expected: Value = serde_json::from_str(preset.config).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&config).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        for (config, reason) in [
            ("layers: 3", "it is not JSON"),
            ("{}", "it does not say which `architectures` the model has"),
            (r#"{"architectures": ["A"]}"#, "it has no `vocab_size`"),
            (r#"{"architectures": ["A"], "vocab_size": 9}"#, "its `vocab_size` is 9"),
        ] {
            let error = write(directory.path(), "m", config).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn sizes_may_stand_in_the_part_for_text() {
        let directory = tempfile::tempdir().unwrap();
        let config = r#"{"architectures": ["A"], "text_config": {"vocab_size": 999}}"#;
        write(directory.path(), "m", config).unwrap();
    }
}
