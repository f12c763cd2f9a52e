//! What SGLang does in its own way, read in the source of SGLang 0.5.5 (`python/sglang/srt`).
//!
//! A dense pass is that of vLLM: an all-reduce of the vocabulary-parallel embedding, two per layer, and an
//! all-gather of the logits. What differs is who is served when (prompts before decodes, and a request that is done is
//! seen one step late), what is captured, and that nothing is run for profiling.

use super::{Architecture, Layout, Model, Refusal, Settings};

/// Tokens and sequences of a step on a GPU of 60 to 160 GiB: `chunked_prefill_size` of `server_args.py`,
/// `_handle_gpu_memory_settings`, and the least that `model_executor/model_runner.py`, `init_memory_pool`, makes room
/// for.
pub(super) const SERVE: (u64, u64) = (8192, 2048);

/// The largest batch that is captured, below a tensor-parallel size of four and from there on
/// (`_handle_gpu_memory_settings`).
const LARGEST_CAPTURED: [u64; 2] = [256, 512];

/// The sizes that are captured (`server_args.py`, `_generate_cuda_graph_batch_sizes`;
/// `model_executor/cuda_graph_runner.py`, `get_batch_sizes_to_capture`).
pub(super) fn captured_sizes(layout: Layout, max_num_seqs: u64) -> Vec<u64> {
    let largest = LARGEST_CAPTURED[usize::from(layout.tensor >= 4)];
    let eights = (16..=256).step_by(8);
    let sizes = [1, 2, 4, 8, 12].into_iter().chain(eights).chain((272..=512).step_by(16));
    let mut sizes: Vec<u64> = sizes.filter(|size| *size <= largest.min(max_num_seqs)).collect();
    // The most that can run is captured, where it is less.
    if max_num_seqs < largest && sizes.last() != Some(&max_num_seqs) {
        sizes.push(max_num_seqs);
    }
    sizes
}

/// Refuses what is not known of SGLang.
pub(super) fn check(model: &Model, layout: Layout, settings: Settings) -> Result<(), Refusal> {
    let refuse = |what: &str| Err(Refusal::NotModelled(what.to_owned()));
    if layout.pipeline > 1 || layout.data > 1 || layout.expert_parallel {
        refuse(
            "SGLang is modelled with tensor parallelism alone: give --pp 1 and --dp 1, without --ep",
        )
    } else if model.architecture.latent_attention() || model.architecture == Architecture::Gemma3 {
        refuse(
            "of SGLang, DeepSeek and Gemma 3 are not modelled: the one may fuse its all-reduces, the other does \
             not split its embedding",
        )
    } else if settings.chunked_prefill == Some(false) {
        refuse(
            "SGLang is modelled with chunked prefill alone: leave out --enable-chunked-prefill=false",
        )
    } else if settings.speculation.is_some() {
        refuse("speculative decoding of SGLang is not modelled: give --engine vllm-v1")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use crate::model::{Deployment, Engine, Speculation};

    #[test]
    fn the_sizes_are_those_of_sglang() {
        let of_two = captured_sizes(Layout::new(2, 1), 2048);
        assert_eq!((of_two.len(), of_two.last()), (36, Some(&256)));
        let of_four = captured_sizes(Layout::new(4, 1), 2048);
        assert_eq!((of_four.len(), of_four.last()), (52, Some(&512)));
        assert_eq!(captured_sizes(Layout::new(2, 1), 10), [1, 2, 4, 8, 10]);
        assert_eq!(captured_sizes(Layout::new(2, 1), 12), [1, 2, 4, 8, 12]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let settings = Settings { engine: Engine::Sglang, ..Settings::PAPER };
        let ngrams = Some(Speculation::Ngrams { tokens: None });
        let deepseek =
            Model { architecture: Architecture::DeepseekV3, ..preset("llama-3.1-8b").unwrap() };
        let llama = || preset("llama-3.1-8b").unwrap();
        let pair = Layout::new(2, 1);
        for (model, layout, settings, why) in [
            (llama(), Layout::new(2, 2), settings, "--pp 1"),
            (llama(), Layout { data: 2, ..pair }, settings, "--dp 1"),
            (deepseek, pair, settings, "DeepSeek"),
            (llama(), pair, Settings { chunked_prefill: Some(false), ..settings }, "chunked"),
            (llama(), pair, Settings { speculation: ngrams, ..settings }, "speculative"),
            (llama(), pair, Settings { sequence_parallelism: true, ..settings }, "0.20"),
        ] {
            let error = Deployment::new(model, layout, settings).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let few = Settings { max_num_batched_tokens: Some(100), ..settings };
        assert!(
            Deployment::new(llama(), pair, few).is_ok(),
            "vLLM alone wants a token per sequence"
        );
    }
}
