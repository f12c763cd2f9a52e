//! The ways that data takes between GPUs.

/// The way that data takes between GPUs. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// Through NCCL's host functions.
    Nccl,
    /// Through oneCCL's host functions.
    OneCcl,
    /// The custom all-reduce of vLLM and SGLang, over memory that the ranks share by CUDA IPC.
    CustomAllReduce,
    /// QuickReduce, vLLM's all-reduce that quantises on the way (AMD).
    QuickReduce,
    /// PyTorch's symmetric memory, by the multicast of NVSwitch.
    SymmMemMultimem,
    /// PyTorch's symmetric memory, each rank reading all of the others.
    SymmMemOneShot,
    /// PyTorch's symmetric memory, each rank reducing its part.
    SymmMemTwoShot,
    /// FlashInfer's all-reduce.
    FlashInfer,
    /// FlashInfer's all-reduce with RMSNorm and what follows it in the same kernel.
    FlashInferFused,
    /// FlashInfer's exchange of tokens between experts.
    FlashInferAlltoAll,
    /// DeepEP's exchange of tokens between experts, for throughput.
    DeepEpHighThroughput,
    /// DeepEP's exchange of tokens between experts, for latency.
    DeepEpLowLatency,
    /// CUDA's copies that name both GPUs.
    PeerCopy,
}

impl Path {
    /// Every path.
    pub const ALL: [Self; 13] = [
        Self::Nccl,
        Self::OneCcl,
        Self::CustomAllReduce,
        Self::QuickReduce,
        Self::SymmMemMultimem,
        Self::SymmMemOneShot,
        Self::SymmMemTwoShot,
        Self::FlashInfer,
        Self::FlashInferFused,
        Self::FlashInferAlltoAll,
        Self::DeepEpHighThroughput,
        Self::DeepEpLowLatency,
        Self::PeerCopy,
    ];

    /// The name in reports and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nccl => "nccl",
            Self::OneCcl => "oneccl",
            Self::CustomAllReduce => "custom_all_reduce",
            Self::QuickReduce => "quick_reduce",
            Self::SymmMemMultimem => "symm_mem_multimem",
            Self::SymmMemOneShot => "symm_mem_one_shot",
            Self::SymmMemTwoShot => "symm_mem_two_shot",
            Self::FlashInfer => "flashinfer",
            Self::FlashInferFused => "flashinfer_fused",
            Self::FlashInferAlltoAll => "flashinfer_all_to_all",
            Self::DeepEpHighThroughput => "deepep_ht",
            Self::DeepEpLowLatency => "deepep_ll",
            Self::PeerCopy => "peer_copy",
        }
    }

    /// The path with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.name() == name)
    }

    /// Whether it is the way of kernels that carry out collectives in place of NCCL.
    pub const fn is_of_kernels(self) -> bool {
        !matches!(self, Self::Nccl | Self::OneCcl | Self::PeerCopy)
    }
}
