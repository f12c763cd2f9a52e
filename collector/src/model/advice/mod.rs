//! Which layout to take: what each costs on a given cluster.
//!
//! ```text
//! Deployment ──> schedule of a step ──> collectives   seconds of each call ─┐
//!            └─> weights ─────────────> roofline      seconds of each stage ┴─> step ──> serving ──> Advice
//! Cluster ─────────────────────────────────┘
//! ```
//!
//! Counts and bytes are those of the schedule, and exact. Times are a model: a roofline at the peaks of
//! the datasheet and NCCL's own formula for its operations. What that leaves out, and how far it is from
//! the paper's measurements, is in `docs/advise.md`.

mod cluster;
mod collectives;
mod memory;
mod serving;
mod step;
mod weights;

pub use cluster::{CLUSTERS, Cluster, ClusterError, GPUS, Gpu, Measured};
pub use collectives::{Generation, Group, Link};
pub use memory::Memory;
pub use serving::{Load, Times, Workload};

use super::{Deployment, Layout, Model, Prediction, Refusal, Request, Settings, Totals};
use serving::Serving;
use step::Placed;

/// What one layout costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// The layout.
    pub layout: Layout,
    /// Nodes that it is spread over.
    pub nodes: u32,
    /// What a GPU must hold.
    pub memory: Memory,
    /// What one request sends, over all ranks, a transfer counted where it is sent. Exact.
    pub sent: Totals,
    /// What it takes, or why it cannot serve the workload.
    pub outcome: Result<Times, Unfit>,
}

/// Why a layout cannot serve a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unfit {
    /// Weights, or the KV cache of a single request, are larger than the memory.
    Memory,
    /// Requests come faster than it can serve them: at most so many per second.
    TooSlow(f64),
}

/// By what layouts are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Time that a request's operations of NCCL take.
    Communication,
    /// Time to the first token.
    Ttft,
    /// Time per further token.
    Tpot,
    /// Time of the whole request.
    E2e,
}

impl Times {
    /// What is compared: less is better.
    fn cost(&self, by: By) -> f64 {
        match by {
            By::Communication => self.communication,
            By::Ttft => self.ttft,
            By::Tpot => self.tpot,
            By::E2e => self.e2e,
        }
    }
}

/// A layout that is left out, and why.
pub type Refused = (Layout, Refusal);

/// Every layout of tensor and pipeline parallelism that divides the cluster's GPUs, the best first;
/// and those that vLLM refuses, or that are not modelled.
pub fn rank(
    model: &Model,
    settings: Settings,
    cluster: &Cluster,
    workload: &Workload,
    by: By,
) -> (Vec<Advice>, Vec<Refused>) {
    let (mut ranked, mut refused) = (Vec::new(), Vec::new());
    for layout in layouts(cluster.gpus()) {
        match advise(model, layout, settings, cluster, workload) {
            Ok(advice) => ranked.push(advice),
            Err(refusal) => refused.push((layout, refusal)),
        }
    }
    let cost = |advice: &Advice| match &advice.outcome {
        Ok(times) => times.cost(by),
        Err(_) => f64::INFINITY,
    };
    // Of two that cost the same, the smaller one.
    ranked
        .sort_by(|a, b| cost(a).total_cmp(&cost(b)).then(a.layout.ranks().cmp(&b.layout.ranks())));
    (ranked, refused)
}

/// Sizes whose product divides `gpus`, so that replicas fill the cluster.
fn layouts(gpus: u32) -> impl Iterator<Item = Layout> {
    let divides = move |ranks: &u32| gpus.is_multiple_of(*ranks);
    (1..=gpus).filter(divides).flat_map(move |ranks| {
        let tensor = (1..=ranks).filter(move |tensor| ranks.is_multiple_of(*tensor));
        tensor.map(move |tensor| Layout::new(tensor, ranks / tensor))
    })
}

/// What one layout costs.
pub fn advise(
    model: &Model,
    layout: Layout,
    settings: Settings,
    cluster: &Cluster,
    workload: &Workload,
) -> Result<Advice, Refusal> {
    let deployment = Deployment::new(model.clone(), layout, settings)?;
    if layout.ranks() > cluster.gpus() {
        return Err(Refusal::Setting(format!(
            "{layout} needs {} GPUs, and the cluster has {}",
            layout.ranks(),
            cluster.gpus()
        )));
    }
    let request =
        Request { prompt: workload.prompt, output: workload.output, cached: 0, arrives: 0 };
    let prediction = Prediction::of_requests(deployment, &[request])?;
    let deployment = &prediction.deployment;
    let placed = Placed::new(deployment, cluster)?;
    let memory = Memory::new(&placed, workload);
    let serving = Serving::new(&placed, workload)?;
    Ok(Advice {
        layout,
        nodes: step::nodes(layout, cluster),
        memory,
        sent: prediction.totals(|call| call.operation != nccltap_proto::Operation::Recv),
        outcome: serving.times(memory.requests),
    })
}

#[cfg(test)]
mod paper_tests;
#[cfg(test)]
mod tests;
