//! The GPUs that simulated devices can be, once: the C sources get this table from `build.rs`.
//!
//! Figures are from NVIDIA's data sheets and the CUDA programming guide; memory is what `nvidia-smi`
//! shows of such a GPU.

/// One kind of GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuProfile {
    /// What to call it by: the value of `NCCLTAP_REHEARSAL_GPU`.
    pub key: &'static str,
    /// As CUDA and NVML name it.
    pub name: &'static str,
    /// Compute capability.
    pub compute_capability: (u32, u32),
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// L2 cache, in KiB.
    pub l2_kib: u32,
    /// Shared memory of a multiprocessor, in KiB.
    pub shared_per_multiprocessor_kib: u32,
    /// The most shared memory that a block can ask for, in KiB.
    pub shared_per_block_kib: u32,
    /// Highest clock, in kHz.
    pub clock_khz: u32,
    /// Clock of the memory, in kHz.
    pub memory_clock_khz: u32,
    /// Width of the memory bus, in bits.
    pub memory_bus_bits: u32,
    /// NVLinks, and their version.
    pub nvlinks: (u32, u32),
    /// CUDA cores.
    pub cores: u32,
    /// `nvmlDeviceArchitecture_t`.
    pub architecture: u32,
}

/// All profiles.
pub const PROFILES: [GpuProfile; 4] = [
    GpuProfile {
        key: "h100",
        name: "NVIDIA H100 80GB HBM3",
        compute_capability: (9, 0),
        memory_mib: 81559,
        multiprocessors: 132,
        l2_kib: 50 * 1024,
        shared_per_multiprocessor_kib: 228,
        shared_per_block_kib: 227,
        clock_khz: 1_980_000,
        memory_clock_khz: 2_619_000,
        memory_bus_bits: 5120,
        nvlinks: (18, 4),
        cores: 16896,
        architecture: 9,
    },
    GpuProfile {
        key: "h200",
        name: "NVIDIA H200",
        compute_capability: (9, 0),
        memory_mib: 143_771,
        multiprocessors: 132,
        l2_kib: 60 * 1024,
        shared_per_multiprocessor_kib: 228,
        shared_per_block_kib: 227,
        clock_khz: 1_980_000,
        memory_clock_khz: 3_201_000,
        memory_bus_bits: 6144,
        nvlinks: (18, 4),
        cores: 16896,
        architecture: 9,
    },
    GpuProfile {
        key: "a100",
        name: "NVIDIA A100-SXM4-80GB",
        compute_capability: (8, 0),
        memory_mib: 81920,
        multiprocessors: 108,
        l2_kib: 40 * 1024,
        shared_per_multiprocessor_kib: 164,
        shared_per_block_kib: 163,
        clock_khz: 1_410_000,
        memory_clock_khz: 1_593_000,
        memory_bus_bits: 5120,
        nvlinks: (12, 3),
        cores: 6912,
        architecture: 7,
    },
    GpuProfile {
        key: "b200",
        name: "NVIDIA B200",
        compute_capability: (10, 0),
        memory_mib: 183_359,
        multiprocessors: 148,
        l2_kib: 126 * 1024,
        shared_per_multiprocessor_kib: 228,
        shared_per_block_kib: 227,
        clock_khz: 1_965_000,
        memory_clock_khz: 3_996_000,
        memory_bus_bits: 8192,
        nvlinks: (18, 5),
        cores: 18944,
        architecture: 10,
    },
];

/// The profile of this key.
pub fn find(key: &str) -> Option<&'static GpuProfile> {
    PROFILES.iter().find(|profile| profile.key == key)
}
