//! One pass through the model.

use super::{Call, Part, Path, Ranks, Role, Schedule};
use crate::model::{Deployment, Engine, Phase, layers_of_stages, padded_vocabulary};
use nccltap_proto::{Datatype, Operation};

/// Two tensors cross a pipeline boundary: `hidden_states` and `residual` (`IntermediateTensors` of
/// every architecture that is known here).
const BOUNDARY_TENSORS: u64 = 2;

/// Row-parallel linears of a layer, each of which reduces its output over the group: the output of
/// attention, and of the MLP or of the experts (`RowParallelLinear.forward`; `FusedMoE.forward_impl`,
/// or the model's own block where `reduce_results` is false).
const ALL_REDUCES_PER_LAYER: u64 = 2;

/// A pass through one replica.
pub(super) struct Forward<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) replica: u32,
    pub(super) phase: Phase,
    /// Tokens, padding counted, of each replica whose passes are made together: of this one alone,
    /// unless they share experts.
    pub(super) replicas: &'a [u64],
    /// Whether the pass is made where graphs are captured, without being captured. Custom all-reduce then makes its
    /// output and sends nothing (`custom_all_reduce.py`, `CustomAllreduce.custom_all_reduce`).
    pub(super) warms_up: bool,
}

impl Forward<'_> {
    /// Tokens of this replica, padding counted.
    pub(super) fn tokens(&self) -> u64 {
        let own = self.replicas.get(self.replica as usize);
        own.or(self.replicas.first()).copied().unwrap_or(0)
    }

    pub(super) fn ranks(&self, stage: u32, part: Part) -> Ranks {
        Ranks { replica: self.replica, stage, part }
    }

    pub(super) fn last_stage(&self) -> u32 {
        self.deployment.layout.pipeline - 1
    }

    /// A call in the tensor-parallel group, of what activations are made of.
    pub(super) fn tensor_parallel(
        &self,
        operation: Operation,
        elements: u64,
        shape: Vec<u64>,
    ) -> Call {
        Call {
            phase: self.phase,
            role: Role::TensorParallel,
            group: self.deployment.layout.tensor,
            path: Path::Nccl,
            collective: operation,
            operation,
            datatype: self.deployment.model.activations,
            elements,
            shape,
        }
    }

    /// The all-reduces of a stage's layers, and on the first stage that of the vocabulary-parallel
    /// embedding (`VocabParallelEmbedding.forward`), `times` over.
    pub(super) fn layers(&self, schedule: &mut Schedule, stage: u32, times: u64) {
        let layout = self.deployment.layout;
        let shared = self.shared_experts_layers();
        if shared > 0 {
            self.experts(schedule, stage, shared * times);
        }
        if layout.tensor == 1 {
            return;
        }
        let layers = layers_of_stages(self.deployment.model.layers, layout.pipeline);
        let layers = layers.get(stage as usize).copied().unwrap_or(0);
        // Experts that are shared with other replicas sum their output up by themselves.
        let count = ALL_REDUCES_PER_LAYER * layers - shared + u64::from(stage == 0);
        let (ranks, hidden) = (self.ranks(stage, Part::Every), self.deployment.model.hidden_size);
        let tokens = self.tokens();
        if self.deployment.sequence_parallel_from.is_some_and(|from| tokens >= from) {
            let share = tokens.div_ceil(layout.tensor.into());
            for (operation, rows) in
                [(Operation::ReduceScatter, share), (Operation::AllGather, tokens)]
            {
                let call = self.tensor_parallel(operation, share * hidden, vec![rows, hidden]);
                schedule.add(ranks, call, count * times);
            }
            return;
        }
        self.all_reduces(schedule, stage, (tokens, hidden), count * times);
    }

    /// All-reduces of activations, so many tokens and so wide, by the way that they take.
    pub(super) fn all_reduces(
        &self,
        schedule: &mut Schedule,
        stage: u32,
        (tokens, hidden): (u64, u64),
        count: u64,
    ) {
        let shape = vec![tokens, hidden];
        let mut call = self.tensor_parallel(Operation::AllReduce, tokens * hidden, shape);
        if self.deployment.custom_all_reduce && custom_all_reduce_takes(&call) {
            call.path = Path::CustomAllReduce;
        }
        if !(self.warms_up && call.path == Path::CustomAllReduce) {
            schedule.add(self.ranks(stage, Part::Every), call, count);
        }
    }

    /// What a tensor-parallel rank sends of each boundary tensor: its slice, where the group divides
    /// the tensor, else all of it (`GroupCoordinator.send_tensor_dict`).
    fn boundary(&self, operation: Operation) -> (Call, bool) {
        let layout = self.deployment.layout;
        let hidden = self.deployment.model.hidden_size;
        let ranks = u64::from(layout.tensor);
        let whole = self.tokens() * hidden;
        let sliced = layout.tensor > 1 && whole.is_multiple_of(ranks);
        let (elements, shape) = match (sliced, hidden.is_multiple_of(ranks)) {
            (false, _) => (whole, vec![self.tokens(), hidden]),
            (true, true) => (whole / ranks, vec![self.tokens(), hidden / ranks]),
            (true, false) => (whole / ranks, vec![whole / ranks]),
        };
        let call = self.tensor_parallel(operation, elements, shape);
        (Call { role: Role::PipelineParallel, group: layout.pipeline, ..call }, sliced)
    }

    /// Receives from the stage before, and puts slices together again.
    pub(super) fn receive(&self, schedule: &mut Schedule, stage: u32) {
        if stage == 0 {
            return;
        }
        let ranks = self.ranks(stage, Part::Every);
        let (call, sliced) = self.boundary(Operation::Recv);
        let slice = call.elements;
        schedule.add(ranks, call, BOUNDARY_TENSORS);
        if sliced {
            let shape = vec![self.tokens(), self.deployment.model.hidden_size];
            let gather = self.tensor_parallel(Operation::AllGather, slice, shape);
            schedule.add(ranks, gather, BOUNDARY_TENSORS);
        }
    }

    /// Sends to the stage after.
    pub(super) fn send(&self, schedule: &mut Schedule, stage: u32) {
        if stage < self.last_stage() {
            let (call, _) = self.boundary(Operation::Send);
            schedule.add(self.ranks(stage, Part::Every), call, BOUNDARY_TENSORS);
        }
    }

    /// Brings together the parts of `rows` rows of logits, at rank 0 or at every rank
    /// (`LogitsProcessor._gather_logits`). PyTorch makes a gather of a Send by each rank but the
    /// root, and a Recv from each of them by the root (`torch/csrc/cuda/nccl.cpp`).
    pub(super) fn logits(&self, schedule: &mut Schedule, rows: u64) {
        self.logits_of(schedule, rows, self.deployment.model.vocab_size, 1);
    }

    /// The same of a head with any number of rows, `times` over.
    pub(super) fn logits_of(
        &self,
        schedule: &mut Schedule,
        rows: u64,
        vocabulary: u64,
        times: u64,
    ) {
        let ranks = self.deployment.layout.tensor;
        if ranks == 1 {
            return;
        }
        let vocabulary = padded_vocabulary(vocabulary);
        let slice = vocabulary / u64::from(ranks);
        let stage = self.last_stage();
        if !self.deployment.engine.gathers_logits() {
            let shape = vec![rows, vocabulary];
            let call = self.tensor_parallel(Operation::AllGather, rows * slice, shape);
            schedule.add(self.ranks(stage, Part::Every), call, times);
            return;
        }
        let shape = if rows == 1 { vec![slice] } else { vec![rows, slice] };
        for (part, operation, count) in [
            (Part::NotRoot, Operation::Send, 1),
            (Part::Root, Operation::Recv, u64::from(ranks) - 1),
        ] {
            let call = Call {
                collective: Operation::Gather,
                ..self.tensor_parallel(operation, rows * slice, shape.clone())
            };
            schedule.add(self.ranks(stage, part), call, count * times);
        }
    }

    /// The last stage tells all stages what it sampled for `requests` requests: a token each, and in
    /// 0.32 how many of each one's were taken and how many refused.
    pub(super) fn sampled_tokens(&self, schedule: &mut Schedule, requests: u64) {
        let layout = self.deployment.layout;
        if layout.pipeline == 1 {
            return;
        }
        let tokens = vec![requests, 1];
        let tensors = match self.deployment.engine {
            Engine::V1Release0_32 => {
                vec![(Datatype::Int64, tokens), (Datatype::Int32, vec![2, requests])]
            }
            _ => vec![(Datatype::Int32, tokens)],
        };
        for stage in 0..layout.pipeline {
            for (datatype, shape) in &tensors {
                let elements = shape.iter().product();
                let call = Call {
                    role: Role::PipelineParallel,
                    group: layout.pipeline,
                    datatype: *datatype,
                    ..self.tensor_parallel(Operation::Broadcast, elements, shape.clone())
                };
                schedule.add(self.ranks(stage, Part::Every), call, 1);
            }
        }
    }
}

/// Whether vLLM's custom all-reduce takes a message, on ranks of one node that reach each other's
/// memory (`custom_all_reduce.py`, `should_custom_ar`; `all_reduce_utils.py` in later releases).
pub(in crate::model) fn custom_all_reduce_takes(call: &Call) -> bool {
    const LARGEST: u64 = 8 << 20;
    let bytes = call.elements * call.datatype.size();
    matches!(call.group, 2 | 4 | 6 | 8) && bytes.is_multiple_of(16) && bytes < LARGEST
}
