//! Sequence parallelism, a pass of vLLM's compiler: an all-reduce before a norm becomes a reduce-scatter, and an
//! all-gather behind the norm (`compilation/passes/fusion/sequence_parallelism.py` of vLLM 0.20).
//!
//! In the classes that are known here a norm stands behind every all-reduce, that of the embedding too, and so all of them are replaced
//! in passes that have enough tokens.

use super::{Architecture, Engine, Layout, Model, Refusal, Settings};

/// Less wide models are left as they are on the H100, unless it is said from how many tokens on
/// (`SP_MIN_HIDDEN_SIZE`).
const NARROWEST: u64 = 8192;

/// Bytes of activations for each rank, from which it is worth it on the H100 (`SP_MIN_PER_GPU_SIZE_MB`).
const SMALLEST: u64 = 8 << 20;

/// From how many tokens on a pass is sequence parallel; `None` if none is.
pub(super) fn threshold(
    model: &Model,
    layout: Layout,
    settings: Settings,
    max_num_batched_tokens: u64,
) -> Result<Option<u64>, Refusal> {
    let refuse = |what: &str| Err(Refusal::NotModelled(what.to_owned()));
    let ranks = u64::from(layout.tensor);
    if !settings.sequence_parallelism || ranks == 1 {
        return Ok(None);
    }
    if settings.engine != Engine::V1Release0_20 {
        return refuse("sequence parallelism is modelled of vLLM 0.20: give --engine-version 0.20");
    }
    let by_size = (model.hidden_size >= NARROWEST)
        .then(|| SMALLEST * ranks / (model.hidden_size * model.activations.size()));
    let Some(threshold) = settings.sp_min_token_num.or(by_size) else { return Ok(None) };
    let with_norms = matches!(
        model.architecture,
        Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 | Architecture::Qwen3
    );
    if !settings.cuda_graphs {
        refuse("sequence parallelism needs vLLM's compiler: give --cuda-graphs")
    } else if layout.pipeline > 1 || layout.data > 1 {
        refuse(
            "sequence parallelism is modelled with tensor parallelism alone: give --pp 1 and --dp 1",
        )
    } else if !with_norms || model.quantization.is_some() {
        refuse(
            "sequence parallelism is modelled of Llama, Mistral, Qwen2 and Qwen3 that are not quantised",
        )
    } else if threshold > 1 && threshold >= max_num_batched_tokens {
        // No range of sizes of its own is compiled for so many.
        Ok(None)
    } else {
        Ok(Some(threshold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use crate::model::{Deployment, Prediction, Step};
    use crate::outputs::rows::View;

    const GRAPHS: Settings = Settings {
        engine: Engine::V1Release0_20,
        cuda_graphs: true,
        sequence_parallelism: true,
        max_model_len: Some(2048),
        ..Settings::PAPER
    };

    fn deployment(
        hidden_size: u64,
        layout: Layout,
        settings: Settings,
    ) -> Result<Deployment, Refusal> {
        let model = Model { hidden_size, ..preset("llama-3.1-8b").unwrap() };
        Deployment::new(model, layout, settings)
    }

    #[test]
    fn from_how_many_tokens_on_is_by_the_width_of_the_model_or_as_given() {
        let threshold = |hidden, tensor, sp_min_token_num| {
            let settings = Settings { sp_min_token_num, ..GRAPHS };
            deployment(hidden, Layout::new(tensor, 1), settings).unwrap().sequence_parallel_from
        };
        assert_eq!(threshold(4096, 2, None), None, "vLLM turns it off");
        assert_eq!(threshold(8192, 2, None), Some(1024));
        assert_eq!(threshold(8192, 8, None), Some(4096));
        assert_eq!(threshold(4096, 2, Some(64)), Some(64));
        assert_eq!(threshold(4096, 2, Some(8192)), None, "as many as a step may have");
        assert_eq!(threshold(8192, 1, None), None);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let pairs = Layout::new(2, 1);
        for (layout, settings) in [
            (pairs, Settings { engine: Engine::V1Release0_11, ..GRAPHS }),
            (pairs, Settings { cuda_graphs: false, ..GRAPHS }),
            (Layout::new(2, 2), GRAPHS),
        ] {
            let error = deployment(8192, layout, settings).unwrap_err().to_string();
            assert!(error.contains("sequence parallelism"), "{error}");
        }
    }

    #[test]
    fn each_all_reduce_of_enough_tokens_is_a_reduce_scatter_and_an_all_gather() {
        let settings = Settings { sp_min_token_num: Some(600), ..GRAPHS };
        let deployment = deployment(4096, Layout::new(2, 1), settings).unwrap();
        let graphs = deployment.graphs.clone().unwrap();
        assert_eq!(graphs.sizes[..3], [2, 4, 8], "multiples of the tensor-parallel size");
        let step = |tokens: usize| Step { decodes: vec![9; tokens], ..Step::default() };
        let prediction = Prediction::of_steps(deployment, &[vec![step(3), step(601)]]).unwrap();
        let rows = prediction.rows(View::Operations);
        let count = |op, elements| {
            let wanted = rows.iter().filter(|row| row.phase == "decode" && row.op == Some(op));
            wanted.filter(|row| row.elements == elements).map(|row| row.count).sum::<u64>()
        };
        assert_eq!(count("AllReduce", 4 * 4096), 65);
        // 601 tokens are padded so that both ranks have as many.
        assert_eq!(count("ReduceScatter", 301 * 4096), 65);
        assert_eq!(count("AllGather", 301 * 4096), 65);
        assert_eq!(count("AllReduce", 602 * 4096), 0);
    }
}
