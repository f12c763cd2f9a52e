//! All-reduce backends: what an engine may give an all-reduce to, and by which paths the tap sees what it does.

use crate::Path;

/// What an engine gives an all-reduce to, by vLLM's words. `agent/include/nccltap.h` has the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Backend {
    /// vLLM's wrapper of NCCL.
    Pynccl = 1,
    /// The custom all-reduce of vLLM and SGLang.
    Custom = 2,
    /// QuickReduce.
    QuickReduce = 3,
    /// PyTorch's symmetric memory.
    SymmMem = 4,
    /// FlashInfer's all-reduce.
    FlashInfer = 5,
    /// FlashInfer's all-reduce with what follows it in the same kernel.
    FlashInferFused = 6,
}

impl Backend {
    /// Every backend, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Pynccl,
        Self::Custom,
        Self::QuickReduce,
        Self::SymmMem,
        Self::FlashInfer,
        Self::FlashInferFused,
    ];

    /// The number that stands for it.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The backend with this number, or `None`.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.id() == id)
    }

    /// The name in reports and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pynccl => "pynccl",
            Self::Custom => "custom",
            Self::QuickReduce => "quick_reduce",
            Self::SymmMem => "symm_mem",
            Self::FlashInfer => "flashinfer",
            Self::FlashInferFused => "flashinfer_fused",
        }
    }

    /// The paths by which its all-reduces go.
    pub const fn paths(self) -> &'static [Path] {
        match self {
            Self::Pynccl => &[Path::Nccl],
            Self::Custom => &[Path::CustomAllReduce],
            Self::QuickReduce => &[Path::QuickReduce],
            Self::SymmMem => &[Path::SymmMemMultimem, Path::SymmMemOneShot, Path::SymmMemTwoShot],
            Self::FlashInfer => &[Path::FlashInfer],
            Self::FlashInferFused => &[Path::FlashInferFused],
        }
    }

    /// The backend whose all-reduces go by `path`, or `None` for one that has no all-reduce.
    pub fn of(path: Path) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.paths().contains(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_of_one_backend_at_most() {
        for path in Path::ALL {
            let backends = Backend::ALL.iter().filter(|backend| backend.paths().contains(&path));
            assert!(backends.count() <= 1, "{}", path.name());
        }
    }

    #[test]
    fn numbers_lead_back_to_their_backend() {
        for (backend, number) in Backend::ALL.into_iter().zip(1..) {
            assert_eq!((backend.id(), Backend::from_id(number)), (number, Some(backend)));
        }
        assert_eq!((Backend::from_id(0), Backend::from_id(7)), (None, None));
    }
}
