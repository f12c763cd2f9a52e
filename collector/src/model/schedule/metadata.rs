//! What the driver of V0 tells its tensor-parallel group before each step.
//!
//! One Broadcast from rank 0 for each tensor of the model's input that has elements
//! (`GroupCoordinator.broadcast_tensor_dict`), on the device because there they are built
//! (`ModelInputForGPUBuilder.build`, `FlashAttentionMetadataBuilder.build`). This is the input of the
//! FlashAttention backend, without LoRA adapters and multi-modal input.

use super::forward::Forward;
use super::{Call, Part, Path, Role, Schedule};
use crate::model::Step;
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

/// Elements of `block_tables`: for each sequence the blocks of its KV cache, padded to the longest.
/// A prompt has no row unless prompts may be cut or one of the step has cached blocks
/// (`FlashAttentionMetadataBuilder._add_seq_group`); its blocks were allocated for the whole of it.
/// A graph has a row for each sequence up to the longest it was captured for
/// (`_get_graph_runner_block_tables`).
fn block_table(forward: &Forward<'_>, step: &Step, replayed: Option<u64>) -> u64 {
    let deployment = forward.deployment;
    let blocks = |tokens: u64| tokens.div_ceil(deployment.block_size);
    if let (Some(rows), Some(graphs)) = (replayed, &deployment.graphs) {
        return rows * blocks(graphs.longest_sequence);
    }
    let prompts = deployment.chunked_prefill || step.prompts.iter().any(|chunk| chunk.cache_hit);
    let of_prompts = step.prompts.iter().filter(|_| prompts).map(|chunk| blocks(chunk.prompt));
    let of_decodes = step.decodes.iter().map(|length| blocks(*length));
    step.sequences() * of_prompts.chain(of_decodes).max().unwrap_or(0)
}
