//! What the mangled name of a kernel says.

use super::{Form, Kernel, ROWS, Ranks};
use crate::Datatype;

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

pub(super) fn find(name: &[u8], part: &str) -> Option<usize> {
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
    use crate::Path;
    use crate::functions::Operation;

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
}
