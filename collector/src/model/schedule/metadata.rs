//! What the driver of V0 tells its tensor-parallel group before each step.
//!
//! One Broadcast from rank 0 for each tensor of the model's input that has elements
//! (`GroupCoordinator.broadcast_tensor_dict`), on the device because there they are built
//! (`ModelInputForGPUBuilder.build`, `FlashAttentionMetadataBuilder.build`). This is the input of the
//! FlashAttention backend, and of xFormers where the heads have a size that FlashAttention does not take, without LoRA
//! adapters and multi-modal input.

use super::forward::Forward;
use super::{Call, Part, Path, Role, Schedule};
use crate::model::{Chunk, Deployment, Step};
use nccltap_proto::{Datatype, Operation};

/// The broadcasts before `step`; `replayed` is the size it is padded to, if it is replayed.
pub(super) fn broadcast(
    schedule: &mut Schedule,
    forward: &Forward<'_>,
    step: &Step,
    replayed: Option<u64>,
) {
    let layout = forward.deployment.layout;
    if layout.tensor == 1 {
        return;
    }
    let sequences = step.sequences();
    // Of the per-sequence tensors, some are padded to the size of the graph, and some are not.
    let padded_sequences = replayed.unwrap_or(sequences);
    let block_table = block_table(forward, step, replayed);
    for stage in 0..layout.pipeline {
        // Only the last stage samples.
        let sampled = if stage == forward.last_stage() { step.sampled() } else { 0 };
        for (datatype, elements) in [
            (Datatype::Int64, forward.tokens()),     // input_tokens
            (Datatype::Int64, forward.tokens()),     // input_positions
            (Datatype::Int64, forward.tokens()),     // slot_mapping
            (Datatype::Int32, padded_sequences),     // seq_lens_tensor
            (Datatype::Int32, sequences),            // context_lens_tensor
            (Datatype::Int32, block_table),          // block_tables
            (Datatype::Int32, sequences + 1),        // query_start_loc
            (Datatype::Int32, padded_sequences + 1), // seq_start_loc
            (Datatype::Int64, sampled),              // selected_token_indices
        ] {
            if elements == 0 {
                continue;
            }
            let call = Call {
                phase: forward.phase,
                role: Role::TensorParallel,
                group: layout.tensor,
                path: Path::Nccl,
                collective: Operation::Broadcast,
                operation: Operation::Broadcast,
                datatype,
                elements,
                shape: vec![elements],
            };
            schedule.add(forward.ranks(stage, Part::Every), call, 1);
        }
    }
}

impl Deployment {
    /// How long V0 takes a sequence of `length` to be, of which a window is attended to: the blocks that the window spans,
    /// and what is in the last block (`worker/model_runner.py`, `_compute_for_sliding_window`).
    pub(super) fn in_window(&self, length: u64) -> u64 {
        match self.model.sliding_window {
            Some(window) => {
                length.min(window.next_multiple_of(self.block_size) + length % self.block_size)
            }
            None => length,
        }
    }
}

/// Elements of `block_tables`: for each sequence the blocks of its KV cache, padded to the longest.
/// A prompt has no row unless prompts may be cut or one of the step has cached blocks, with xFormers that very one
/// (`_add_seq_group` of `FlashAttentionMetadataBuilder` and of `CommonMetadataBuilder`); its blocks were allocated for the
/// whole of it. A graph has a row for each sequence up to the longest it was captured for
/// (`_get_graph_runner_block_tables`).
fn block_table(forward: &Forward<'_>, step: &Step, replayed: Option<u64>) -> u64 {
    let deployment = forward.deployment;
    let blocks = |tokens: u64| tokens.div_ceil(deployment.block_size);
    if let (Some(rows), Some(graphs)) = (replayed, &deployment.graphs) {
        return rows * blocks(graphs.longest_sequence);
    }
    let flash = deployment.engine.flash_attention_takes(deployment.model.head_size);
    let any_hit = step.prompts.iter().any(|chunk| chunk.cache_hit);
    let has_row =
        |chunk: &&Chunk| deployment.chunked_prefill || chunk.cache_hit || (flash && any_hit);
    let of_prompts = step.prompts.iter().filter(has_row).map(|chunk| blocks(chunk.prompt));
    let of_decodes = step.decodes.iter().map(|length| blocks(deployment.in_window(*length)));
    step.sequences() * of_prompts.chain(of_decodes).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::model::presets::preset;
    use crate::model::{Chunk, Deployment, Layout, Model, Schedule, Settings, Step};
    use nccltap_proto::{Datatype, Operation};

    /// Elements of the int32 tensors that are broadcast before a step of a model with that window and head size.
    fn broadcasts(sliding_window: Option<u64>, head_size: u64, step: Step) -> Vec<u64> {
        let model = Model { sliding_window, head_size, ..preset("llama-3.1-8b").unwrap() };
        let settings = Settings { max_model_len: Some(4096), ..Settings::PAPER };
        let deployment = Deployment::new(model, Layout::new(2, 1), settings).unwrap();
        let schedule = Schedule::of_steps(&deployment, &[step]);
        let calls = schedule.calls().map(|(_, call, _)| call);
        calls
            .filter(|call| call.operation == Operation::Broadcast)
            .filter(|call| call.datatype == Datatype::Int32)
            .map(|call| call.elements)
            .collect()
    }

    /// Blocks of 16 tokens: a window of 100 has 7, and an eighth where the last block is not full.
    #[test]
    fn a_window_shortens_the_block_tables_of_decodes() {
        let decode = |length| Step { decodes: vec![length], ..Step::default() };
        assert!(broadcasts(None, 128, decode(1000)).contains(&63));
        assert!(broadcasts(Some(100), 128, decode(1000)).contains(&8));
        assert!(broadcasts(Some(100), 128, decode(1008)).contains(&7));
        assert!(broadcasts(Some(100), 128, decode(50)).contains(&4), "shorter than the window");
    }

    #[test]
    fn beside_a_cached_prompt_flash_attention_has_rows_of_all_and_xformers_of_that_one() {
        let chunk = |prompt, cache_hit| Chunk {
            tokens: prompt - if cache_hit { 16 } else { 0 },
            context: if cache_hit { 16 } else { 0 },
            prompt,
            last: true,
            cache_hit,
        };
        let step = Step { prompts: vec![chunk(160, false), chunk(48, true)], ..Step::default() };
        assert!(broadcasts(None, 128, step.clone()).contains(&(2 * 10)));
        assert!(broadcasts(None, 80, step).contains(&(2 * 3)));
    }
}
