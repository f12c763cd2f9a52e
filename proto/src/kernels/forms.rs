//! Layouts of parameters: where a launch says how much it moves, and who takes part.

/// An integer among the parameters of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Which parameter, from 0.
    pub index: usize,
    /// Where in it, for a structure.
    pub offset: usize,
    /// Its width in bytes: 4 or 8.
    pub bytes: usize,
}

const fn int(index: usize) -> Parameter {
    Parameter { index, offset: 0, bytes: 4 }
}

const fn size_t(index: usize) -> Parameter {
    Parameter { index, offset: 0, bytes: 8 }
}

const fn member(index: usize, offset: usize) -> Parameter {
    Parameter { index, offset, bytes: 4 }
}

/// Where a launch says how much it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Elements of the data type that the name says.
    Elements(Parameter),
    /// Packs of 16 bytes of that data type.
    Packs(Parameter),
    /// Bytes, whatever they are: counted as `uint8`.
    Bytes(Parameter),
}

/// Where it stands how many ranks take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranks {
    /// The first integer among the arguments of the template.
    Template,
    /// This parameter.
    Parameter(Parameter),
}

/// A layout of a kernel's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// How the mangled name ends.
    pub ends: &'static [&'static str],
    /// How much one rank puts in, by NCCL's rules for the operation.
    pub size: Size,
    /// The calling rank.
    pub rank: Parameter,
    /// All ranks.
    pub ranks: Ranks,
}

/// `cross_device_reduce_{1,2}stage<T, ngpus>(RankData *, RankSignals, Signal *, T *result, int rank, int size)` of
/// vLLM's `csrc/custom_all_reduce.cuh`: in all of 0.8.5, 0.11, 0.20 and 0.32, and in SGLang 0.5.
pub(super) const CUSTOM_ALL_REDUCE: &[Form] = &[Form {
    ends: &["EvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii"],
    size: Size::Packs(int(5)),
    rank: int(4),
    ranks: Ranks::Template,
}];

/// `(T *multicast, size_t numel, uint32_t **pads, size_t rank, size_t world)` of PyTorch's
/// `CUDASymmetricMemoryOps.cu`; this and those below: 2.6, 2.8, 2.11, 2.13.
pub(super) const MULTIMEM: &[Form] = &[Form {
    ends: &["EvPT_mPPjmm"],
    size: Size::Elements(size_t(1)),
    rank: size_t(3),
    ranks: Ranks::Parameter(size_t(4)),
}];

/// `(T *multicast, T *output, size_t numel, uint32_t **pads, size_t rank, size_t world[, long root])`.
pub(super) const MULTIMEM_ONE_SHOT: &[Form] = &[Form {
    ends: &["EvPT_S2_mPPjmm", "EvPT_S4_mPPjmm", "EvPT_S2_mPPjmml", "EvPT_S4_mPPjmml"],
    size: Size::Elements(size_t(2)),
    rank: size_t(4),
    ranks: Ranks::Parameter(size_t(5)),
}];

/// `(char *input, char *multicast, size_t bytes, uint32_t **pads, size_t rank, size_t world)`.
pub(super) const MULTIMEM_ALL_GATHER: &[Form] = &[Form {
    ends: &["EvPcS1_mPPjmm"],
    size: Size::Bytes(size_t(2)),
    rank: size_t(4),
    ranks: Ranks::Parameter(size_t(5)),
}];

/// `(T **inputs, T *output, [T *input,] size_t offset, size_t numel, uint32_t **pads, size_t rank, size_t world)`.
pub(super) const ONE_SHOT: &[Form] = &[
    Form {
        ends: &["EvPPT_S2_mmPPjmm", "EvPPT_S4_mmPPjmm"],
        size: Size::Elements(size_t(3)),
        rank: size_t(5),
        ranks: Ranks::Parameter(size_t(6)),
    },
    Form {
        ends: &["EvPPT_S2_S2_mmPPjmm", "EvPPT_S4_S4_mmPPjmm"],
        size: Size::Elements(size_t(4)),
        rank: size_t(6),
        ranks: Ranks::Parameter(size_t(7)),
    },
];

/// `(T **inputs, [T *output,] size_t offset, size_t numel, uint32_t **pads, size_t rank, size_t world[, size_t])`.
pub(super) const TWO_SHOT: &[Form] = &[
    Form {
        ends: &["EvPPT_mmPPjmm"],
        size: Size::Elements(size_t(2)),
        rank: size_t(4),
        ranks: Ranks::Parameter(size_t(5)),
    },
    Form {
        ends: &["EvPPT_S2_mmPPjmmm", "EvPPT_S4_mmPPjmmm"],
        size: Size::Elements(size_t(3)),
        rank: size_t(5),
        ranks: Ranks::Parameter(size_t(6)),
    },
];

/// `AllReduceFusionParams<T>` of FlashInfer's `trtllm_allreduce_fusion.cuh` begins with nranks, rank, size and
/// hidden_dim in 0.5, 0.6 and 0.7; a second kernel has the tokens of each rank behind it.
pub(super) const FLASHINFER: &[Form] = &[Form {
    ends: &["21AllReduceFusionParamsIT0_EE", "21AllReduceFusionParamsIT0_EESt5arrayIiXT1_EES8_"],
    size: Size::Elements(member(0, 8)),
    rank: member(0, 4),
    ranks: Ranks::Parameter(member(0, 0)),
}];
