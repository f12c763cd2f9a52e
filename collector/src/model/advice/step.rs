//! How long one step takes on each pipeline stage.

use super::cluster::Cluster;
use super::collectives::Group;
use super::weights::{Share, Work};
use crate::model::{
    Call, Deployment, Layout, Path, Phase, Place, Ranks, Refusal, Role, Schedule, Step,
};
use nccltap_proto::Operation;

/// Seconds of one step on one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct StageTime {
    /// The later of what arithmetic and what memory allows.
    pub work: f64,
    /// Its operations of NCCL, one after the other.
    pub communication: f64,
}

impl StageTime {
    pub(super) fn total(&self) -> f64 {
        self.work + self.communication
    }
}

/// A deployment on a cluster.
pub(super) struct Placed<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) cluster: &'a Cluster,
    pub(super) shares: Vec<Share>,
}

impl<'a> Placed<'a> {
    pub(super) fn new(deployment: &'a Deployment, cluster: &'a Cluster) -> Result<Self, Refusal> {
        let layout = deployment.layout;
        let share = |stage| Share::new(&deployment.model, layout, stage);
        let shares = (0..layout.pipeline).map(share).collect::<Result<_, _>>()?;
        Ok(Self { deployment, cluster, shares })
    }

    /// What a step takes on each stage. `peak` is the share of the GPU's peak that arithmetic
    /// reaches.
    pub(super) fn stages(&self, step: &Step, peak: f64) -> Vec<StageTime> {
        let work = work(step);
        let gpu = &self.cluster.gpu;
        let roofline = |share: &Share| {
            let arithmetic = share.flops(&work) / (gpu.flops * peak);
            arithmetic.max(share.read(&work) / gpu.memory_bandwidth)
        };
        let mut stages: Vec<StageTime> = self
            .shares
            .iter()
            .map(|share| StageTime { work: roofline(share), communication: 0.0 })
            .collect();
        let schedule = Schedule::of_steps(self.deployment, std::slice::from_ref(step));
        for (ranks, call, count) in schedule.calls() {
            if let Some(stage) = stages.get_mut(ranks.stage as usize) {
                stage.communication += count as f64 * self.seconds(*ranks, call);
            }
        }
        for (stage, time) in stages.iter_mut().enumerate().skip(1) {
            if self.boundary_nodes(stage as u32) > 1 {
                time.communication += self.cluster.measured.boundary_between_nodes;
            }
        }
        stages
    }

    /// What one call adds to the time of its stage. What two sides do together counts at the side
    /// that waits for it: a transfer at its receiver, a gather at its root.
    fn seconds(&self, ranks: Ranks, call: &Call) -> f64 {
        let bytes = (call.elements * call.datatype.size()) as f64;
        let gather = call.collective == Operation::Gather;
        let of_pipeline = call.role == Role::PipelineParallel;
        let last = ranks.stage + 1 == self.deployment.layout.pipeline;
        match (call.phase, call.operation) {
            (Phase::Startup, _) | (_, Operation::Send) => 0.0,
            // The root receives from each of the others, all in one group call.
            (_, Operation::Recv) if gather => {
                let group = self.tensor_group(ranks.stage);
                let others = f64::from(group.ranks - 1);
                group.seconds(Operation::Gather, bytes * others) / others
            }
            (_, Operation::Recv) => self.boundary(ranks.stage).seconds(Operation::Recv, bytes),
            // All stages are in it, and it ends the step.
            (_, operation) if of_pipeline => {
                if last {
                    self.pipeline_group().seconds(operation, bytes)
                } else {
                    0.0
                }
            }
            (_, operation) => {
                let group = self.tensor_group(ranks.stage);
                match call.path {
                    Path::Nccl => group.seconds(operation, bytes),
                    Path::CustomAllReduce => group.one_shot(bytes),
                }
            }
        }
    }

    fn group(&self, ranks: u32, nodes: u32) -> Group {
        let Cluster { gpu, nvlink, network, .. } = *self.cluster;
        Group { ranks, nodes, generation: gpu.generation, nvlink, network }
    }

    fn tensor_group(&self, stage: u32) -> Group {
        let t = self.deployment.layout.tensor;
        let first = self.rank(stage, 0);
        let nodes = self.cluster.node_of(first + t - 1) - self.cluster.node_of(first) + 1;
        self.group(t, nodes)
    }

    fn pipeline_group(&self) -> Group {
        let layout = self.deployment.layout;
        let nodes = self.cluster.node_of(self.rank(layout.pipeline - 1, 0)) + 1;
        self.group(layout.pipeline, nodes.min(layout.pipeline))
    }

    /// The two ranks at the begin of `stage`.
    fn boundary(&self, stage: u32) -> Group {
        self.group(2, self.boundary_nodes(stage))
    }

    /// 2 if any rank of `stage` has its predecessor on another node, else 1.
    fn boundary_nodes(&self, stage: u32) -> u32 {
        let node = |stage, rank| self.cluster.node_of(self.rank(stage, rank));
        let crosses = |rank| node(stage - 1, rank) != node(stage, rank);
        1 + u32::from(stage > 0 && (0..self.deployment.layout.tensor).any(crosses))
    }

    fn rank(&self, stage: u32, tensor_rank: u32) -> u32 {
        self.deployment.layout.rank(Place { replica: 0, stage, tensor_rank })
    }
}

/// The nodes that `layout` is spread over.
pub(super) fn nodes(layout: Layout, cluster: &Cluster) -> u32 {
    cluster.node_of(layout.ranks() - 1) + 1
}

fn work(step: &Step) -> Work {
    let mut work = Work {
        tokens: step.tokens() as f64,
        attended: 0.0,
        cached: 0.0,
        sampled: step.sampled() as f64,
    };
    for chunk in &step.prompts {
        let (tokens, context) = (chunk.tokens as f64, chunk.context as f64);
        work.attended += tokens * (context + (tokens + 1.0) / 2.0);
        work.cached += context;
    }
    for length in &step.decodes {
        work.attended += *length as f64;
        work.cached += *length as f64;
    }
    work
}
