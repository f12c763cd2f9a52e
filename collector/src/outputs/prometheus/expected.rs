//! What a named model sends in each engine step, to hold a running server against.
//!
//! The workload of a server is not known beforehand, so there is no schedule of it. What is known is the
//! number of its steps, by phase, and what each step of a phase must do at each place of the layout. Where
//! that depends on the step (the optional tensors of V0's metadata) it is not compared.
//!
//! An operation counts whichever way it takes. Where none of vLLM's custom all-reduce has been seen, what it is
//! predicted to take is left out, since a tap that sees no kernels cannot see it.

use crate::model::{Chunk, Deployment, Path, Phase, Place, Schedule, Step};
use nccltap_proto::Operation;
use std::collections::BTreeMap;

/// Where a rank stands in its replica: pipeline stage, rank in its tensor-parallel group.
type Position = (u32, u32);

/// Operations per step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What is not in it is never done.
    per_step: BTreeMap<(Position, Phase, Operation), Counts<PerStep>>,
}

/// How often an operation is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts<T> {
    /// In any way.
    all: T,
    /// By NCCL.
    nccl: T,
}

/// What one step of a phase does with one kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerStep {
    /// Exactly so many.
    Exactly(u64),
    /// It depends on the step.
    Depends,
}

impl Expected {
    /// What `deployment` does, one replica standing for all.
    pub fn new(deployment: &Deployment) -> Self {
        let mut per_step = BTreeMap::new();
        for phase in [Phase::Prefill, Phase::Decode, Phase::Mixed] {
            let samples = samples(deployment, phase);
            let counts: Vec<_> = samples.iter().map(|step| of_one_step(deployment, step)).collect();
            for key in counts.iter().flat_map(BTreeMap::keys) {
                let of_each = || counts.iter().map(|of| of.get(key).copied().unwrap_or_default());
                let (position, operation) = *key;
                let alike = Counts {
                    all: PerStep::of(of_each().map(|counts| counts.all)),
                    nccl: PerStep::of(of_each().map(|counts| counts.nccl)),
                };
                per_step.insert((position, phase, operation), alike);
            }
        }
        Self { per_step }
    }

    /// What a rank at `position` does with `operation` in one step of `phase`, by NCCL alone or in any way.
    pub fn per_step(
        &self,
        position: Position,
        phase: Phase,
        operation: Operation,
        by_nccl_alone: bool,
    ) -> PerStep {
        match self.per_step.get(&(position, phase, operation)) {
            None => PerStep::Exactly(0),
            Some(counts) if by_nccl_alone => counts.nccl,
            Some(counts) => counts.all,
        }
    }
}

impl PerStep {
    /// What is common to these steps.
    fn of(mut counts: impl Iterator<Item = u64>) -> Self {
        let first = counts.next().unwrap_or(0);
        if counts.all(|count| count == first) { Self::Exactly(first) } else { Self::Depends }
    }
}

/// Steps of a phase that differ in everything that may matter.
fn samples(deployment: &Deployment, phase: Phase) -> Vec<Step> {
    let budget = deployment.max_num_batched_tokens.max(8);
    let prompt = |tokens: u64, context: u64, last: bool| Chunk {
        tokens,
        context,
        prompt: context + tokens + u64::from(!last),
        last,
        cache_hit: false,
    };
    let cached = Chunk { cache_hit: true, ..prompt(2, 16, true) };
    let mut prompts = vec![
        vec![prompt(2, 0, true)],
        vec![cached],
        vec![prompt(3, 0, true), prompt(4, 0, true)],
        vec![prompt(budget - 2, 0, true)],
    ];
    if deployment.chunked_prefill {
        prompts.push(vec![prompt(budget - 2, 0, false)]);
        prompts.push(vec![prompt(budget - 2, 64, true)]);
    }
    let many = usize::try_from(deployment.max_num_seqs.clamp(1, 4096)).unwrap_or(1);
    let longest = deployment.max_model_len.max(1);
    let decodes = [vec![9], vec![9, 33], vec![longest], vec![longest; many]];
    let step = |prompts: &[Chunk], decodes: &[u64]| Step {
        prompts: prompts.to_vec(),
        decodes: decodes.to_vec(),
        ..Step::default()
    };
    match phase {
        Phase::Prefill => prompts.iter().map(|prompts| step(prompts, &[])).collect(),
        Phase::Decode => decodes.iter().map(|decodes| step(&[], decodes)).collect(),
        Phase::Mixed => {
            let pairs = prompts.iter().flat_map(|p| decodes.iter().map(move |d| (p, d)));
            pairs.map(|(prompts, decodes)| step(prompts, decodes)).collect()
        }
        Phase::Startup | Phase::Idle => Vec::new(),
    }
}

/// How often each rank does what in a step.
fn of_one_step(
    deployment: &Deployment,
    step: &Step,
) -> BTreeMap<(Position, Operation), Counts<u64>> {
    let schedule = Schedule::of_steps(deployment, std::slice::from_ref(step));
    let layout = &deployment.layout;
    let places: BTreeMap<u32, Place> =
        layout.places().map(|place| (layout.rank(place), place)).collect();
    let mut counts: BTreeMap<_, Counts<u64>> = BTreeMap::new();
    let served = schedule.calls().filter(|(_, call, _)| call.phase != Phase::Startup);
    for (ranks, call, count) in served {
        for place in ranks.list(layout).iter().filter_map(|rank| places.get(rank)) {
            let key = ((place.stage, place.tensor_rank), call.operation);
            let counts = counts.entry(key).or_default();
            counts.all += count;
            counts.nccl += if call.path == Path::Nccl { count } else { 0 };
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use crate::model::{Engine, Layout, Settings};

    const SHORT: Settings = Settings { max_model_len: Some(2048), ..Settings::PAPER };

    fn expected(tensor: u32, pipeline: u32, settings: Settings) -> Expected {
        let model = preset("llama-3.1-8b").unwrap();
        let layout = Layout::new(tensor, pipeline);
        Expected::new(&Deployment::new(model, layout, settings).unwrap())
    }

    #[test]
    fn each_step_has_the_all_reduces_of_the_layers_and_of_the_embedding() {
        let expected = expected(2, 2, SHORT);
        for (position, count) in [((0, 0), 33), ((0, 1), 33), ((1, 0), 32), ((1, 1), 32)] {
            for phase in [Phase::Prefill, Phase::Decode] {
                let all_reduces = expected.per_step(position, phase, Operation::AllReduce, false);
                assert_eq!(all_reduces, PerStep::Exactly(count), "{position:?} {phase:?}");
            }
        }
        let send = |position| expected.per_step(position, Phase::Decode, Operation::Send, false);
        // Stage 0 sends two tensors on; the last stage gives its logits to the root.
        assert_eq!(send((0, 0)), PerStep::Exactly(2));
        assert_eq!(send((1, 1)), PerStep::Exactly(1));
        assert_eq!(send((1, 0)), PerStep::Exactly(0));
    }

    #[test]
    fn logits_and_the_broadcasts_of_a_decode_are_in_every_step_and_those_of_a_prefill_depend_on_it()
    {
        let whole = expected(2, 1, SHORT);
        let cut = expected(2, 1, Settings { chunked_prefill: Some(true), ..SHORT });
        let send = |of: &Expected| of.per_step((0, 1), Phase::Prefill, Operation::Send, false);
        // Of a prompt that is cut, V0 gathers logits of no rows.
        assert_eq!((send(&whole), send(&cut)), (PerStep::Exactly(1), PerStep::Exactly(1)));
        let broadcast = |phase| whole.per_step((0, 1), phase, Operation::Broadcast, false);
        assert_eq!(broadcast(Phase::Decode), PerStep::Exactly(9));
        // A prefix that the cache has brings block tables.
        assert_eq!(broadcast(Phase::Prefill), PerStep::Depends);
    }

    #[test]
    fn an_all_reduce_counts_whichever_way_it_takes_where_its_kernels_are_seen() {
        let custom = expected(2, 1, Settings { custom_all_reduce: true, ..SHORT });
        let of = |phase, by_nccl_alone| {
            custom.per_step((0, 0), phase, Operation::AllReduce, by_nccl_alone)
        };
        for phase in [Phase::Prefill, Phase::Decode] {
            assert_eq!(of(phase, false), PerStep::Exactly(65), "{phase:?}");
        }
        // Large ones go by NCCL, so of a prefill it depends.
        assert_eq!(of(Phase::Prefill, true), PerStep::Depends);
        assert_eq!(of(Phase::Decode, true), PerStep::Exactly(0));
    }

    #[test]
    fn v1_gathers_logits_on_all_ranks_in_every_step() {
        let v1 = Settings { engine: Engine::V1Release0_8, ..SHORT };
        let expected = expected(2, 1, v1);
        for phase in [Phase::Prefill, Phase::Decode, Phase::Mixed] {
            let gathers = expected.per_step((0, 0), phase, Operation::AllGather, false);
            assert_eq!(gathers, PerStep::Exactly(1), "{phase:?}");
        }
        let broadcast = expected.per_step((0, 0), Phase::Decode, Operation::Broadcast, false);
        assert_eq!(broadcast, PerStep::Exactly(0));
    }
}
