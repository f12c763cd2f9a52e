//! The packages whose libraries are simulated.

/// Packages that an engine asks for and that are not installed: CUDA, cuDNN, NCCL, and what holds
/// compiled kernels for GPUs and nothing else. Each stands for itself and for the variants
/// `-cu12` and `-cu13`.
pub const LEFT_OUT: &[&str] = &[
    "flashinfer-cubin",
    "flashinfer-jit-cache",
    "nvidia-cublas",
    "nvidia-cuda-cccl",
    "nvidia-cuda-crt",
    "nvidia-cuda-culibos",
    "nvidia-cuda-cupti",
    "nvidia-cuda-nvcc",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-profiler-api",
    "nvidia-cuda-runtime",
    "nvidia-cudnn",
    "nvidia-cufft",
    "nvidia-cufile",
    "nvidia-curand",
    "nvidia-cusolver",
    "nvidia-cusparse",
    "nvidia-cusparselt",
    "nvidia-nccl",
    "nvidia-nvimgcodec",
    "nvidia-nvjitlink",
    "nvidia-nvshmem",
    "nvidia-nvtx",
    "nvidia-nvvm",
];

/// Packages that are left out under this one name.
const LEFT_OUT_AS_NAMED: &[&str] = &["cupy-cuda12x", "cupy-cuda13x"];

/// The override file for uv: each package asked for only under a Python that nobody has.
pub fn overrides() -> String {
    let variants = LEFT_OUT
        .iter()
        .flat_map(|name| ["", "-cu12", "-cu13"].map(|variant| format!("{name}{variant}")));
    let named = LEFT_OUT_AS_NAMED.iter().map(|name| (*name).to_owned());
    variants.chain(named).map(|name| format!("{name}; python_version < \"3\"\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_asked_for_only_under_a_python_that_nobody_has() {
        let text = overrides();
        for name in ["nvidia-nccl-cu12", "nvidia-nccl-cu13", "nvidia-cublas", "cupy-cuda12x"] {
            assert!(text.contains(&format!("\n{name}; python_version < \"3\"\n")), "{name}");
        }
        assert!(text.lines().all(|line| line.ends_with("; python_version < \"3\"")));
    }
}
