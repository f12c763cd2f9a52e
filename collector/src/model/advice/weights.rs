//! How much of a model a rank holds, reads and multiplies with.

use crate::model::{Layout, Model, Refusal, layers_of_stages, padded_vocabulary};

/// What of a model is on one tensor-parallel rank of one pipeline stage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Share {
    layers: Vec<Layer>,
    /// Rows of the embedding, on the first stage; of a tied one also on the last.
    embedding: f64,
    /// Elements of the output head, on the last stage.
    head: f64,
    /// Whether the head is the embedding, and on the same stage.
    one_matrix: bool,
    attention_heads: f64,
    key_value_heads: f64,
    head_size: f64,
    weight_bytes: f64,
    activation_bytes: f64,
}

/// Elements of one layer at one rank.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layer {
    /// What every token passes: attention, a dense MLP or shared experts, the router.
    always: f64,
    /// Each expert, and how many of how many a token passes.
    experts: Option<(f64, f64, f64)>,
}

/// A step, as far as its cost depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Work {
    /// Tokens that are computed.
    pub tokens: f64,
    /// Over all of them, the tokens that each attends to.
    pub attended: f64,
    /// Tokens of which the KV cache is read.
    pub cached: f64,
    /// Sequences that get a token.
    pub sampled: f64,
}

impl Share {
    /// The share of a rank of `stage`.
    pub(super) fn new(model: &Model, layout: Layout, stage: u32) -> Result<Self, Refusal> {
        if model.architecture.latent_attention() {
            return Err(Refusal::NotModelled(
                "the weights and the KV cache of latent attention (DeepSeek) are not modelled"
                    .to_owned(),
            ));
        }
        let t = f64::from(layout.tensor);
        let number = |value: u64| value as f64;
        let h = number(model.hidden_size);
        // Fewer key and value heads than ranks are repeated.
        let key_value_heads = (number(model.key_value_heads) / t).max(1.0);
        let attention_heads = number(model.attention_heads) / t;
        let head_size = number(model.head_size);
        let attention = h * head_size * (2.0 * attention_heads + 2.0 * key_value_heads);
        let mlp = |width: u64| 3.0 * h * number(width) / t;
        let spread = layers_of_stages(model.layers, layout.pipeline);
        let first: u64 = spread.iter().take(stage as usize).sum();
        let count = spread.get(stage as usize).copied().unwrap_or(0);
        let layer = |index| match &model.experts {
            Some(experts) if model.has_experts(index) => Layer {
                always: attention
                    + h * number(experts.count)
                    + mlp(experts.shared_intermediate_size),
                experts: Some((
                    mlp(experts.intermediate_size),
                    number(experts.per_token),
                    number(experts.count),
                )),
            },
            _ => Layer { always: attention + mlp(model.intermediate_size), experts: None },
        };
        let vocabulary = number(padded_vocabulary(model.vocab_size)) / t;
        let (is_first, is_last) = (stage == 0, stage + 1 == layout.pipeline);
        let on = |there: bool| if there { vocabulary * h } else { 0.0 };
        Ok(Self {
            layers: (first..first + count).map(layer).collect(),
            embedding: on(is_first),
            head: on(is_last),
            one_matrix: model.tied_embeddings && is_first && is_last,
            attention_heads,
            key_value_heads,
            head_size,
            weight_bytes: f64::from(model.weight_bits) / 8.0,
            activation_bytes: number(model.activations.size()),
        })
    }

    /// Bytes of the weights. Embedding and head are not quantised.
    pub(super) fn bytes(&self) -> f64 {
        let layers: f64 = self.layers.iter().map(Layer::all).sum();
        let tables = if self.one_matrix { self.embedding } else { self.embedding + self.head };
        layers * self.weight_bytes + tables * self.activation_bytes
    }

    /// Bytes that one token has in the KV cache.
    pub(super) fn cache_per_token(&self) -> f64 {
        let layers = self.layers.len() as f64;
        2.0 * layers * self.key_value_heads * self.head_size * self.activation_bytes
    }

    /// Bytes that a step reads from memory: weights once, of experts those that some token is sent
    /// to if all are equally likely, and the KV cache.
    pub(super) fn read(&self, work: &Work) -> f64 {
        let layers: f64 = self.layers.iter().map(|layer| layer.read(work.tokens)).sum();
        layers * self.weight_bytes
            + self.head * self.activation_bytes
            + self.cache_per_token() * work.cached
    }

    /// Operations of a step: two for each weight and token, and attention's two products.
    pub(super) fn flops(&self, work: &Work) -> f64 {
        let layers: f64 = self.layers.iter().map(Layer::of_a_token).sum();
        let attention = 4.0 * self.layers.len() as f64 * self.attention_heads * self.head_size;
        2.0 * layers * work.tokens + attention * work.attended + 2.0 * self.head * work.sampled
    }
}

impl Layer {
    fn all(&self) -> f64 {
        self.always + self.experts.map_or(0.0, |(each, _, count)| each * count)
    }

    fn of_a_token(&self) -> f64 {
        self.always + self.experts.map_or(0.0, |(each, per_token, _)| each * per_token)
    }

    fn read(&self, tokens: f64) -> f64 {
        let touched = self.experts.map_or(0.0, |(each, per_token, count)| {
            each * count * (1.0 - (1.0 - per_token / count).powf(tokens))
        });
        self.always + touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;

    fn bytes(model: &Model, t: u32, p: u32) -> f64 {
        let layout = Layout::new(t, p);
        let of = |stage| Share::new(model, layout, stage).unwrap().bytes() * f64::from(t);
        (0..p).map(of).sum()
    }

    #[test]
    fn models_have_as_many_weights_as_their_names_say() {
        for (name, billions) in
            [("llama-3.2-3b", 3.21), ("llama-3.1-8b", 8.03), ("llama-2-13b", 13.02)]
        {
            let model = preset(name).unwrap();
            let ours = bytes(&model, 1, 1) / 2e9;
            assert!((ours / billions - 1.0).abs() < 0.005, "{name}: {ours}");
        }
    }

    #[test]
    fn no_layout_loses_a_weight_and_a_tied_embedding_is_twice_in_a_pipeline() {
        let model = preset("llama-3.1-8b").unwrap();
        for (t, p) in [(2, 1), (8, 1), (1, 4), (2, 2), (1, 3)] {
            assert!((bytes(&model, t, p) / bytes(&model, 1, 1) - 1.0).abs() < 1e-9, "{t} {p}");
        }
        let tied = preset("llama-3.2-3b").unwrap();
        assert!(bytes(&tied, 1, 2) > bytes(&tied, 1, 1));
    }

    #[test]
    fn more_ranks_than_key_and_value_heads_repeat_them() {
        let model = preset("llama-3.1-8b").unwrap();
        let cache = |t| Share::new(&model, Layout::new(t, 1), 0).unwrap().cache_per_token();
        assert_eq!(cache(1), 2.0 * 32.0 * 8.0 * 128.0 * 2.0);
        assert_eq!(cache(8), cache(1) / 8.0);
        assert_eq!(cache(16), cache(8));
    }
}
