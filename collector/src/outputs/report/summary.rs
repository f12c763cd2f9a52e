//! What was seen, summed over ranks, with what is missing from the sums.

use super::paper::{self, Dimensions, PaperRow};
use super::paths::{PathRow, taken};
use super::sizes::{SizeRow, distribution};
use super::timeline::{Lives, Timeline};
use super::transfers::{Matrix, Transfers};
use super::{STARTUP, collective, is_sender, phase_order};
use crate::collector::Collector;
use crate::groups::{Groups, Layout};
use crate::outputs::backends::{BackendRow, of_all};
use crate::outputs::processes::overview;
use crate::outputs::rows::{Row, View, groups, rows};
use crate::outputs::text::{grouped, warnings};
use crate::process::{Accounting, Identity, Process};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Everything that was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Version of nccltap that made it.
    pub nccltap: String,
    /// The layout of each engine that was recognised.
    pub layouts: Vec<LayoutView>,
    /// Processes that gave operations to NCCL, by their place in the layout.
    pub workers: Vec<Worker>,
    /// Where the calls of all processes have gone.
    pub accounting: Accounting,
    /// What is missing from the numbers or in doubt, a sentence each.
    pub missing: Vec<String>,
    /// Steps and tokens by phase.
    pub phases: Vec<PhaseRow>,
    /// Operations and bytes of all ranks.
    pub collectives: Vec<CollectiveRow>,
    /// The ways that data took.
    #[serde(default)]
    pub paths: Vec<PathRow>,
    /// What the engines say they gave all-reduces to, beside what was seen.
    #[serde(default)]
    pub backends: Vec<BackendRow>,
    /// How large messages are.
    pub sizes: Vec<SizeRow>,
    /// Who sends to whom.
    pub transfers: Transfers,
    /// When.
    pub timeline: Timeline,
    /// The tables of the paper.
    pub paper: Vec<PaperRow>,
    /// What NCCL was told, row by row.
    pub operation_rows: Vec<Row>,
    /// The collectives that this amounts to.
    pub collective_rows: Vec<Row>,
}

/// Sizes of an engine's parallel groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutView {
    /// Tensor-parallel size.
    pub tensor: u32,
    /// Pipeline-parallel size.
    pub pipeline: u32,
    /// Data-parallel size.
    pub data: u32,
    /// Ranks that share the experts, 1 when none do.
    pub expert: u32,
    /// Workers that were seen.
    pub workers: u32,
}

impl From<Layout> for LayoutView {
    fn from(layout: Layout) -> Self {
        let Layout { tensor, pipeline, data, expert, workers } = layout;
        Self { tensor, pipeline, data, expert, workers }
    }
}

/// One process that gave operations to NCCL. Its number is its position in the list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Which copy of the model, where its place is known.
    pub data: Option<u32>,
    /// Pipeline stage.
    pub stage: Option<u32>,
    /// Tensor-parallel rank.
    pub tensor: Option<u32>,
    /// Operations in its counts.
    pub operations: u64,
    /// Message bytes that it sends after start-up.
    pub message_bytes: u64,
    /// Bus bytes that it sends after start-up.
    pub bus_bytes: u64,
    /// Where its calls have gone.
    pub accounting: Accounting,
}

/// Engine steps of one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRow {
    /// The phase.
    pub phase: String,
    /// Steps, of the worker that has most of them.
    pub steps: u64,
    /// Their tokens, null where these are not known.
    pub tokens: Option<u64>,
}

/// Sums over all ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectiveRow {
    /// The phase.
    pub phase: String,
    /// The collective.
    pub collective: String,
    /// What the groups are for.
    pub role: Option<String>,
    /// How many, each counted at each rank that sends.
    pub count: u64,
    /// Their message bytes.
    pub message_bytes: u64,
    /// Their bus bytes: what crosses the links at least.
    pub bus_bytes: u64,
}

/// The summary of what `collector` knows now.
pub fn summary(collector: &Collector) -> Summary {
    let groups = groups(collector);
    let followed = collector.followed();
    let mut workers: Vec<(SortKey, Identity)> = followed
        .iter()
        .enumerate()
        .filter_map(|(arrival, followed)| {
            let process = followed.lock();
            let active = process.ledger().operations() > 0;
            active.then(|| (sort_key(&process, &groups, arrival), process.identity()))
        })
        .collect();
    workers.sort_unstable_by_key(|(key, _)| *key);
    let numbers: HashMap<Identity, u32> =
        workers.into_iter().zip(0..).map(|((_, identity), number)| (identity, number)).collect();

    let mut matrix = Matrix::default();
    let mut lives = Lives::default();
    let mut views: Vec<Option<Worker>> = vec![None; numbers.len()];
    let mut accounting = Accounting::nothing();
    let mut phases: BTreeMap<usize, PhaseRow> = BTreeMap::new();
    for followed in &followed {
        let process = followed.lock();
        accounting.add(&process.accounting());
        let Some(number) = numbers.get(&process.identity()) else { continue };
        matrix.add(&process, &groups, &numbers);
        lives.add(&process);
        note_steps(&mut phases, &process);
        if let Some(view) = views.get_mut(*number as usize) {
            *view = Some(worker(&process, &groups));
        }
    }
    let operation_rows = rows(collector, View::Operations);
    let collective_rows = rows(collector, View::Collectives);
    let mut workers: Vec<Worker> = views.into_iter().flatten().collect();
    for row in collective_rows.iter().filter(|row| row.phase != STARTUP && is_sender(row)) {
        let here = workers.iter_mut().find(|w| w.host == row.host && w.pid == row.pid);
        let Some(worker) = here else { continue };
        worker.message_bytes = worker.message_bytes.saturating_add(row.message_bytes.unwrap_or(0));
        worker.bus_bytes = worker.bus_bytes.saturating_add(row.bus_bytes.unwrap_or(0));
    }
    let layouts: Vec<LayoutView> = groups.layouts().iter().map(|l| (*l).into()).collect();
    let mut missing = doubts(&collective_rows, &layouts, &workers);
    let overview = overview(collector);
    missing.extend(warnings(&overview));
    let transfers = matrix.done();
    let mut summary = Summary {
        nccltap: env!("CARGO_PKG_VERSION").to_owned(),
        layouts,
        workers,
        accounting,
        missing,
        phases: phases.into_values().collect(),
        collectives: collectives(&collective_rows),
        paths: taken(&collective_rows),
        backends: of_all(&overview),
        sizes: distribution(&collective_rows),
        transfers,
        timeline: lives.done(),
        paper: Vec::new(),
        operation_rows,
        collective_rows,
    };
    summary.set_model(None);
    summary
}

impl Summary {
    /// Makes the tables of the paper with the shapes of a model.
    pub fn set_model(&mut self, model: Option<Dimensions>) {
        let layout = match self.layouts.as_slice() {
            [only] => Some((only.tensor, only.pipeline)),
            _ => None,
        };
        self.paper = paper::tables(&self.collective_rows, layout, model);
    }

    /// Sums over all ranks of what came after start-up: operations, message bytes, bus bytes.
    pub fn totals(&self) -> (u64, u64, u64) {
        sums(self.collectives.iter().filter(|row| row.phase != STARTUP))
    }

    /// The same of start-up alone.
    pub fn startup(&self) -> (u64, u64, u64) {
        sums(self.collectives.iter().filter(|row| row.phase == STARTUP))
    }
}

fn sums<'a>(rows: impl Iterator<Item = &'a CollectiveRow>) -> (u64, u64, u64) {
    rows.fold((0, 0, 0), |(count, message, bus), row| {
        (
            count.saturating_add(row.count),
            message.saturating_add(row.message_bytes),
            bus.saturating_add(row.bus_bytes),
        )
    })
}

/// Place in the layout if it is known, then rank in the process' first communicator, then arrival.
type SortKey = (bool, Option<crate::groups::Coordinates>, Option<i32>, usize);

fn sort_key(process: &Process, groups: &Groups, arrival: usize) -> SortKey {
    let place = groups.place(&process.identity());
    let all = process.timeline().communicators().all();
    let rank = all.iter().map(|facts| facts.rank).find(|rank| *rank >= 0);
    (place.is_none(), place, rank, arrival)
}

fn worker(process: &Process, groups: &Groups) -> Worker {
    let place = groups.place(&process.identity());
    Worker {
        host: process.facts().host.clone(),
        pid: process.facts().pid,
        data: place.map(|place| place.data),
        stage: place.map(|place| place.stage),
        tensor: place.map(|place| place.tensor),
        operations: process.ledger().operations(),
        message_bytes: 0,
        bus_bytes: 0,
        accounting: process.accounting(),
    }
}

/// Every worker counts each step of its engine: the one that has most of a phase stands for all.
fn note_steps(phases: &mut BTreeMap<usize, PhaseRow>, process: &Process) {
    let mut mine: BTreeMap<usize, PhaseRow> = BTreeMap::new();
    for (label, count) in process.steps().counts() {
        let name = label.phase.name();
        let new = || PhaseRow { phase: name.to_owned(), steps: 0, tokens: None };
        let row = mine.entry(phase_order(name)).or_insert_with(new);
        row.steps = row.steps.saturating_add(count.steps);
        let tokens = count.tokens.prefill.saturating_add(count.tokens.decode);
        if tokens > 0 {
            row.tokens = Some(row.tokens.unwrap_or(0).saturating_add(tokens));
        }
    }
    for (order, row) in mine {
        let known = phases.entry(order).or_insert_with(|| row.clone());
        if (row.steps, row.tokens) > (known.steps, known.tokens) {
            *known = row;
        }
    }
}

fn collectives(rows: &[Row]) -> Vec<CollectiveRow> {
    /// Order and name of the phase, collective, role.
    type Kind = (usize, String, String, Option<String>);
    let mut sums: BTreeMap<Kind, (u64, u64, u64)> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_sender(row)) {
        let key = (
            phase_order(&row.phase),
            row.phase.clone(),
            collective(row).to_owned(),
            row.role.clone(),
        );
        let (count, message, bus) = sums.entry(key).or_default();
        *count = count.saturating_add(row.count);
        *message = message.saturating_add(row.message_bytes.unwrap_or(0));
        *bus = bus.saturating_add(row.bus_bytes.unwrap_or(0));
    }
    sums.into_iter()
        .map(|((_, phase, collective, role), (count, message_bytes, bus_bytes))| CollectiveRow {
            phase,
            collective,
            role,
            count,
            message_bytes,
            bus_bytes,
        })
        .collect()
}

/// What the rows themselves leave open.
fn doubts(rows: &[Row], layouts: &[LayoutView], workers: &[Worker]) -> Vec<String> {
    let sum = |wanted: &dyn Fn(&Row) -> bool| -> u64 {
        rows.iter().filter(|row| wanted(row)).map(|row| row.count).sum()
    };
    let bytes = |wanted: &dyn Fn(&Row) -> bool| -> u64 {
        let sent = rows.iter().filter(|row| is_sender(row) && wanted(row));
        sent.fold(0, |sum, row| sum.saturating_add(row.bus_bytes.unwrap_or(0)))
    };
    let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
    let mut all = Vec::new();
    if !layouts.is_empty() {
        let serving = sum(&|row| row.phase != STARTUP);
        let unknown = sum(&|row| row.phase == "unknown");
        if unknown > 0 {
            all.push(format!(
                "of {} operations it is not known whether they serve prefill or decode: {:.1} % of \
                 those after start-up, with {:.1} % of the bus bytes",
                grouped(unknown),
                percent(unknown, serving),
                percent(bytes(&|row| row.phase == "unknown"), bytes(&|row| row.phase != STARTUP))
            ));
        }
    } else if !workers.is_empty() {
        all.push(
            "no engine was recognised: layout, roles of groups and phases are not known".to_owned(),
        );
    }
    let expected: u32 = layouts.iter().map(|l| l.tensor * l.pipeline * l.data).sum();
    let placed = workers.iter().filter(|worker| worker.stage.is_some()).count() as u32;
    if expected != placed {
        all.push(format!("the layout has {expected} ranks, and {placed} of them were seen"));
    }
    for (what, count) in [
        (
            "operations of unknown data type or group have no bytes here",
            sum(&|row| is_sender(row) && (row.message_bytes.is_none() || row.bus_bytes.is_none())),
        ),
        ("counts are lower bounds, since only the GPU knows how often they ran", {
            rows.iter().filter(|row| row.at_least).count() as u64
        }),
    ] {
        if count > 0 {
            all.push(format!("{} {what}", grouped(count)));
        }
    }
    all
}
