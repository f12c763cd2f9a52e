//! Who is tapped: identity, accounting, communicators, libraries with doors, trouble, calls in
//! flight.

use super::backends::{self, BackendView};
use crate::collector::{Collector, Departed, Followed};
use crate::groups::Groups;
use crate::ledger::Launches;
use crate::process::{Accounting, Life, Process};
use crate::recording::RecordingState;
use crate::steps::{Label, StepCount};
use nccltap_proto::record::UNWOUND;
use nccltap_proto::{Function, Library, v1};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything a collector knows but the counts themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overview {
    /// The processes that are followed, in order of arrival.
    pub processes: Vec<ProcessView>,
    /// Processes that made room for others.
    pub departed_processes: u64,
    /// What became of the calls of those.
    pub departed_accounting: Accounting,
    /// Peers that were refused, per reason.
    pub refused: BTreeMap<String, u64>,
    /// The recording, if there is one.
    pub recording: Option<RecordingState>,
    /// Entries of a recording that could not be taken, and what was wrong with the first.
    #[serde(default)]
    pub entries_left_out: u64,
    /// See `entries_left_out`.
    #[serde(default)]
    pub first_left_out: Option<String>,
    /// Where a recording that was read ends before its time.
    #[serde(default)]
    pub recording_tail: Option<String>,
}

/// One process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessView {
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// When the tap came to life, nanoseconds since 1970.
    pub instance: u64,
    /// Parent process id.
    pub parent_pid: u32,
    /// Command line.
    pub command_line: String,
    /// The job, empty when it has none.
    pub job: String,
    /// Version of the agent, empty when known by its ring file alone.
    pub agent_version: String,
    /// How far it has come.
    pub life: Life,
    /// Whether a stream of it is open.
    pub connected: bool,
    /// Where its calls have gone.
    pub accounting: Accounting,
    /// Calls per function.
    pub calls: BTreeMap<String, u64>,
    /// Launches of CUDA graphs.
    pub launches: LaunchesView,
    /// Operations in conditional nodes of graphs that were launched, once per launch and in no other
    /// count: per operation.
    pub conditional: BTreeMap<String, u64>,
    /// Engine steps, by phase and by how it is known.
    #[serde(default)]
    pub steps: Vec<StepsView>,
    /// All-reduce backends, where the engine speaks of them.
    #[serde(default)]
    pub backends: Vec<BackendView>,
    /// All-reduces that the engine says it gave to backends this collector does not know.
    #[serde(default)]
    pub backends_not_known: u64,
    /// Calls that were refused.
    pub failed: Vec<FailedView>,
    /// Communicators, in order of creation.
    pub communicators: Vec<CommunicatorView>,
    /// Copies of NCCL and of CUDA's runtime and driver.
    pub libraries: Vec<LibraryView>,
    /// Trouble the tap stepped around: count per kind.
    pub faults: BTreeMap<String, u64>,
    /// Settings whose value was not taken.
    pub settings_problems: Vec<SettingView>,
    /// Every setting with the value in force.
    pub settings: BTreeMap<String, String>,
    /// Calls inside NCCL, or inside when the process died.
    pub in_flight: Vec<InFlightView>,
    /// Groups whose end was never seen.
    pub groups_without_end: u64,
    /// Operations told before their group ended.
    pub told_before_group_end: u64,
    /// Records that came again and were discarded.
    pub repeated: u64,
    /// Its ring file, empty when it has none.
    pub ring_file: String,
}

/// Launches of CUDA graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchesView {
    /// Of graphs with operations of NCCL in them.
    pub with_operations: u64,
    /// Of graphs without.
    pub without: u64,
    /// Of graphs of which it is not known what is in them.
    pub unknown: u64,
    /// Into graphs under capture: nothing was carried out.
    pub captured: u64,
    /// Different contents that graphs have.
    pub manifests: u64,
}

/// Engine steps of one phase, and what was in them as far as it is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepsView {
    /// The phase.
    pub phase: String,
    /// How it is known.
    pub phase_source: Option<String>,
    /// How many.
    pub count: u64,
    /// Tokens of prompts.
    pub prefill_tokens: u64,
    /// Tokens of running sequences.
    pub decode_tokens: u64,
    /// Of those: guesses of a draft.
    pub speculative_tokens: u64,
    /// Requests in prefill, counted in each of their steps.
    pub prefill_requests: u64,
    /// Requests that generated, likewise.
    pub decode_requests: u64,
}

/// Calls that were refused, or that did not return.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedView {
    /// The function.
    pub function: String,
    /// The `ncclResult_t` or `cudaError_t`, -1 for a call that did not return.
    pub result: i32,
    /// Its name.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// One communicator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommunicatorView {
    /// Number within the process.
    pub id: u32,
    /// Names the group on all its ranks.
    pub group: Option<String>,
    /// Size of the group.
    pub ranks: Option<u32>,
    /// This process' rank.
    pub rank: Option<i32>,
    /// CUDA device.
    pub device: Option<i32>,
    /// Copy of NCCL.
    pub library: u32,
    /// Function that made it.
    pub created_by: Option<String>,
    /// The name the application gave it.
    pub name: String,
    /// The group it was made from.
    pub parent_group: Option<String>,
    /// Whether its destroy or abort was called.
    pub destroyed: bool,
}

/// One copy of a library.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LibraryView {
    /// Number within the process.
    pub id: u32,
    /// `NCCL`, `CUDA runtime` or `CUDA driver`.
    pub kind: String,
    /// File it was loaded from.
    pub path: String,
    /// As `ncclGetVersion` or `cudaRuntimeGetVersion` gives it.
    pub version: Option<u32>,
    /// Functions the tap stands in front of, by way of a linkage table.
    pub plt: Vec<String>,
    /// Functions the tap stands in front of, by way of dlsym.
    pub dlsym: Vec<String>,
}

/// A setting whose value was not taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SettingView {
    /// Environment variable.
    pub name: String,
    /// The value in force.
    pub value: String,
    /// Why the value given was not taken.
    pub problem: String,
}

/// A call inside NCCL.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InFlightView {
    /// The function.
    pub function: Option<String>,
    /// Thread that made the call.
    pub thread: u32,
    /// Its group.
    pub group: Option<String>,
    /// This process' rank in the group.
    pub rank: Option<i32>,
    /// NCCL's count argument.
    pub elements: u64,
    /// How long it had been inside when the process spoke last, in seconds.
    pub seconds: Option<f64>,
    /// When it entered, nanoseconds since 1970.
    pub since_ns: Option<u64>,
}

/// The name of a result of `function`.
pub fn result_of(function: Function, result: i32) -> String {
    match function.library() {
        Library::CudaRuntime if result >= 0 => format!("cudaError_t {result}"),
        Library::CudaDriver if result >= 0 => format!("CUresult {result}"),
        Library::OneCcl if result >= 0 => format!("onecclResult_t {result}"),
        Library::Hip if result >= 0 => format!("hipError_t {result}"),
        _ => result_name(result).to_owned(),
    }
}

/// NCCL's name of a result code; `unwound` for a call that did not return, `other` for a code that is
/// not NCCL's.
pub const fn result_name(result: i32) -> &'static str {
    match result {
        0 => "ncclSuccess",
        1 => "ncclUnhandledCudaError",
        2 => "ncclSystemError",
        3 => "ncclInternalError",
        4 => "ncclInvalidArgument",
        5 => "ncclInvalidUsage",
        6 => "ncclRemoteError",
        7 => "ncclInProgress",
        UNWOUND => "unwound",
        _ => "other",
    }
}

/// What `collector` knows.
pub fn overview(collector: &Collector) -> Overview {
    overview_of(collector, true)
}

/// The same without communicators, of which there may be thousands in each process.
pub(crate) fn overview_without_communicators(collector: &Collector) -> Overview {
    overview_of(collector, false)
}

fn overview_of(collector: &Collector, with_communicators: bool) -> Overview {
    let Departed { processes, accounting } = collector.departed();
    let mut departed_accounting = Accounting::nothing();
    accounting.values().for_each(|one| departed_accounting.add(one));
    let groups = match with_communicators {
        true => super::rows::groups(collector),
        false => Groups::default(),
    };
    let replayed = collector.replayed();
    let view = |followed: &Arc<Followed>| view(followed, &groups, with_communicators);
    Overview {
        processes: collector.followed().iter().map(view).collect(),
        departed_processes: processes,
        departed_accounting,
        refused: collector
            .refusals()
            .filter(|(_, count)| *count > 0)
            .map(|(why, count)| (why.name().to_owned(), count))
            .collect(),
        recording: collector.recording(),
        entries_left_out: replayed.left_out,
        first_left_out: replayed.first,
        recording_tail: replayed.tail,
    }
}

fn view(followed: &Followed, groups: &Groups, with_communicators: bool) -> ProcessView {
    let process = followed.lock();
    let process = &*process;
    let facts = process.facts();
    let hello = process.hello();
    let timeline = process.timeline();
    let problems = hello.settings.iter().filter(|setting| !setting.problem.is_empty());
    ProcessView {
        host: facts.host.clone(),
        pid: facts.pid,
        instance: facts.instance,
        parent_pid: facts.parent_pid,
        command_line: facts.command_line.clone(),
        job: facts.job.clone(),
        agent_version: hello.agent_version.clone(),
        life: process.life(),
        connected: followed.is_connected(),
        accounting: process.accounting(),
        calls: process.ledger().calls().map(|(f, count)| (f.name().to_owned(), count)).collect(),
        launches: launches(process),
        conditional: process
            .ledger()
            .conditional()
            .iter()
            .map(|(operation, count)| (operation.name().to_owned(), *count))
            .collect(),
        steps: process.steps().counts().iter().map(steps).collect(),
        backends: backends::of(process),
        backends_not_known: process.backends().not_known(),
        failed: process
            .ledger()
            .failures()
            .iter()
            .map(|((function, result), count)| FailedView {
                function: function.name().to_owned(),
                result: *result,
                name: result_of(*function, *result),
                count: *count,
            })
            .collect(),
        communicators: timeline
            .communicators()
            .all()
            .into_iter()
            .filter(|_| with_communicators)
            .map(|facts| communicator(facts, groups))
            .collect(),
        libraries: process.libraries().map(library).collect(),
        faults: process.faults().clone(),
        settings_problems: problems
            .map(|setting| SettingView {
                name: setting.name.clone(),
                value: setting.value.clone(),
                problem: setting.problem.clone(),
            })
            .collect(),
        settings: hello.settings.iter().map(|s| (s.name.clone(), s.value.clone())).collect(),
        in_flight: in_flight(process, groups),
        groups_without_end: timeline.groups_without_end(),
        told_before_group_end: timeline.told_before_group_end(),
        repeated: timeline.repeated(),
        ring_file: hello.ring_file.clone(),
    }
}

fn steps((label, count): (&Label, &StepCount)) -> StepsView {
    StepsView {
        phase: label.phase.name().to_owned(),
        phase_source: label.source.map(|source| source.name().to_owned()),
        count: count.steps,
        prefill_tokens: count.tokens.prefill,
        decode_tokens: count.tokens.decode,
        speculative_tokens: count.speculative_tokens,
        prefill_requests: count.prefill_requests,
        decode_requests: count.decode_requests,
    }
}

fn launches(process: &Process) -> LaunchesView {
    let Launches { with_operations, without, unknown, captured } = process.ledger().launches();
    let manifests = process.timeline().manifests().len() as u64;
    LaunchesView { with_operations, without, unknown, captured, manifests }
}

fn in_flight(process: &Process, groups: &Groups) -> Vec<InFlightView> {
    let view = |call: &crate::process::InFlight| {
        let place = super::rows::Place::of(process, call.communicator);
        InFlightView {
            function: call.function.map(|function| function.name().to_owned()),
            thread: call.thread,
            group: place.group.map(|group| groups.name(group)),
            rank: place.rank,
            elements: call.record.count,
            seconds: call.age_ns.map(|ns| ns as f64 / 1e9),
            since_ns: call.since_realtime_ns,
        }
    };
    process.calls_in_flight().iter().map(view).collect()
}

fn communicator(facts: &v1::Communicator, groups: &Groups) -> CommunicatorView {
    let group = |group: u64| (group != 0).then(|| groups.name(group));
    CommunicatorView {
        id: facts.id,
        group: group(facts.group),
        ranks: (facts.ranks != 0).then_some(facts.ranks),
        rank: (facts.rank >= 0).then_some(facts.rank),
        device: (facts.device >= 0).then_some(facts.device),
        library: facts.library,
        created_by: function_name(facts.created_by),
        name: facts.name.clone(),
        parent_group: group(facts.parent_group),
        destroyed: facts.destroyed != 0,
    }
}

fn library(facts: &v1::Library) -> LibraryView {
    let through = |door: fn(&v1::Resolved) -> bool| {
        let resolved = facts.resolved.iter().filter(|resolved| door(resolved));
        resolved.filter_map(|resolved| function_name(resolved.function)).collect()
    };
    LibraryView {
        id: facts.id,
        kind: match facts.kind() {
            v1::LibraryKind::CudaRuntime => Library::CudaRuntime.name().to_owned(),
            v1::LibraryKind::CudaDriver => Library::CudaDriver.name().to_owned(),
            v1::LibraryKind::Oneccl => Library::OneCcl.name().to_owned(),
            v1::LibraryKind::Hip => Library::Hip.name().to_owned(),
            v1::LibraryKind::Nccl | v1::LibraryKind::Unspecified => Library::Nccl.name().to_owned(),
        },
        path: facts.path.clone(),
        version: (facts.version != 0).then_some(facts.version),
        plt: through(|resolved| resolved.plt),
        dlsym: through(|resolved| resolved.dlsym),
    }
}

fn function_name(id: u32) -> Option<String> {
    let function = u16::try_from(id).ok().and_then(Function::from_id)?;
    Some(function.name().to_owned())
}
