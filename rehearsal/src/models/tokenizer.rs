//! A tokenizer that any model can have: a token per byte. Its files are those that
//! `transformers` reads.

use serde_json::{Map, Value, json};

/// Tokens it knows: 256 bytes, a beginning and an end.
pub(super) const TOKENS: u64 = 258;

/// `tokenizer.json`.
pub(super) fn tokenizer() -> Value {
    let bytes: Map<String, Value> =
        alphabet().zip(0u32..).map(|(c, id)| (c.into(), id.into())).collect();
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(256, "<s>"), special(257, "</s>")],
        "normalizer": null,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        },
        "post_processor": null,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": bytes,
            "merges": [],
        },
    })
}

/// `tokenizer_config.json`, for a model that takes so many tokens.
pub(super) fn tokenizer_config(longest: Option<u64>) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": longest,
        "clean_up_tokenization_spaces": false,
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    })
}

/// The characters that byte-level tokenizers write the bytes 0 to 255 with, in the order of their
/// code points. Those that print stand for themselves, the others for what follows U+0100.
fn alphabet() -> impl Iterator<Item = char> {
    let printable = |c: &char| matches!(c, '!'..='~' | '¡'..='¬' | '®'..='ÿ');
    let own = ('\0'..='ÿ').filter(printable);
    let others = ('\0'..='ÿ').filter(move |c| !printable(c)).count();
    own.chain(('\u{100}'..).take(others))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let characters: BTreeSet<char> = alphabet().collect();
        assert_eq!(characters.len(), 256);
        assert_eq!(alphabet().next(), Some('!'));
        assert_eq!(characters.last(), Some(&'\u{143}'));
        let vocabulary = tokenizer()["model"]["vocab"].as_object().unwrap().len();
        let added = tokenizer()["added_tokens"].as_array().unwrap().len();
        assert_eq!(u64::try_from(vocabulary + added), Ok(TOKENS));
    }
}
