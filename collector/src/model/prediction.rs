//! A schedule as rows, the form in which it is printed and compared.

use super::equations::{self, Symbols, Volumes};
use super::{Call, Deployment, Path, Phase, Ranks, Refusal, Request, Schedule, Step};
use crate::ledger::bytes::{bus_bytes, message_bytes};
use crate::outputs::rows::View;
use nccltap_proto::Operation;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A prediction for one layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// What it is for.
    pub deployment: Deployment,
    /// What each rank does.
    pub schedule: Schedule,
    /// What the paper's equations give for it, of a single request.
    pub equations: Option<Volumes>,
}

/// One row. Scripts rely on its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The layout, e.g. `TP=2xPP=2`.
    pub layout: String,
    /// Pipeline stage.
    pub stage: u32,
    /// The global ranks that each do this.
    pub ranks: Vec<u32>,
    /// What the group is for: `tensor`, `pipeline`, `data`, `expert`.
    pub role: &'static str,
    /// Size of the group.
    pub ranks_in_group: u32,
    /// `startup`, `prefill`, `decode`, `mixed`, or `idle` where a replica waits for others.
    pub phase: &'static str,
    /// The way the data takes: `nccl`, or past it.
    pub path: &'static str,
    /// What it means.
    pub collective: &'static str,
    /// NCCL's name of what it is told; null where one collective is made of several operations.
    pub op: Option<&'static str>,
    /// NCCL's name of the data type.
    pub dtype: &'static str,
    /// NCCL's count argument.
    pub elements: u64,
    /// Dimensions as the paper writes them: of an all-gather, those of its result.
    pub shape: Vec<u64>,
    /// How many, at each of the ranks.
    pub count: u64,
    /// Sum over `count` of elements x element size, of one rank.
    pub message_bytes: u64,
    /// Sum over `count` of what one rank sends through its link at best.
    pub bus_bytes: u64,
}

/// Sums over all ranks, start-up left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Operations.
    pub operations: u64,
    /// Their message bytes.
    pub message_bytes: u64,
    /// Their bus bytes.
    pub bus_bytes: u64,
}

impl Prediction {
    /// What `deployment` sends for `requests` that arrive at once.
    pub fn of_requests(deployment: Deployment, requests: &[Request]) -> Result<Self, Refusal> {
        if deployment.speculation.is_some() {
            return Err(Refusal::NotModelled(
                "with speculative decoding the steps depend on the text: give them with --trace"
                    .to_owned(),
            ));
        }
        let schedule = Schedule::of_requests(&deployment, requests)?;
        let equations = match requests {
            [one] if deployment.layout.data == 1 => {
                let layout = deployment.layout;
                let (t, p) = (layout.tensor.into(), layout.pipeline.into());
                let symbols = Symbols::new(&deployment.model, t, p, one.prompt, one.output);
                Some(equations::volumes(&symbols))
            }
            _ => None,
        };
        Ok(Self { deployment, schedule, equations })
    }

    /// What `deployment` sends for the steps of each of its replicas.
    pub fn of_steps(deployment: Deployment, replicas: &[Vec<Step>]) -> Result<Self, Refusal> {
        let expected = deployment.layout.data as usize;
        if replicas.len() != expected {
            return Err(Refusal::Setting(format!(
                "there are steps of {} replicas, where the layout has {expected}: give those of each",
                replicas.len()
            )));
        }
        let drafts = replicas.iter().flatten().any(|step| step.drafts > 0);
        if drafts || deployment.speculation.is_some() {
            deployment.accept_drafts()?;
        }
        let schedule = Schedule::of_replicas(&deployment, replicas);
        Ok(Self { deployment, schedule, equations: None })
    }

    /// The rows: what NCCL is told, or the collectives that this amounts to. Ranks that do the same
    /// share a row.
    pub fn rows(&self, view: View) -> Vec<Row> {
        let layout = self.deployment.layout;
        let mut groups: BTreeMap<_, BTreeSet<u32>> = BTreeMap::new();
        for (ranks, call, count) in self.schedule.calls() {
            let mut call = call.clone();
            let mut count = count;
            if view == View::Collectives && call.operation != call.collective {
                // A root receives from each of the others, and it is one collective still.
                if call.operation == Operation::Recv {
                    count /= u64::from(call.group.max(2)) - 1;
                }
                call.operation = call.collective;
            }
            let key = (ranks.stage, call, count);
            groups.entry(key).or_default().extend(ranks.list(&layout));
        }
        let mut rows: Vec<_> = groups
            .into_iter()
            .map(|((stage, call, count), ranks)| self.row(stage, call, count, ranks, view))
            .collect();
        rows.sort_by_key(|row: &Row| (row.stage, phase_order(row.phase)));
        rows
    }

    fn row(&self, stage: u32, call: Call, count: u64, ranks: BTreeSet<u32>, view: View) -> Row {
        let (message, bus) = bytes(&call, count);
        let made_of_several = call.collective == Operation::Gather;
        Row {
            layout: self.deployment.layout.to_string(),
            stage,
            ranks: ranks.into_iter().collect(),
            role: call.role.name(),
            ranks_in_group: call.group,
            phase: call.phase.name(),
            path: call.path.name(),
            collective: call.collective.name(),
            op: (view == View::Operations || !made_of_several).then(|| call.operation.name()),
            dtype: call.datatype.name(),
            elements: call.elements,
            shape: call.shape,
            count,
            message_bytes: message,
            bus_bytes: bus,
        }
    }

    /// Sums over all ranks of what `wanted` takes, start-up left out.
    pub fn totals(&self, wanted: impl Fn(&Call) -> bool) -> Totals {
        let mut totals = Totals::default();
        for (ranks, call, count) in self.serving().filter(|(_, call, _)| wanted(call)) {
            let ranks = ranks.list(&self.deployment.layout).len() as u64;
            let (message, bus) = bytes(call, count);
            totals.operations += count * ranks;
            totals.message_bytes += message * ranks;
            totals.bus_bytes += bus * ranks;
        }
        totals
    }

    /// The calls after start-up.
    pub fn serving(&self) -> impl Iterator<Item = (&Ranks, &Call, u64)> {
        self.schedule.calls().filter(|(_, call, _)| call.phase != Phase::Startup)
    }

    /// Whether part of the traffic goes past NCCL.
    pub fn leaves_nccl(&self) -> bool {
        self.schedule.calls().any(|(_, call, _)| call.path != Path::Nccl)
    }
}

fn phase_order(name: &str) -> usize {
    let order = [Phase::Startup, Phase::Prefill, Phase::Mixed, Phase::Decode, Phase::Idle];
    order.iter().position(|phase| phase.name() == name).unwrap_or(order.len())
}

/// Message and bus bytes of `count` calls, of one rank.
fn bytes(call: &Call, count: u64) -> (u64, u64) {
    let elements = u128::from(call.elements) * u128::from(count);
    let message = message_bytes(elements, Some(call.datatype)).unwrap_or(0);
    let bus = bus_bytes(call.operation, message, Some(call.group)).unwrap_or(0);
    let saturated = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
    (saturated(message), saturated(bus))
}
