//! What is run.

use std::fmt;

/// How the ranks of a model are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Ranks that share each layer.
    pub tensor: u32,
    /// Stages that share the layers.
    pub pipeline: u32,
    /// Replicas.
    pub data: u32,
    /// Whether experts are spread over the ranks whole.
    pub experts: bool,
}

/// Tensor parallel alone.
const fn tp(tensor: u32) -> Layout {
    Layout { tensor, pipeline: 1, data: 1, experts: false }
}

/// Pipeline parallel alone.
const fn pp(pipeline: u32) -> Layout {
    Layout { tensor: 1, pipeline, data: 1, experts: false }
}

const TP2_PP2: Layout = Layout { pipeline: 2, ..tp(2) };

const TP2_EP: Layout = Layout { experts: true, ..tp(2) };

const DP2_EP: Layout = Layout { data: 2, experts: true, ..tp(1) };

/// How requests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a program that has the engine in it: so many at once, of 128 prompt tokens each.
    Offline {
        /// How many.
        requests: u32,
        /// Tokens that each generates.
        output: u32,
    },
    /// By HTTP to `vllm serve`: so many at once, of random lengths.
    Served {
        /// How many.
        requests: u32,
    },
}

/// The paper's request.
const ONE: Way = Way::Offline { requests: 1, output: 128 };

/// The paper's request, cut off behind its prefill.
const PREFILL: Way = Way::Offline { requests: 1, output: 1 };

/// Several requests in one batch.
const SEVERAL: Way = Way::Offline { requests: 4, output: 32 };

const fn served(requests: u32) -> Way {
    Way::Served { requests }
}

/// One row of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The engine, as `nccltap rehearse --engine` takes it.
    pub engine: &'static str,
    /// `VLLM_USE_V1`, where a release has both.
    pub version: Option<bool>,
    /// A preset.
    pub model: &'static str,
    /// Its layout.
    pub layout: Layout,
    /// Nodes over which its ranks are spread.
    pub nodes: u32,
    /// Whether decode runs from CUDA graphs.
    pub graphs: bool,
    /// Whether vLLM's custom all-reduce is left on, as it is by default.
    pub custom: bool,
    /// How requests come in.
    pub way: Way,
}

const V0: Option<bool> = Some(false);
const V1: Option<bool> = Some(true);

const fn row(
    engine: &'static str,
    version: Option<bool>,
    model: &'static str,
    layout: Layout,
    graphs: bool,
    way: Way,
) -> Row {
    Row { engine, version, model, layout, nodes: 1, graphs, custom: false, way }
}

const fn on_two_nodes(row: Row) -> Row {
    Row { nodes: 2, ..row }
}

const fn by_default(row: Row) -> Row {
    Row { custom: true, ..row }
}

const EAGER: bool = false;
const GRAPHS: bool = true;

const OLD: &str = "vllm==0.8.5.post1";
const V11: &str = "vllm==0.11.0";
const V20: &str = "vllm==0.20.0";
const NEWEST: &str = "vllm==0.32.0";
const SGLANG: &str = "sglang==0.5.5";

const L3: &str = "llama-3.2-3b";
const L8: &str = "llama-3.1-8b";
const L13: &str = "llama-2-13b";
const L70: &str = "llama-3.1-70b";
const MOE: &str = "qwen3-30b-a3b";

/// The matrix. The rows of the paper come first.
pub const ROWS: &[Row] = &[
    row(OLD, V0, L8, tp(2), EAGER, ONE),
    row(OLD, V0, L8, tp(4), EAGER, ONE),
    row(OLD, V0, L8, pp(2), EAGER, ONE),
    row(OLD, V0, L8, pp(4), EAGER, ONE),
    row(OLD, V0, L8, TP2_PP2, EAGER, ONE),
    row(OLD, V0, L3, tp(2), EAGER, ONE),
    row(OLD, V0, L13, tp(2), EAGER, ONE),
    row(OLD, V0, L8, tp(2), EAGER, PREFILL),
    row(OLD, V0, L8, tp(4), EAGER, PREFILL),
    row(OLD, V0, L8, TP2_PP2, EAGER, PREFILL),
    row(OLD, V0, L8, tp(8), EAGER, SEVERAL),
    row(OLD, V0, L8, tp(2), GRAPHS, SEVERAL),
    row(OLD, V0, L8, tp(2), EAGER, served(8)),
    row(OLD, V0, L8, tp(2), EAGER, served(64)),
    row(OLD, V1, L8, tp(2), EAGER, ONE),
    row(OLD, V1, L8, tp(2), GRAPHS, SEVERAL),
    row(OLD, V1, L3, tp(4), EAGER, SEVERAL),
    row(OLD, V1, L13, tp(2), EAGER, SEVERAL),
    row(OLD, V1, L8, tp(2), EAGER, served(8)),
    row(OLD, V1, L8, tp(2), GRAPHS, served(64)),
    row(OLD, V0, L70, tp(8), EAGER, served(4)),
    row(V11, None, L8, tp(2), EAGER, ONE),
    row(V11, None, L8, tp(2), GRAPHS, SEVERAL),
    row(V11, None, L8, tp(8), EAGER, SEVERAL),
    row(V11, None, L8, pp(2), EAGER, SEVERAL),
    row(V11, None, L8, TP2_PP2, EAGER, SEVERAL),
    row(V11, None, L13, tp(4), EAGER, SEVERAL),
    row(V11, None, MOE, TP2_EP, EAGER, SEVERAL),
    row(V11, None, L8, tp(2), GRAPHS, served(8)),
    row(V11, None, MOE, DP2_EP, EAGER, served(8)),
    row(V20, None, L8, tp(2), EAGER, ONE),
    row(V20, None, L8, tp(2), GRAPHS, ONE),
    row(V20, None, L8, tp(2), GRAPHS, SEVERAL),
    row(V20, None, L8, pp(4), EAGER, SEVERAL),
    row(V20, None, L8, TP2_PP2, EAGER, SEVERAL),
    row(V20, None, L3, tp(4), EAGER, SEVERAL),
    row(V20, None, MOE, TP2_EP, EAGER, SEVERAL),
    row(V20, None, L8, tp(2), GRAPHS, served(16)),
    row(V20, None, L8, tp(2), GRAPHS, served(64)),
    row(V20, None, MOE, DP2_EP, EAGER, served(8)),
    on_two_nodes(row(V20, None, L8, tp(4), EAGER, served(4))),
    row(V20, None, L70, tp(8), EAGER, served(4)),
    row(NEWEST, None, L8, tp(2), EAGER, ONE),
    row(NEWEST, None, L8, TP2_PP2, EAGER, SEVERAL),
    row(NEWEST, None, L8, tp(2), GRAPHS, SEVERAL),
    row(NEWEST, None, L8, tp(2), EAGER, served(8)),
    row(SGLANG, None, L8, tp(2), EAGER, served(1)),
    row(SGLANG, None, L8, tp(2), GRAPHS, served(8)),
    by_default(row(OLD, V0, L8, tp(2), EAGER, ONE)),
    by_default(row(OLD, V0, L8, tp(4), GRAPHS, SEVERAL)),
    by_default(row(OLD, V1, L8, tp(2), GRAPHS, SEVERAL)),
    by_default(row(V11, None, L8, tp(2), GRAPHS, SEVERAL)),
    by_default(row(V20, None, L8, tp(2), EAGER, ONE)),
    by_default(row(V20, None, L8, tp(2), GRAPHS, SEVERAL)),
    by_default(row(V20, None, L8, tp(4), GRAPHS, SEVERAL)),
    by_default(row(NEWEST, None, L8, tp(2), GRAPHS, SEVERAL)),
    by_default(row(SGLANG, None, L8, tp(4), GRAPHS, served(8))),
];

impl Row {
    /// What it is called on the command line and on disk.
    pub fn name(&self) -> String {
        let version = match self.version {
            Some(false) => "-v0",
            Some(true) => "-v1",
            None => "",
        };
        let how = if self.graphs { "graphs" } else { "eager" };
        let engine = self.engine.replace("==", "-");
        let nodes = if self.nodes > 1 { format!("-{}nodes", self.nodes) } else { String::new() };
        let custom = if self.custom { "-custom" } else { "" };
        format!(
            "{engine}{version}-{}-{}{nodes}-{how}{custom}-{}",
            self.model, self.layout, self.way
        )
    }

    /// The GPUs that each node needs.
    pub fn gpus_per_node(&self) -> u32 {
        self.layout.tensor * self.layout.pipeline * self.layout.data / self.nodes
    }

    /// Whether replicas are told to agree on their tokens on the CPU: simulated ranks do not exchange
    /// data by NCCL, by which 0.11 agrees. 0.20 does so by itself.
    pub fn agrees_on_the_cpu(&self) -> bool {
        self.engine == V11 && self.layout.data > 1
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.tensor, self.pipeline) {
            (tensor, 1) => write!(f, "tp{tensor}")?,
            (1, pipeline) => write!(f, "pp{pipeline}")?,
            (tensor, pipeline) => write!(f, "tp{tensor}pp{pipeline}")?,
        }
        if self.data > 1 {
            write!(f, "dp{}", self.data)?;
        }
        f.write_str(if self.experts { "ep" } else { "" })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline { requests, output } => write!(f, "{requests}x{output}"),
            Self::Served { requests } => write!(f, "served{requests}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_rehearsal::engines::catalog::Wanted;
    use nccltap_rehearsal::models::Preset;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_has_a_name_of_its_own_a_tried_engine_and_a_preset() {
        let names: BTreeSet<String> = ROWS.iter().map(Row::name).collect();
        assert_eq!(names.len(), ROWS.len());
        for row in ROWS {
            assert!(row.engine.parse::<Wanted>().unwrap().is_tried(), "{}", row.name());
            assert!(Preset::find(row.model).is_some(), "{}", row.name());
        }
        assert!(names.contains("vllm-0.8.5.post1-v0-llama-3.1-8b-tp2pp2-eager-1x128"));
    }
}
