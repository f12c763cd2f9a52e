//! Which steps are replayed from CUDA graphs, and to what size they are padded.

use super::{Deployment, Engine, Layout, Refusal, sglang};

/// The captured sizes of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graphs {
    /// Captured sizes, ascending.
    pub sizes: Vec<u64>,
    /// Those of them that are captured as a whole as well, for steps in which every request computes as many
    /// tokens as a decode has: V1 of 0.11 and later.
    pub whole: Vec<u64>,
    /// V0 and SGLang capture decode steps alone; V1 any step that is small enough.
    pub decode_only: bool,
    /// Sequences longer than this are decoded without a graph, where decodes alone are captured.
    pub longest_sequence: u64,
    /// Sizes are captured as a whole and not in pieces: with sequence parallelism
    /// (`config/compilation.py`, `set_splitting_ops_for_v1`).
    pub whole_alone: bool,
}

/// V0's `max_seq_len_to_capture` (`config.py`).
const V0_LONGEST_CAPTURED: u64 = 8192;

impl Graphs {
    /// What `deployment` captures, with an attention backend that captures decodes of several tokens, as
    /// FlashAttention and those of latent attention on the H100 do (`AttentionCGSupport.UNIFORM_BATCH`).
    pub(super) fn of(deployment: &Deployment) -> Result<Self, Refusal> {
        let Deployment { engine, max_num_seqs, max_num_batched_tokens, .. } = *deployment;
        let decode = deployment.decode_tokens();
        let mut sizes = captured_sizes(
            (engine, deployment.layout),
            (max_num_seqs, max_num_batched_tokens),
            decode,
        );
        let whole_alone = deployment.sequence_parallel_from.is_some();
        if whole_alone {
            // `config/vllm.py`, `update_sizes_for_sequence_parallelism`.
            sizes.retain(|size| size.is_multiple_of(u64::from(deployment.layout.tensor)));
        }
        if engine == Engine::V1Release0_20 && decode > 1 {
            sizes = multiples_of(decode, &sizes);
            if sizes.is_empty() {
                return Err(Refusal::Setting(format!(
                    "--max-num-batched-tokens {max_num_batched_tokens} leaves no size to capture for decodes \
                     of {decode} tokens, guesses counted, which vLLM refuses"
                )));
            }
        }
        // `v1/cudagraph_dispatcher.py`, `initialize_cudagraph_keys`; in 0.11 the same in `capture_model`.
        let model = &deployment.model;
        let flash =
            model.architecture.latent_attention() || engine.flash_attention_takes(model.head_size);
        let decodes = match engine {
            Engine::V0 | Engine::V1Release0_8 | Engine::Sglang => 0..=0,
            // FlexAttention, whose decodes are not captured there (`v1/worker/gpu_model_runner.py`,
            // `initialize_cudagraph_capture`).
            Engine::V1Release0_11 if !flash => 0..=0,
            _ => decode..=decode.saturating_mul(max_num_seqs),
        };
        let whole = sizes.iter().copied().filter(|size| decodes.contains(size)).collect();
        Ok(Self {
            sizes,
            whole,
            decode_only: matches!(engine, Engine::V0 | Engine::Sglang),
            longest_sequence: match engine {
                Engine::Sglang => deployment.max_model_len,
                _ => deployment.max_model_len.min(V0_LONGEST_CAPTURED),
            },
            whole_alone,
        })
    }

    /// The size that a step of `tokens` is padded to, `None` if it is not replayed.
    pub fn padded(&self, tokens: u64) -> Option<u64> {
        self.sizes.iter().copied().find(|size| *size >= tokens)
    }
}

/// The sizes that are captured by default: `config.py`, `_set_cudagraph_sizes` in 0.8.5;
/// `config/__init__.py` and `config/vllm.py`, the same function, in 0.11 and from 0.20 on. A decode has `decode` tokens,
/// guesses counted, of which the largest size takes account since 0.20.
fn captured_sizes(
    (engine, layout): (Engine, Layout),
    (max_num_seqs, max_num_batched_tokens): (u64, u64),
    decode: u64,
) -> Vec<u64> {
    let eights = |last: u64| [1, 2, 4].into_iter().chain((8..=last).step_by(8));
    let largest = |decode: u64| 2 * max_num_seqs.saturating_mul(decode).min(256);
    match engine {
        // Up to the first size that takes as many sequences as there can be.
        Engine::V0 => {
            let first = eights(8192).find(|size| *size >= max_num_seqs).unwrap_or(8192);
            eights(8192).filter(|size| *size <= first).collect()
        }
        Engine::V1Release0_8 => {
            eights(512).filter(|size| *size <= max_num_batched_tokens).collect()
        }
        Engine::V1Release0_11 => {
            eights(largest(1)).filter(|size| *size <= max_num_batched_tokens).collect()
        }
        Engine::V1Release0_20 | Engine::V1Release0_32 => {
            let largest = largest(decode).min(max_num_batched_tokens);
            let small = eights(255).filter(|size| *size <= largest);
            let mut sizes: Vec<u64> = small.chain((256..=largest).step_by(16)).collect();
            // 0.32 takes also the most tokens and the most sequences that a step can have, where they are small enough.
            if engine == Engine::V1Release0_32 {
                let most = [max_num_batched_tokens, max_num_seqs];
                sizes.extend(most.into_iter().filter(|size| *size <= largest));
                sizes.sort_unstable();
                sizes.dedup();
            }
            sizes
        }
        Engine::Sglang => sglang::captured_sizes(layout, max_num_seqs),
    }
}

/// Where a decode has several tokens, 0.20 rounds all sizes up to multiples of them, up to the largest there was
/// (`config/compilation.py`, `adjust_cudagraph_sizes_for_spec_decode`).
fn multiples_of(decode: u64, sizes: &[u64]) -> Vec<u64> {
    let largest = sizes.last().copied().unwrap_or(0);
    let mut rounded: Vec<u64> = sizes
        .iter()
        .map(|size| size.next_multiple_of(decode))
        .filter(|size| *size <= largest)
        .collect();
    rounded.dedup();
    if rounded.is_empty() && decode <= largest {
        rounded.push(decode);
    }
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use crate::model::{Model, Settings, Speculation};

    /// What an engine captures for so many sequences, where n-grams make so many guesses.
    fn graphs(engine: Engine, max_num_seqs: u64, guesses: Option<u64>) -> Graphs {
        let settings = Settings {
            engine,
            cuda_graphs: true,
            max_num_seqs: Some(max_num_seqs),
            max_num_batched_tokens: Some(2048),
            speculation: guesses.map(|_| Speculation::Ngrams { tokens: guesses }),
            ..Settings::PAPER
        };
        let layout = Layout::new(2, 1);
        let model = preset("llama-3.1-8b").unwrap();
        Deployment::new(model, layout, settings).unwrap().graphs.unwrap()
    }

    #[test]
    fn the_sizes_of_graphs_are_those_of_each_release() {
        let sizes =
            |engine, seqs, tokens| captured_sizes((engine, Layout::new(2, 1)), (seqs, tokens), 1);
        let v0 = sizes(Engine::V0, 256, 2048);
        assert_eq!((v0.len(), v0.last()), (35, Some(&256)));
        assert_eq!(sizes(Engine::V0, 3, 2048), [1, 2, 4]);
        assert_eq!(sizes(Engine::V1Release0_8, 1, 20), [1, 2, 4, 8, 16]);
        assert_eq!(sizes(Engine::V1Release0_11, 8, 8192), [1, 2, 4, 8, 16]);
        let newest = sizes(Engine::V1Release0_20, 1024, 8192);
        assert_eq!(newest[newest.len() - 2..], [496, 512]);
        assert_eq!(sizes(Engine::V1Release0_20, 1, 8192), [1, 2]);
    }

    #[test]
    fn release_0_32_captures_the_most_sequences_and_the_most_tokens_too() {
        let sizes = |seqs, tokens| {
            captured_sizes((Engine::V1Release0_32, Layout::new(2, 1)), (seqs, tokens), 1)
        };
        assert_eq!(sizes(3, 2048), [1, 2, 3, 4]);
        assert_eq!(sizes(9, 2048), [1, 2, 4, 8, 9, 16]);
        assert_eq!(sizes(9, 13), [1, 2, 4, 8, 9, 13]);
        assert_eq!(sizes(1024, 8192).last(), Some(&512), "not those past the largest");
    }

    /// min(8 sequences x 4 tokens x 2, 512) = 64: 1, 2, 4, 8, 16 and so on, of which 1 and 2 round up to 4.
    #[test]
    fn release_0_20_captures_multiples_of_the_tokens_of_a_decode() {
        let graphs = graphs(Engine::V1Release0_20, 8, Some(3));
        assert_eq!(graphs.sizes, [4, 8, 16, 24, 32, 40, 48, 56, 64]);
        assert_eq!(graphs.whole, [4, 8, 16, 24, 32], "of 8 sequences");
    }

    /// min(2 x 3 x 2, 512) = 12, and the largest of 1, 2, 4, 8 is 8: 8 itself would round up to 9.
    #[test]
    fn a_size_that_would_pass_the_largest_is_left_out() {
        assert_eq!(graphs(Engine::V1Release0_20, 2, Some(2)).sizes, [3, 6]);
        assert_eq!(multiples_of(9, &[1, 2, 4, 8, 16]), [9]);
        assert!(multiples_of(3, &[1, 2]).is_empty());
    }

    #[test]
    fn releases_before_0_20_capture_the_sizes_that_they_capture_without_guesses() {
        let with = graphs(Engine::V1Release0_11, 8, Some(3));
        assert_eq!(with.sizes, [1, 2, 4, 8, 16]);
        assert_eq!(with.whole, [4, 8, 16], "from 4 tokens up to those of 8 sequences");
        assert_eq!(graphs(Engine::V1Release0_11, 8, None).whole, [1, 2, 4, 8]);
        let oldest = graphs(Engine::V1Release0_8, 8, Some(3));
        assert_eq!(oldest, graphs(Engine::V1Release0_8, 8, Some(5)));
    }

    #[test]
    fn heads_that_flash_attention_does_not_take_are_captured_in_pieces_alone_in_0_11() {
        let whole = |engine, head_size| {
            let settings = Settings { engine, cuda_graphs: true, ..Settings::PAPER };
            let model = Model { head_size, ..preset("llama-3.1-8b").unwrap() };
            Deployment::new(model, Layout::new(2, 1), settings).unwrap().graphs.unwrap().whole
        };
        assert!(whole(Engine::V1Release0_11, 80).is_empty());
        assert!(!whole(Engine::V1Release0_11, 96).is_empty());
        assert!(!whole(Engine::V1Release0_20, 80).is_empty());
    }

    #[test]
    fn a_step_is_padded_to_the_next_captured_size() {
        let graphs = Graphs {
            sizes: vec![1, 2, 4, 8],
            whole: vec![],
            decode_only: true,
            longest_sequence: 99,
            whole_alone: false,
        };
        assert_eq!(graphs.padded(3), Some(4));
        assert_eq!(graphs.padded(8), Some(8));
        assert_eq!(graphs.padded(9), None);
    }

    #[test]
    fn too_few_tokens_for_one_decode_are_refused() {
        let settings = Settings {
            engine: Engine::V1Release0_20,
            cuda_graphs: true,
            max_num_seqs: Some(2),
            max_num_batched_tokens: Some(3),
            speculation: Some(Speculation::Ngrams { tokens: Some(4) }),
            ..Settings::PAPER
        };
        let model = preset("llama-3.1-8b").unwrap();
        let error = Deployment::new(model, Layout::new(2, 1), settings).unwrap_err().to_string();
        assert!(error.contains("--max-num-batched-tokens 3"), "{error}");
    }
}
