//! The machines: GPUs, nodes, and what connects them.

use super::collectives::{Generation, Link};
use serde::Deserialize;
use std::fmt;

/// A kind of GPU, by its datasheet. A roofline is drawn at these peaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    /// The name on the command line.
    pub name: &'static str,
    /// NCCL's constants differ between them.
    pub generation: Generation,
    /// Bytes of memory.
    pub memory: f64,
    /// Bytes per second from memory.
    pub memory_bandwidth: f64,
    /// Operations per second of dense 16-bit matrix products.
    pub flops: f64,
    /// Bytes per second that NCCL counts for all NVLinks of one GPU, in one direction: links times
    /// `SM80_NVLINK_BW` or `SM90_NVLINK_BW` (`graph/topo.h`).
    pub nvlink: f64,
}

const GB: f64 = 1e9;
const TERA: f64 = 1e12;

/// NVIDIA's datasheets of the A100 80GB SXM, the H100 SXM and the H200 SXM, dense figures. The H100
/// with 94 GB is the paper's, with the bandwidth of the H100 SXM.
pub const GPUS: [Gpu; 4] = [
    Gpu {
        name: "a100-sxm",
        generation: Generation::Ampere,
        memory: 80.0 * GB,
        memory_bandwidth: 2.039 * TERA,
        flops: 312.0 * TERA,
        nvlink: 12.0 * 20.0 * GB,
    },
    Gpu {
        name: "h100-sxm",
        generation: Generation::Hopper,
        memory: 80.0 * GB,
        memory_bandwidth: 3.35 * TERA,
        flops: 989.0 * TERA,
        nvlink: 18.0 * 20.6 * GB,
    },
    Gpu {
        name: "h100-94gb",
        generation: Generation::Hopper,
        memory: 94.0 * GB,
        memory_bandwidth: 3.35 * TERA,
        flops: 989.0 * TERA,
        nvlink: 18.0 * 20.6 * GB,
    },
    Gpu {
        name: "h200-sxm",
        generation: Generation::Hopper,
        memory: 141.0 * GB,
        memory_bandwidth: 4.8 * TERA,
        flops: 989.0 * TERA,
        nvlink: 18.0 * 20.6 * GB,
    },
];

/// A cluster, as a preset or a file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its GPUs, all alike.
    pub gpu: Gpu,
    /// GPUs of one node.
    pub gpus_per_node: u32,
    /// Nodes.
    pub nodes: u32,
    /// Inside a node.
    pub nvlink: Link,
    /// Between nodes.
    pub network: Link,
    /// What no datasheet says.
    pub measured: Measured,
}

/// Costs that were measured, and are otherwise left out. A datasheet says nothing about them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Seconds that a step takes longer for each pipeline boundary between nodes.
    pub boundary_between_nodes: f64,
    /// Seconds to make the communicator of a pipeline boundary, at its first use.
    pub communicator: f64,
    /// The share of the peak that the first prefill of a server reaches; 0 if it is not known.
    pub first_prefill: f64,
}

/// A cluster's file. What is left out has the value of the GPU's datasheet, or is nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    gpu: String,
    gpus_per_node: u32,
    nodes: u32,
    gpu_memory_gb: Option<f64>,
    gpu_memory_gb_per_s: Option<f64>,
    gpu_tflops: Option<f64>,
    nvlink_gb_per_s: Option<f64>,
    nvlink_latency_us: Option<f64>,
    network_gb_per_s_per_gpu: Option<f64>,
    network_latency_us: Option<f64>,
    boundary_between_nodes_ms: Option<f64>,
    communicator_ms: Option<f64>,
    first_prefill_share_of_peak: Option<f64>,
}

/// Presets: the name on the command line, and the file that it stands for.
pub const CLUSTERS: [(&str, &str); 5] = [
    ("a100-sxm", include_str!("clusters/a100-sxm.json")),
    ("h100-sxm", include_str!("clusters/h100-sxm.json")),
    ("h200-sxm", include_str!("clusters/h200-sxm.json")),
    ("paper", include_str!("clusters/paper.json")),
    ("paper-measured", include_str!("clusters/paper-measured.json")),
];

/// Most GPUs of a cluster: layouts are tried one by one.
const MOST_GPUS: u32 = 1024;

/// Why a cluster is not understood. Each names the field.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterError {
    /// No preset has that name.
    NoPreset(String),
    /// It is not the JSON object that is expected.
    NotRead(String),
    /// No GPU has that name.
    NoGpu(String),
    /// A number that cannot be meant.
    Invalid {
        /// The field.
        field: &'static str,
        /// What would be understood.
        expected: &'static str,
    },
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPreset(name) => {
                let known: Vec<_> = CLUSTERS.iter().map(|(name, _)| *name).collect();
                let known = known.join(", ");
                write!(f, "no cluster is called {name}: give {known}, or --cluster-file FILE")
            }
            Self::NotRead(why) => write!(f, "not a description of a cluster: {why}"),
            Self::NoGpu(name) => {
                let known: Vec<_> = GPUS.iter().map(|gpu| gpu.name).collect();
                write!(f, "`gpu` is {name}; known: {}", known.join(", "))
            }
            Self::Invalid { field, expected } => write!(f, "`{field}` must be {expected}"),
        }
    }
}

impl std::error::Error for ClusterError {}

impl Cluster {
    /// The preset with that name.
    pub fn preset(name: &str) -> Result<Self, ClusterError> {
        let found = CLUSTERS.iter().find(|(preset, _)| *preset == name);
        let (_, file) = found.ok_or_else(|| ClusterError::NoPreset(name.to_owned()))?;
        Self::from_json(file)
    }

    /// Reads the file of a cluster. Its keys carry their units.
    pub fn from_json(text: &str) -> Result<Self, ClusterError> {
        let file: File =
            serde_json::from_str(text).map_err(|why| ClusterError::NotRead(why.to_string()))?;
        let known = GPUS.iter().find(|gpu| gpu.name == file.gpu);
        let mut gpu = *known.ok_or_else(|| ClusterError::NoGpu(file.gpu.clone()))?;
        let above = |field, given: Option<f64>, otherwise: f64| {
            let value = given.unwrap_or(otherwise);
            let expected = "a number above 0";
            match value.is_finite() && value > 0.0 {
                true => Ok(value),
                false => Err(ClusterError::Invalid { field, expected }),
            }
        };
        let at_least_0 = |field, given: Option<f64>| {
            let value = given.unwrap_or(0.0);
            let expected = "a number of 0 or more";
            match value.is_finite() && value >= 0.0 {
                true => Ok(value),
                false => Err(ClusterError::Invalid { field, expected }),
            }
        };
        gpu.memory = above("gpu_memory_gb", file.gpu_memory_gb, gpu.memory / GB)? * GB;
        let bandwidth = gpu.memory_bandwidth / GB;
        gpu.memory_bandwidth =
            above("gpu_memory_gb_per_s", file.gpu_memory_gb_per_s, bandwidth)? * GB;
        gpu.flops = above("gpu_tflops", file.gpu_tflops, gpu.flops / TERA)? * TERA;
        gpu.nvlink = above("nvlink_gb_per_s", file.nvlink_gb_per_s, gpu.nvlink / GB)? * GB;
        let first_prefill =
            at_least_0("first_prefill_share_of_peak", file.first_prefill_share_of_peak)?;
        if first_prefill > 1.0 {
            return Err(ClusterError::Invalid {
                field: "first_prefill_share_of_peak",
                expected: "a share, from 0 to 1",
            });
        }
        let network_bandwidth = match (file.nodes, file.network_gb_per_s_per_gpu) {
            // Nothing crosses a network that a single node does not have.
            (1, None) => GB,
            (_, given) => above("network_gb_per_s_per_gpu", given, 0.0)? * GB,
        };
        let latency = |field, given| Ok(at_least_0(field, given)? * 1e-6);
        let cluster = Self {
            nvlink: Link {
                bandwidth: gpu.nvlink,
                latency: latency("nvlink_latency_us", file.nvlink_latency_us)?,
            },
            network: Link {
                bandwidth: network_bandwidth,
                latency: latency("network_latency_us", file.network_latency_us)?,
            },
            measured: Measured {
                boundary_between_nodes: 1e-3
                    * at_least_0("boundary_between_nodes_ms", file.boundary_between_nodes_ms)?,
                communicator: 1e-3 * at_least_0("communicator_ms", file.communicator_ms)?,
                first_prefill,
            },
            gpu,
            gpus_per_node: file.gpus_per_node,
            nodes: file.nodes,
        };
        cluster.check()?;
        Ok(cluster)
    }

    /// The same machines, more or fewer of them.
    pub fn resized(
        mut self,
        nodes: Option<u32>,
        gpus_per_node: Option<u32>,
    ) -> Result<Self, ClusterError> {
        self.nodes = nodes.unwrap_or(self.nodes);
        self.gpus_per_node = gpus_per_node.unwrap_or(self.gpus_per_node);
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), ClusterError> {
        let invalid = |field, expected| Err(ClusterError::Invalid { field, expected });
        match (self.nodes, self.gpus_per_node, self.nodes.checked_mul(self.gpus_per_node)) {
            (0, ..) => invalid("nodes", "1 or more"),
            (_, 0, _) => invalid("gpus_per_node", "1 or more"),
            (.., Some(gpus)) if gpus <= MOST_GPUS => Ok(()),
            _ => invalid("nodes", "so few that there are at most 1024 GPUs"),
        }
    }

    /// All its GPUs.
    pub const fn gpus(&self) -> u32 {
        self.nodes * self.gpus_per_node
    }

    /// The node that has `rank`, where ranks fill one node after the other, as vLLM places them.
    pub const fn node_of(&self, rank: u32) -> u32 {
        rank / self.gpus_per_node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_read() {
        for (name, _) in CLUSTERS {
            let cluster = Cluster::preset(name).unwrap();
            assert!(cluster.gpus() >= 8, "{name}");
        }
        let paper = Cluster::preset("paper").unwrap();
        assert_eq!((paper.nodes, paper.gpus_per_node), (2, 4));
        assert_eq!(paper.measured, Measured::default(), "public figures alone");
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_field() {
        let with = |more: &str| {
            let text = format!(r#"{{"gpu":"h100-sxm","gpus_per_node":8,"nodes":1{more}}}"#);
            Cluster::from_json(&text).map_err(|error| error.to_string())
        };
        assert!(with("").is_ok());
        for (more, why) in [
            (r#","gpu_tflops":0"#, "gpu_tflops"),
            (r#","network_latency_us":-1"#, "network_latency_us"),
            (r#","first_prefill_share_of_peak":2"#, "first_prefill_share_of_peak"),
            (r#","colour":"green""#, "colour"),
        ] {
            let error = with(more).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let none = r#"{"gpu":"mi300","gpus_per_node":8,"nodes":1}"#;
        assert!(Cluster::from_json(none).unwrap_err().to_string().contains("h100-sxm"));
        let slow = r#"{"gpu":"h100-sxm","gpus_per_node":8,"nodes":2}"#;
        let error = Cluster::from_json(slow).unwrap_err().to_string();
        assert!(error.contains("network_gb_per_s_per_gpu"), "{error}");
        let error = Cluster::preset("h100-sxm").unwrap().resized(Some(0), None).unwrap_err();
        assert!(error.to_string().contains("nodes"));
        assert!(Cluster::preset("h100-sxm").unwrap().resized(Some(u32::MAX), None).is_err());
        assert!(Cluster::preset("mine").unwrap_err().to_string().contains("--cluster-file"));
    }
}
