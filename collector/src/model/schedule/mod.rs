//! Every operation that an engine gives to NCCL, rank by rank.
//!
//! - [`forward`]: what one pass through the model sends;
//! - [`replicas`]: passes that the replicas of data parallelism make together;
//! - [`experts`]: what the experts of a layer send, where replicas share them;
//! - [`drafts`]: passes of a draft model behind each step;
//! - [`metadata`]: what V0 broadcasts before each step;
//! - [`startup`]: what happens before the first request.

mod drafts;
mod experts;
mod forward;
mod metadata;
mod replicas;
mod startup;
mod warm_up;

use super::{Deployment, Engine, Layout, Phase, Place, Refusal, Request, Step, scheduler};
use forward::Forward;
pub(super) use forward::custom_all_reduce_takes;
use nccltap_proto::{Datatype, Operation};
use std::collections::BTreeMap;

/// What the group of a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The ranks of one stage that share each layer.
    TensorParallel,
    /// The ranks of one tensor-parallel rank over all stages.
    PipelineParallel,
    /// The ranks of one stage that share the experts.
    ExpertParallel,
    /// The same rank of every replica.
    DataParallel,
}

impl Role {
    /// The name in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TensorParallel => "tensor",
            Self::PipelineParallel => "pipeline",
            Self::ExpertParallel => "expert",
            Self::DataParallel => "data",
        }
    }
}

/// The way that vLLM gives the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// NCCL.
    Nccl,
    /// vLLM's own kernel, which no one who watches NCCL sees.
    CustomAllReduce,
}

impl Path {
    /// The name in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nccl => "nccl",
            Self::CustomAllReduce => "custom_all_reduce",
        }
    }
}

/// The ranks that make a call alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ranks {
    /// Data-parallel rank.
    pub replica: u32,
    /// Pipeline stage.
    pub stage: u32,
    /// Which tensor-parallel ranks of the stage.
    pub part: Part,
}

/// Which ranks of a tensor-parallel group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// All of them.
    Every,
    /// Rank 0 of the group.
    Root,
    /// All but rank 0.
    NotRoot,
}

impl Ranks {
    /// Their global ranks in `layout`.
    pub fn list(&self, layout: &Layout) -> Vec<u32> {
        let tensor_ranks = match self.part {
            Part::Every => 0..layout.tensor,
            Part::Root => 0..1,
            Part::NotRoot => 1..layout.tensor,
        };
        let Self { replica, stage, .. } = *self;
        tensor_ranks.map(|tensor_rank| layout.rank(Place { replica, stage, tensor_rank })).collect()
    }
}

/// One call of NCCL, as each of its ranks states it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    /// What it serves.
    pub phase: Phase,
    /// What its group is for.
    pub role: Role,
    /// Size of the group.
    pub group: u32,
    /// The way it takes.
    pub path: Path,
    /// What it means: a Gather is made of Send and Recv.
    pub collective: Operation,
    /// What NCCL is told.
    pub operation: Operation,
    /// What the elements are.
    pub datatype: Datatype,
    /// NCCL's count.
    pub elements: u64,
    /// Dimensions of the tensor as the paper writes them; of an all-gather, of its result.
    pub shape: Vec<u64>,
}

/// Calls, and how often each of its ranks makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    calls: BTreeMap<(Ranks, Call), u64>,
}

impl Schedule {
    /// The schedule of `deployment` for `requests` that arrive at once, start-up included. Replicas
    /// take the requests in turn.
    pub fn of_requests(deployment: &Deployment, requests: &[Request]) -> Result<Self, Refusal> {
        let replicas = deployment.layout.data as usize;
        let share = |replica| -> Vec<_> {
            requests.iter().copied().skip(replica).step_by(replicas).collect()
        };
        let steps = (0..replicas).map(|replica| scheduler::steps(deployment, &share(replica)));
        let mut steps: Vec<Vec<Step>> = steps.collect::<Result<_, _>>()?;
        if deployment.replicas_step_together() {
            let longest = steps.iter().map(Vec::len).max().unwrap_or(0);
            let passes = replicas::passes(deployment.engine, longest);
            steps.iter_mut().for_each(|steps| steps.resize(passes, Step::default()));
        }
        Ok(Self::of_replicas(deployment, &steps))
    }

    /// The schedule of all replicas for the steps of each, start-up included. Of those that make every
    /// pass together, the nth steps are one pass; a step without a request is that of an idle one.
    pub fn of_replicas(deployment: &Deployment, steps: &[Vec<Step>]) -> Self {
        let mut schedule = Self::default();
        if deployment.replicas_step_together() {
            schedule.serve_together(deployment, steps);
        } else {
            for (replica, steps) in steps.iter().enumerate() {
                schedule.serve(deployment, replica as u32, steps);
            }
        }
        schedule
    }

    /// The schedule of one replica for `steps`, start-up included.
    pub fn of_steps(deployment: &Deployment, steps: &[Step]) -> Self {
        let mut schedule = Self::default();
        schedule.serve(deployment, 0, steps);
        schedule
    }

    fn serve(&mut self, deployment: &Deployment, replica: u32, steps: &[Step]) {
        startup::start(self, deployment, replica);
        for step in steps.iter().filter(|step| step.phase() != Phase::Idle) {
            let tokens = replayed_at(deployment, step).unwrap_or_else(|| padded(deployment, step));
            self.step(deployment, replica, step, &[tokens]);
        }
    }

    /// Replicas that make every pass together; one that has nothing to do makes a pass of one token.
    fn serve_together(&mut self, deployment: &Deployment, steps: &[Vec<Step>]) {
        for replica in 0..deployment.layout.data {
            startup::start(self, deployment, replica);
        }
        let idle = Step::default();
        for pass in 0..steps.iter().map(Vec::len).max().unwrap_or(0) {
            let here: Vec<&Step> =
                steps.iter().map(|steps| steps.get(pass).unwrap_or(&idle)).collect();
            let tokens = replicas::tokens_together(deployment, &here);
            for (replica, step) in here.into_iter().enumerate() {
                self.step(deployment, replica as u32, step, &tokens);
            }
        }
    }

    /// A step of one replica; `replicas` is how many tokens, padding counted, each of those has that
    /// make it together.
    fn step(&mut self, deployment: &Deployment, replica: u32, step: &Step, replicas: &[u64]) {
        let replayed = replayed_at(deployment, step);
        let rows = match (deployment.engine.rows_of_partial_prompts(), replayed) {
            (_, Some(size)) if deployment.engine.captures_logits() => size,
            (true, _) => step.sequences() + step.drafts,
            (false, _) => step.sampled(),
        };
        let forward =
            Forward { deployment, replica, phase: step.phase(), replicas, warms_up: false };
        if deployment.engine.broadcasts_metadata() {
            metadata::broadcast(self, &forward, step, replayed);
        }
        for stage in 0..deployment.layout.pipeline {
            forward.agree(self, stage, 1);
            forward.receive(self, stage);
            forward.layers(self, stage, 1);
            forward.send(self, stage);
        }
        if forward.phase == Phase::Idle {
            return;
        }
        forward.logits(self, rows);
        forward.draft(self, step.sequences());
        let samples = step.sampled() > 0;
        if deployment.engine.broadcasts_sampled_tokens() && samples {
            forward.sampled_tokens(self, step.sequences());
        }
    }

    fn add(&mut self, ranks: Ranks, call: Call, count: u64) {
        if count > 0 {
            *self.calls.entry((ranks, call)).or_default() += count;
        }
    }

    /// The calls, and how often each of their ranks makes them.
    pub fn calls(&self) -> impl Iterator<Item = (&Ranks, &Call, u64)> {
        self.calls.iter().map(|((ranks, call), count)| (ranks, call, *count))
    }
}

/// The padded size if the step is replayed from a CUDA graph: in V0 and SGLang steps of decodes alone
/// (`worker/model_runner.py`, `_use_captured_graph`; `model_executor/cuda_graph_runner.py`, `can_run`),
/// in V1 all that are small enough (`v1/worker/gpu_model_runner.py`, `_get_num_input_tokens`;
/// `_determine_batch_execution_and_padding` in 0.20).
fn replayed_at(deployment: &Deployment, step: &Step) -> Option<u64> {
    let graphs = deployment.graphs.as_ref()?;
    if graphs.decode_only {
        let v0 = deployment.engine == Engine::V0;
        let length = |length: u64| if v0 { deployment.in_window(length) } else { length };
        let longest = step.decodes.iter().map(|decode| length(*decode)).max()?;
        if !step.prompts.is_empty() || longest > graphs.longest_sequence {
            return None;
        }
    }
    graphs.padded(step.tokens())
}

/// Tokens of a step that is not replayed: with sequence parallelism all ranks get as many
/// (`v1/worker/gpu_model_runner.py`, `_pad_for_sequence_parallelism`).
fn padded(deployment: &Deployment, step: &Step) -> u64 {
    match deployment.sequence_parallel_from {
        Some(_) => step.tokens().next_multiple_of(u64::from(deployment.layout.tensor)),
        None => step.tokens(),
    }
}

impl Engine {
    /// Whether all that the engine does before the first request is known. Later releases tune
    /// FlashInfer, if it is there.
    pub const fn startup_is_known(self) -> bool {
        matches!(self, Self::V0 | Self::V1Release0_8 | Self::Sglang)
    }
}

#[cfg(test)]
mod tests;
