//! THE LIST of communication kernels: those that move data between GPUs without NCCL's host functions, which an
//! engine launches as it launches any other kernel.
//!
//! A row says by what a kernel is known, its mangled name, and what one launch of it means. Where the layout of its
//! parameters is known, a [`Form`] says which of them hold size, rank and number of ranks. A form is chosen by the end
//! of the mangled name, in which the types of all parameters stand: a release that changes them has a name that ends
//! otherwise, and its launches count with unknown size. So does a kernel for which no form is known at all.
//!
//! Numbers are part of the wire contract: a new row is added at the end, and none is taken out.

use crate::Datatype;
use crate::functions::Operation;

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

/// A row of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// What stands in the mangled name. The first is, or begins, the kernel's own name.
    parts: &'static [&'static str],
    path: Path,
    operation: Operation,
    forms: &'static [Form],
}

/// `cross_device_reduce_{1,2}stage<T, ngpus>(RankData *, RankSignals, Signal *, T *result, int rank, int size)` of
/// vLLM's `csrc/custom_all_reduce.cuh`: in all of 0.8.5, 0.11, 0.20 and 0.32, and in SGLang 0.5.
const CUSTOM_ALL_REDUCE: &[Form] = &[Form {
    ends: &["EvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii"],
    size: Size::Packs(int(5)),
    rank: int(4),
    ranks: Ranks::Template,
}];

/// `(T *multicast, size_t numel, uint32_t **pads, size_t rank, size_t world)` of PyTorch's
/// `CUDASymmetricMemoryOps.cu`; this and those below: 2.6, 2.8, 2.11, 2.13.
const MULTIMEM: &[Form] = &[Form {
    ends: &["EvPT_mPPjmm"],
    size: Size::Elements(size_t(1)),
    rank: size_t(3),
    ranks: Ranks::Parameter(size_t(4)),
}];

/// `(T *multicast, T *output, size_t numel, uint32_t **pads, size_t rank, size_t world[, long root])`.
const MULTIMEM_ONE_SHOT: &[Form] = &[Form {
    ends: &["EvPT_S2_mPPjmm", "EvPT_S4_mPPjmm", "EvPT_S2_mPPjmml", "EvPT_S4_mPPjmml"],
    size: Size::Elements(size_t(2)),
    rank: size_t(4),
    ranks: Ranks::Parameter(size_t(5)),
}];

/// `(char *input, char *multicast, size_t bytes, uint32_t **pads, size_t rank, size_t world)`.
const MULTIMEM_ALL_GATHER: &[Form] = &[Form {
    ends: &["EvPcS1_mPPjmm"],
    size: Size::Bytes(size_t(2)),
    rank: size_t(4),
    ranks: Ranks::Parameter(size_t(5)),
}];

/// `(T **inputs, T *output, [T *input,] size_t offset, size_t numel, uint32_t **pads, size_t rank, size_t world)`.
const ONE_SHOT: &[Form] = &[
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
const TWO_SHOT: &[Form] = &[
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
const FLASHINFER: &[Form] = &[Form {
    ends: &["21AllReduceFusionParamsIT0_EE", "21AllReduceFusionParamsIT0_EESt5arrayIiXT1_EES8_"],
    size: Size::Elements(member(0, 8)),
    rank: member(0, 4),
    ranks: Ranks::Parameter(member(0, 0)),
}];

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
        Self::all().find(|kernel| kernel.row().parts.iter().all(|part| find(name, part).is_some()))
    }
}

/// What a mangled name says of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which it is.
    pub kernel: Kernel,
    /// What it works on, where the template says it.
    pub datatype: Option<Datatype>,
    /// How many ranks take part, where the template says it.
    pub ranks: Option<u16>,
    /// The layout of its parameters.
    pub form: Option<&'static Form>,
}

impl Named {
    /// Reads a mangled name. `None` when it is no communication kernel's.
    pub fn of(name: &[u8]) -> Option<Self> {
        let kernel = Kernel::named(name)?;
        let end = |form: &&Form| form.ends.iter().any(|end| name.ends_with(end.as_bytes()));
        let form = kernel.forms().iter().find(end);
        let template = template(name, kernel.part());
        let datatype = template.and_then(datatype);
        let by_template = form.is_some_and(|form| form.ranks == Ranks::Template);
        let ranks = template.filter(|_| by_template).and_then(first_integer);
        Some(Self { kernel, datatype, ranks, form })
    }
}

/// The arguments of the template: what follows the kernel's own name, whose length stands before it.
fn template<'a>(name: &'a [u8], part: &str) -> Option<&'a [u8]> {
    let at = find(name, part)?;
    let (before, own) = name.split_at(at);
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    // The name of an unnamed namespace may end in digits itself.
    (1..=digits.min(3)).find_map(|digits| {
        let digits = before.get(before.len() - digits..)?;
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (length >= part.len()).then(|| own.get(length..)?.strip_prefix(b"I"))?
    })
}

/// The data type among the arguments of a template.
fn datatype(template: &[u8]) -> Option<Datatype> {
    const NAMES: [(&str, Datatype); 5] = [
        ("13__nv_bfloat16", Datatype::Bfloat16),
        ("N3c108BFloat16E", Datatype::Bfloat16),
        ("14__hip_bfloat16", Datatype::Bfloat16),
        ("6__half", Datatype::Float16),
        ("N3c104HalfE", Datatype::Float16),
    ];
    if template.starts_with(b"f") {
        return Some(Datatype::Float32);
    }
    let found = NAMES.iter().filter_map(|(name, kind)| Some((find(template, name)?, *kind)));
    found.min_by_key(|(at, _)| *at).map(|(_, kind)| kind)
}

/// The first integer among the arguments of a template: `Li2E` is 2.
fn first_integer(template: &[u8]) -> Option<u16> {
    let digits = template.get(find(template, "Li")? + 2..)?;
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(digits.get(..length)?).ok()?.parse().ok()
}

fn find(name: &[u8], part: &str) -> Option<usize> {
    name.windows(part.len()).position(|window| window == part.as_bytes())
}

/// Whether a name may be that of a communication kernel. Wrong now and then, but never when it says no; and quick,
/// since an engine registers some thirty thousand kernels as it starts.
pub fn may_be(name: &[u8]) -> bool {
    name.windows(4).any(|four| {
        let [a, b, c, d] = *four else { return false };
        let key = key([a, b, c, d]);
        STARTS[key / 64] & 1 << (key % 64) != 0
    })
}

/// By what [`may_be`] finds the first four letters of a row's part.
const fn key(four: [u8; 4]) -> usize {
    (u32::from_le_bytes(four).wrapping_mul(0x9e37_79b1) >> 20) as usize
}

static STARTS: [u64; 64] = {
    let mut starts = [0u64; 64];
    let mut row = 0;
    while row < ROWS.len() {
        let part = ROWS[row].parts[0].as_bytes();
        let key = key([part[0], part[1], part[2], part[3]]);
        starts[key / 64] |= 1 << (key % 64);
        row += 1;
    }
    starts
};

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Named {
        Named::of(name.as_bytes()).unwrap_or_else(|| panic!("{name} is on the list"))
    }

    /// A mangled name, and what follows from it: the function, its path, data type and number of ranks.
    type Known = (&'static str, &'static str, Path, Option<Datatype>, Option<u16>);

    /// Names as they stand in the wheels of vLLM 0.8.5 and 0.20, PyTorch 2.6 to 2.13 and what FlashInfer compiles.
    const KNOWN: [Known; 12] = [
        (
            "_ZN4vllm26cross_device_reduce_1stageI13__nv_bfloat16Li2EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii",
            "cross_device_reduce_1stage",
            Path::CustomAllReduce,
            Some(Datatype::Bfloat16),
            Some(2),
        ),
        (
            "_ZN4vllm26cross_device_reduce_2stageI6__halfLi8EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii",
            "cross_device_reduce_2stage",
            Path::CustomAllReduce,
            Some(Datatype::Float16),
            Some(8),
        ),
        (
            "_ZN4vllm26cross_device_reduce_1stageIfLi4EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii",
            "cross_device_reduce_1stage",
            Path::CustomAllReduce,
            Some(Datatype::Float32),
            Some(4),
        ),
        (
            "_ZN64_GLOBAL__N__62167398_25_CUDASymmetricMemoryOps_cu_70c0f2ac_1350726multimem_all_reduce_kernelIN3c108BFloat16ELi8EEEvPT_mPPjmm",
            "multimem_all_reduce_kernel",
            Path::SymmMemMultimem,
            Some(Datatype::Bfloat16),
            None,
        ),
        (
            "_ZN64_GLOBAL__N__62167398_25_CUDASymmetricMemoryOps_cu_70c0f2ac_1350731multimem_one_shot_reduce_kernelIN3c108BFloat16ELi8EEEvPT_S4_mPPjmml",
            "multimem_one_shot_reduce_kernel",
            Path::SymmMemMultimem,
            Some(Datatype::Bfloat16),
            None,
        ),
        (
            "_ZN64_GLOBAL__N__62167398_25_CUDASymmetricMemoryOps_cu_70c0f2ac_1350726one_shot_all_reduce_kernelIfLi16ELin1EEEvPPT_S2_S2_mmPPjmm",
            "one_shot_all_reduce_kernel",
            Path::SymmMemOneShot,
            Some(Datatype::Float32),
            None,
        ),
        (
            "_ZN64_GLOBAL__N__62167398_25_CUDASymmetricMemoryOps_cu_70c0f2ac_1350734two_shot_all_reduce_kernel_inplaceIN3c108BFloat16ELi4ELi2EEEvPPT_mmPPjmm",
            "two_shot_all_reduce_kernel",
            Path::SymmMemTwoShot,
            Some(Datatype::Bfloat16),
            None,
        ),
        (
            "_ZN64_GLOBAL__N__62167398_25_CUDASymmetricMemoryOps_cu_70c0f2ac_1350726two_shot_all_reduce_kernelIfLi8ELi2ELb0ELb0EEEvPPT_S2_mmPPjmmm",
            "two_shot_all_reduce_kernel",
            Path::SymmMemTwoShot,
            Some(Datatype::Float32),
            None,
        ),
        (
            "_ZN64_GLOBAL__N__62167398_25_CUDASymmetricMemoryOps_cu_70c0f2ac_1350726multimem_all_gather_kernelILi16EEEvPcS1_mPPjmm",
            "multimem_all_gather_kernel",
            Path::SymmMemMultimem,
            None,
            None,
        ),
        (
            "_ZN10flashinfer23trtllm_allreduce_fusion39allreduce_fusion_kernel_oneshot_lamportILNS0_22AllReduceFusionPatternE1E13__nv_bfloat16Li2ELb1ELb0EEEvNS0_21AllReduceFusionParamsIT0_EE",
            "allreduce_fusion_kernel",
            Path::FlashInferFused,
            Some(Datatype::Bfloat16),
            None,
        ),
        (
            "_ZN10flashinfer23trtllm_allreduce_fusion39allreduce_fusion_kernel_oneshot_lamportILNS0_22AllReduceFusionPatternE0E6__halfLi2ELb1ELb0EEEvNS0_21AllReduceFusionParamsIT0_EE",
            "allreduce_fusion_kernel",
            Path::FlashInfer,
            Some(Datatype::Float16),
            None,
        ),
        (
            "_ZN64_GLOBAL__N__2e5bd4ec_25_CUDASymmetricMemoryOps_cu_70c0f2ac_2383126two_shot_all_reduce_kernelIfLi8ELi2EEEvPPT_mmPPjmm",
            "two_shot_all_reduce_kernel",
            Path::SymmMemTwoShot,
            Some(Datatype::Float32),
            None,
        ),
    ];

    #[test]
    fn names_of_releases_say_path_data_type_ranks_and_layout() {
        for (name, part, path, datatype, ranks) in KNOWN {
            let named = of(name);
            assert!(may_be(name.as_bytes()), "{name}");
            assert_eq!((named.kernel.part(), named.kernel.path()), (part, path), "{name}");
            assert_eq!((named.datatype, named.ranks), (datatype, ranks), "{name}");
            assert!(named.form.is_some(), "{name}");
        }
    }

    #[test]
    fn a_kernel_whose_parameters_have_changed_has_no_layout() {
        let name = "_ZN4vllm26cross_device_reduce_1stageI13__nv_bfloat16Li2EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_iij";
        assert_eq!((of(name).form, of(name).ranks), (None, None));
        assert_eq!(of(name).datatype, Some(Datatype::Bfloat16));
        let another = "_ZN4vllm26cross_device_reduce_3stageIfLi2EEEvPT_ii";
        assert_eq!(of(another).kernel.part(), "cross_device_reduce");
        assert_eq!(of(another).form, None);
    }

    #[test]
    fn what_a_two_shot_kernel_is_the_template_says() {
        let name =
            "_ZN12_GLOBAL__N_126two_shot_all_reduce_kernelIfLi8ELi2ELb1ELb0EEEvPPT_S2_mmPPjmmm";
        assert_eq!(of(name).kernel.operation(), Operation::ReduceScatter);
    }

    #[test]
    fn the_kernels_of_deepep_are_told_apart() {
        let low = "_ZN7deep_ep11internode_ll8dispatchILb1ELb0ELi7168EEEvPvS1_Pi";
        let high = "_ZN7deep_ep9intranode7combineI13__nv_bfloat16Li8ELi768ELi4096EEEvPT_Pf";
        assert_eq!(of(low).kernel.path(), Path::DeepEpLowLatency);
        assert_eq!(of(high).kernel.path(), Path::DeepEpHighThroughput);
        let other = "_ZN7deep_ep9intranode15notify_dispatchILi8EEEvPKiPiS2_";
        assert_eq!(Named::of(other.as_bytes()), None, "it moves counts alone");
    }

    #[test]
    fn other_kernels_are_not_on_the_list() {
        for name in [
            "_ZN4vllm15rms_norm_kernelIN3c108BFloat16ELi8EEEvPT_PKS3_S6_fii",
            "_ZN2at6native13reduce_kernelILi512ELi1ENS0_8ReduceOpIfNS0_10NormTwoOpsIffffEEjfLi4ELi4EEEEEvT1_",
            "triton_red_fused_add_mean_3",
            "",
            "_Z",
        ] {
            assert_eq!(Named::of(name.as_bytes()), None, "{name}");
        }
    }

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
