//! How a model is spread over ranks.

use super::Model;
use serde::Serialize;
use std::fmt;

/// Sizes of the parallel groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Layout {
    /// Tensor-parallel size, t of the paper.
    pub tensor: u32,
    /// Pipeline-parallel size, p of the paper.
    pub pipeline: u32,
    /// Data-parallel size: replicas of the attention, and of a dense model the whole.
    pub data: u32,
    /// Whether experts are spread over tensor- and data-parallel ranks instead of split.
    pub expert_parallel: bool,
}

impl Layout {
    /// Tensor and pipeline parallelism alone.
    pub const fn new(tensor: u32, pipeline: u32) -> Self {
        Self { tensor, pipeline, data: 1, expert_parallel: false }
    }

    /// How many ranks there are.
    pub const fn ranks(&self) -> u32 {
        self.tensor * self.pipeline * self.data
    }

    /// The rank at a place, in vLLM's order: data, pipeline, tensor parallel (`parallel_state.py`,
    /// `initialize_model_parallel`).
    pub const fn rank(&self, place: Place) -> u32 {
        (place.replica * self.pipeline + place.stage) * self.tensor + place.tensor_rank
    }

    /// All places, in the order of their ranks.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let Self { tensor, pipeline, .. } = *self;
        (0..self.ranks()).map(move |rank| Place {
            replica: rank / (tensor * pipeline),
            stage: rank / tensor % pipeline,
            tensor_rank: rank % tensor,
        })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = [("TP", self.tensor), ("PP", self.pipeline), ("DP", self.data)];
        let mut parts: Vec<String> = sizes
            .iter()
            .filter(|(_, size)| *size > 1)
            .map(|(name, size)| format!("{name}={size}"))
            .collect();
        if parts.is_empty() {
            parts.push("TP=1".to_owned());
        }
        if self.expert_parallel {
            parts.push("EP".to_owned());
        }
        f.write_str(&parts.join("x"))
    }
}

/// Where a rank stands in its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Data-parallel rank.
    pub replica: u32,
    /// Pipeline stage.
    pub stage: u32,
    /// Rank in the tensor-parallel group.
    pub tensor_rank: u32,
}

/// How many layers each pipeline stage has: as even as can be, and what is left over goes to the
/// stages before the last, from the back (vLLM's `get_pp_indices`, `distributed/utils.py`, the same
/// in 0.8.5, 0.11 and 0.20).
pub fn layers_of_stages(layers: u64, stages: u32) -> Vec<u64> {
    let stages = u64::from(stages.max(1));
    let (even, left_over) = (layers / stages, layers % stages);
    (0..stages)
        .map(|stage| {
            let from_the_back = stages - stage;
            even + u64::from(from_the_back >= 2 && from_the_back < left_over + 2)
        })
        .collect()
}

/// Why vLLM would not serve a model so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// A size is 0, or there are more ranks than can be meant.
    Size,
    /// Tensor parallelism must divide it.
    NotDivisible {
        /// What it is.
        what: &'static str,
        /// How many there are.
        number: u64,
        /// Tensor-parallel size.
        by: u32,
    },
    /// More stages than layers.
    TooManyStages {
        /// Layers of the model.
        layers: u64,
        /// Pipeline-parallel size.
        stages: u32,
    },
    /// Expert parallelism of a model without experts.
    NoExperts,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => write!(f, "sizes of a layout are 1 or more, and at most 65536 together"),
            Self::NotDivisible { what, number, by } => write!(
                f,
                "the model has {number} {what}, which tensor parallelism of {by} does not divide"
            ),
            Self::TooManyStages { layers, stages } => {
                write!(f, "the model has {layers} layers, too few for {stages} pipeline stages")
            }
            Self::NoExperts => write!(f, "expert parallelism needs a mixture of experts"),
        }
    }
}

impl std::error::Error for LayoutError {}

impl Layout {
    /// Whether vLLM accepts `model` in this layout.
    pub fn check(&self, model: &Model) -> Result<(), LayoutError> {
        let sizes = [self.tensor, self.pipeline, self.data].map(u64::from);
        let ranks = sizes.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
        if !ranks.is_some_and(|ranks| (1..=65_536).contains(&ranks)) {
            return Err(LayoutError::Size);
        }
        let t = u64::from(self.tensor);
        let not_divisible =
            |what, number| Err(LayoutError::NotDivisible { what, number, by: self.tensor });
        if !model.attention_heads.is_multiple_of(t) {
            return not_divisible("attention heads", model.attention_heads);
        }
        // Fewer key and value heads than ranks are repeated, and then they must divide.
        let heads = model.key_value_heads;
        let latent = model.architecture.latent_attention();
        if !latent && !heads.is_multiple_of(t) && !t.is_multiple_of(heads) {
            return not_divisible("key and value heads", heads);
        }
        let vocabulary = padded_vocabulary(model.vocab_size);
        if !vocabulary.is_multiple_of(t) {
            return not_divisible("rows of the padded vocabulary", vocabulary);
        }
        if u64::from(self.pipeline) > model.layers {
            return Err(LayoutError::TooManyStages { layers: model.layers, stages: self.pipeline });
        }
        if self.expert_parallel && model.experts.is_none() {
            return Err(LayoutError::NoExperts);
        }
        Ok(())
    }
}

/// The vocabulary as vLLM pads it before it is split: to a multiple of 64
/// (`vocab_parallel_embedding.py`, `DEFAULT_VOCAB_PADDING_SIZE`).
pub const fn padded_vocabulary(vocabulary: u64) -> u64 {
    vocabulary.div_ceil(64) * 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use proptest::prelude::*;

    #[test]
    fn layers_that_are_left_over_go_to_the_stages_before_the_last() {
        assert_eq!(layers_of_stages(32, 4), [8, 8, 8, 8]);
        assert_eq!(layers_of_stages(28, 3), [9, 10, 9]);
        assert_eq!(layers_of_stages(29, 3), [10, 10, 9]);
        assert_eq!(layers_of_stages(30, 4), [7, 8, 8, 7]);
        assert_eq!(layers_of_stages(31, 4), [8, 8, 8, 7]);
        assert_eq!(layers_of_stages(3, 2), [2, 1]);
    }

    #[test]
    fn ranks_are_counted_as_vllm_counts_them() {
        let layout = Layout { tensor: 2, pipeline: 2, data: 2, expert_parallel: false };
        let places: Vec<_> = layout.places().collect();
        assert_eq!(places.len(), 8);
        assert_eq!(places[5], Place { replica: 1, stage: 0, tensor_rank: 1 });
        assert!(places.iter().enumerate().all(|(at, place)| layout.rank(*place) == at as u32));
    }

    #[test]
    fn a_layout_that_vllm_refuses_is_refused_with_the_reason() {
        let model = preset("llama-3.2-3b").unwrap();
        let refusal = |t, p| Layout::new(t, p).check(&model).unwrap_err().to_string();
        assert!(refusal(5, 1).contains("24 attention heads"));
        assert!(refusal(1, 29).contains("28 layers"));
        assert_eq!(Layout::new(0, 1).check(&model), Err(LayoutError::Size));
        assert_eq!(Layout::new(u32::MAX, u32::MAX).check(&model), Err(LayoutError::Size));
        let experts = Layout { expert_parallel: true, ..Layout::new(2, 1) };
        assert_eq!(experts.check(&model), Err(LayoutError::NoExperts));
    }

    #[test]
    fn a_layout_is_named_by_what_is_parallel() {
        assert_eq!(Layout::new(2, 2).to_string(), "TP=2xPP=2");
        assert_eq!(Layout::new(1, 1).to_string(), "TP=1");
        let experts = Layout { tensor: 1, pipeline: 1, data: 4, expert_parallel: true };
        assert_eq!(experts.to_string(), "DP=4xEP");
    }

    proptest! {
        #[test]
        fn no_layer_is_lost_or_doubled(layers in 1u64..200, stages in 1u32..64) {
            prop_assume!(u64::from(stages) <= layers);
            let spread = layers_of_stages(layers, stages);
            prop_assert_eq!(spread.len(), stages as usize);
            prop_assert_eq!(spread.iter().sum::<u64>(), layers);
            let (least, most) = (spread.iter().min().unwrap(), spread.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }
    }
}
