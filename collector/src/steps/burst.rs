//! The metadata of a step, as vLLM's V0 engine broadcasts it in a tensor-parallel group.
//!
//! One Broadcast per tensor that is not empty, in the order of `ModelInputForGPU` and of the
//! attention metadata (`worker/model_runner.py`, `attention/backends/flash_attn.py` of 0.8.5), with N
//! tokens, S sequences and R rows of logits:
//!
//! | tensor | type and length | |
//! |---|---|---|
//! | blocks_to_copy | int64, even | only when blocks are copied |
//! | input_tokens | int64, N | |
//! | input_positions | int64, N | |
//! | slot_mapping | int64, N | |
//! | seq_lens | int32, S | |
//! | context_lens | int32, S | |
//! | block_tables | int32, a multiple of S | absent for fresh prompts without chunked prefill |
//! | query_start_loc | int32, S + 1 | |
//! | seq_start_loc | int32, S + 1 | |
//! | selected_token_indices | int64, R | on the last pipeline stage, unless R is 0 |

use nccltap_proto::Datatype;

/// Most tensors that a burst can have.
const HEAD: usize = 4;
const BODY: usize = 5;

/// The sizes seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Burst {
    head: Vec<u64>,
    body: Vec<u64>,
    tail: Option<u64>,
}

/// What a whole burst says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Tokens of the step, with padding.
    pub(super) tokens: u64,
    /// Sequences of the step, with padding.
    pub(super) sequences: u64,
    /// Rows of logits, `None` where this stage is not told or there are none.
    pub(super) rows: Option<u64>,
    /// Whether any sequence has blocks that are read.
    pub(super) block_tables: bool,
}

impl Burst {
    /// Takes the next tensor, `false` when no burst goes on like this.
    pub(super) fn push(&mut self, datatype: Datatype, elements: u64) -> bool {
        match datatype {
            Datatype::Int64 if self.body.is_empty() => {
                self.head.push(elements);
                self.head.len() <= HEAD
            }
            Datatype::Int64 => self.tail.replace(elements).is_none(),
            Datatype::Int32 if self.head.len() >= HEAD - 1 && self.tail.is_none() => {
                self.body.push(elements);
                self.body.len() <= BODY
            }
            _ => false,
        }
    }

    /// What it says, if it is whole.
    pub(super) fn metadata(&self) -> Option<Metadata> {
        let tokens = match *self.head.as_slice() {
            [tokens, positions, slots] if tokens == positions && tokens == slots => tokens,
            [copies, tokens, positions, slots]
                if tokens == positions && tokens == slots && copies.is_multiple_of(2) =>
            {
                tokens
            }
            _ => return None,
        };
        let (sequences, starts, block_tables) = match *self.body.as_slice() {
            [lengths, contexts, queries, starts] if lengths == contexts && queries == starts => {
                (lengths, starts, false)
            }
            [lengths, contexts, blocks, queries, starts]
                if lengths == contexts && queries == starts && blocks.is_multiple_of(lengths) =>
            {
                (lengths, starts, true)
            }
            _ => return None,
        };
        let fits = starts == sequences + 1 && sequences > 0 && sequences <= tokens;
        let rows = self.tail;
        (fits && rows.is_none_or(|rows| rows <= tokens)).then_some(Metadata {
            tokens,
            sequences,
            rows,
            block_tables,
        })
    }

    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.body.clear();
        self.tail = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Datatype::{Int32, Int64};

    fn read(tensors: &[(Datatype, u64)]) -> Option<Metadata> {
        let mut burst = Burst::default();
        let goes_on = tensors.iter().all(|(datatype, elements)| burst.push(*datatype, *elements));
        goes_on.then(|| burst.metadata())?
    }

    const PREFILL: [(Datatype, u64); 8] = [
        (Int64, 128),
        (Int64, 128),
        (Int64, 128),
        (Int32, 1),
        (Int32, 1),
        (Int32, 2),
        (Int32, 2),
        (Int64, 1),
    ];

    #[test]
    fn a_fresh_prompt_has_no_block_tables() {
        let expected = Metadata { tokens: 128, sequences: 1, rows: Some(1), block_tables: false };
        assert_eq!(read(&PREFILL), Some(expected));
        let first_stage = Metadata { rows: None, ..expected };
        assert_eq!(read(&PREFILL[..7]), Some(first_stage));
    }

    #[test]
    fn running_sequences_have_block_tables_even_when_these_are_as_long_as_the_starts() {
        for blocks in [1, 2, 9] {
            let decode = [
                (Int64, 1),
                (Int64, 1),
                (Int64, 1),
                (Int32, 1),
                (Int32, 1),
                (Int32, blocks),
                (Int32, 2),
                (Int32, 2),
                (Int64, 1),
            ];
            let expected = Metadata { tokens: 1, sequences: 1, rows: Some(1), block_tables: true };
            assert_eq!(read(&decode), Some(expected));
        }
    }

    #[test]
    fn blocks_to_copy_may_come_first() {
        let mut tensors = vec![(Int64, 6)];
        tensors.extend(PREFILL);
        assert_eq!(read(&tensors), read(&PREFILL));
        tensors[0].1 = 5;
        assert_eq!(read(&tensors), None);
    }

    #[test]
    fn anything_else_is_no_burst() {
        for missing in 0..7 {
            let mut tensors = PREFILL.to_vec();
            tensors.remove(missing);
            assert_eq!(read(&tensors), None, "without tensor {missing}");
        }
        assert_eq!(read(&[(Datatype::Bfloat16, 4)]), None);
    }
}
