//! THE LIST of communication kernels: those that move data between GPUs without NCCL's host functions, which an
//! engine launches as it launches any other kernel.
//!
//! A row says by what a kernel is known, its mangled name, and what one launch of it means. Where the layout of its
//! parameters is known, a [`Form`] says which of them hold size, rank and number of ranks. A form is chosen by the end
//! of the mangled name, in which the types of all parameters stand: a release that changes them has a name that ends
//! otherwise, and its launches count with unknown size. So does a kernel for which no form is known at all.
//!
//! Numbers are part of the wire contract: a new row is added at the end, and none is taken out.

mod forms;
mod names;

pub use forms::{Form, Parameter, Ranks, Size};
pub use names::{Named, may_be};

use crate::Path;
use crate::functions::Operation;
use forms::{
    CUSTOM_ALL_REDUCE, FLASHINFER, MULTIMEM, MULTIMEM_ALL_GATHER, MULTIMEM_ONE_SHOT, ONE_SHOT,
    TWO_SHOT,
};

/// A row of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// What stands in the mangled name. The first is, or begins, the kernel's own name.
    parts: &'static [&'static str],
    path: Path,
    operation: Operation,
    forms: &'static [Form],
}

const fn row(
    parts: &'static [&'static str],
    path: Path,
    operation: Operation,
    forms: &'static [Form],
) -> Row {
    Row { parts, path, operation, forms }
}

/// The first row that fits is the kernel's.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(&["cross_device_reduce_1stage"], Path::CustomAllReduce, Operation::AllReduce, CUSTOM_ALL_REDUCE),
    row(&["cross_device_reduce_2stage"], Path::CustomAllReduce, Operation::AllReduce, CUSTOM_ALL_REDUCE),
    row(&["cross_device_reduce"], Path::CustomAllReduce, Operation::AllReduce, &[]),
    row(&["allreduce_prototype"], Path::QuickReduce, Operation::AllReduce, &[]),
    row(&["multimem_all_reduce_kernel"], Path::SymmMemMultimem, Operation::AllReduce, MULTIMEM),
    row(&["multimem_one_shot_all_reduce_kernel"], Path::SymmMemMultimem, Operation::AllReduce, MULTIMEM_ONE_SHOT),
    row(&["multimem_one_shot_reduce_kernel"], Path::SymmMemMultimem, Operation::AllReduce, MULTIMEM_ONE_SHOT),
    row(&["multimem_all_gather_kernel"], Path::SymmMemMultimem, Operation::AllGather, MULTIMEM_ALL_GATHER),
    row(&["one_shot_all_reduce_kernel"], Path::SymmMemOneShot, Operation::AllReduce, ONE_SHOT),
    row(&["two_shot_all_reduce_kernel", "ELb1ELb"], Path::SymmMemTwoShot, Operation::ReduceScatter, &[]),
    row(&["two_shot_all_reduce_kernel"], Path::SymmMemTwoShot, Operation::AllReduce, TWO_SHOT),
    row(&["moereduce_allreduce_fusion_kernel"], Path::FlashInferFused, Operation::AllReduce, &[]),
    row(&["moefinalize_allreduce_fusion_kernel"], Path::FlashInferFused, Operation::AllReduce, &[]),
    row(&["allreduce_fusion_kernel", "22AllReduceFusionPatternE0E"], Path::FlashInfer, Operation::AllReduce, FLASHINFER),
    row(&["allreduce_fusion_kernel"], Path::FlashInferFused, Operation::AllReduce, FLASHINFER),
    row(&["oneshotAllreduceFusionKernel"], Path::FlashInferFused, Operation::AllReduce, &[]),
    row(&["twoshotAllreduceKernel"], Path::FlashInfer, Operation::AllReduce, &[]),
    row(&["oneShotAllReduceKernel"], Path::FlashInfer, Operation::AllReduce, &[]),
    row(&["twoShotAllReduceKernel"], Path::FlashInfer, Operation::AllReduce, &[]),
    row(&["lamport_style_one_shot_all_reduce_norm_kernel"], Path::FlashInferFused, Operation::AllReduce, &[]),
    row(&["one_shot_all_reduce_norm_kernel"], Path::FlashInferFused, Operation::AllReduce, &[]),
    row(&["one_shot_prenorm_all_reduce_norm_kernel"], Path::FlashInferFused, Operation::AllReduce, &[]),
    row(&["moeAllToAllKernel"], Path::FlashInferAlltoAll, Operation::AlltoAll, &[]),
    row(&["moeA2ADispatchKernel"], Path::FlashInferAlltoAll, Operation::AlltoAll, &[]),
    row(&["moeA2ACombineKernel"], Path::FlashInferAlltoAll, Operation::AlltoAll, &[]),
    row(&["8dispatchI", "7deep_ep11internode_ll"], Path::DeepEpLowLatency, Operation::AlltoAll, &[]),
    row(&["7combineI", "7deep_ep11internode_ll"], Path::DeepEpLowLatency, Operation::AlltoAll, &[]),
    row(&["8dispatchI", "7deep_ep"], Path::DeepEpHighThroughput, Operation::AlltoAll, &[]),
    row(&["7combineI", "7deep_ep"], Path::DeepEpHighThroughput, Operation::AlltoAll, &[]),
];

/// A communication kernel: a row of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kernel(u8);

const _: () = assert!(ROWS.len() < u8::MAX as usize);

impl Kernel {
    /// Every kernel.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..ROWS.len()).map(|row| Self(row as u8))
    }

    /// The number that stands for it on the wire, from 1.
    pub const fn id(self) -> u8 {
        self.0 + 1
    }

    /// The kernel with this number.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id.checked_sub(1) {
            Some(row) if (row as usize) < ROWS.len() => Some(Self(row)),
            _ => None,
        }
    }

    fn row(self) -> &'static Row {
        // Made from a row's own number alone.
        ROWS.get(usize::from(self.0)).unwrap_or(&ROWS[0])
    }

    /// The part of the mangled name by which it is known.
    pub fn part(self) -> &'static str {
        self.row().parts.first().copied().unwrap_or_default()
    }

    /// The way it takes.
    pub fn path(self) -> Path {
        self.row().path
    }

    /// What one launch does, in NCCL's words.
    pub fn operation(self) -> Operation {
        self.row().operation
    }

    /// The layouts of its parameters that are known.
    pub fn forms(self) -> &'static [Form] {
        self.row().forms
    }

    /// The kernel with this mangled name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::all()
            .find(|kernel| kernel.row().parts.iter().all(|part| names::find(name, part).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_kernel() {
        for kernel in Kernel::all() {
            assert_eq!(Kernel::from_id(kernel.id()), Some(kernel));
            assert!(may_be(kernel.part().as_bytes()), "{}", kernel.part());
        }
        assert_eq!(Kernel::from_id(0), None);
        assert_eq!(Kernel::from_id(ROWS.len() as u8 + 1), None);
    }
}
