//! `nccltap doctor`: what is intercepted, by which door, what is not, and what to set.

use super::run::{exit_code, spawn};
use super::signals::Signals;
use super::{runtime, say, usual_target};
use crate::client;
use crate::collector::{Collector, PROCESSES};
use crate::doctor::findings::Findings;
use crate::doctor::procfs::{self, Mapped};
use crate::doctor::program::{examine, is_library};
use crate::outputs::processes::{Overview, ProcessView, overview};
use crate::plugin;
use crate::preload::{find_library, uplink_problem};
use crate::private::PrivateCollector;
use crate::recovery::file;
use crate::recovery::watch::take_into;
use nccltap_proto::ringfile::RingFile;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How often it is looked what the command has loaded. A copy of NCCL that is mapped for a shorter
/// time may be missed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Says what the tap intercepts, by which door, what it misses, and what to set
///
/// With --pid, looks at a running process. With a command, checks whether it can be preloaded, runs
/// it with the tap coming to life at the first call of NCCL (NCCLTAP_START=call), and says what
/// reached the tap. With neither, checks the tap itself. Exits with 1 when something is missed.
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// A running process
    #[arg(long, conflicts_with = "command")]
    pid: Option<u32>,

    /// A command to run, and its arguments
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut findings = Findings::default();
        match self.pid {
            Some(pid) => runtime()?.block_on(look_at(pid, &mut findings)),
            None => {
                let library = tap(&mut findings);
                if let Some(library) = library
                    && !self.command.is_empty()
                    && can_be_preloaded(&self.command, &mut findings)
                {
                    runtime()?.block_on(observe(&self.command, &library, &mut findings))?;
                }
            }
        }
        say(&findings.text())?;
        Ok(if findings.all_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whether the tap is there and loads.
fn tap(findings: &mut Findings) -> Option<PathBuf> {
    let library = match find_library() {
        Ok(library) => library,
        Err(error) => {
            findings.bad(format!("the tap is not found: {error:#}"));
            return None;
        }
    };
    if let Err(obstacle) = is_library(&library) {
        findings.bad(format!("the tap cannot be loaded: {obstacle}"));
        return None;
    }
    // A library that the loader does not take is not fatal to the program: it says so on stderr.
    let tried = std::process::Command::new("/bin/true").env("LD_PRELOAD", &library).output();
    match tried {
        Ok(output) if output.status.success() && output.stderr.is_empty() => {
            findings.good(format!("the tap is {}, and it loads", library.display()));
            if let Some(problem) = uplink_problem(&library) {
                findings.bad(problem);
            }
            Some(library)
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            findings.bad(format!("{} does not load: {}", library.display(), said.trim()));
            None
        }
        Err(error) => {
            findings.note(format!("whether the tap loads could not be tried: {error}"));
            Some(library)
        }
    }
}

fn can_be_preloaded(command: &[OsString], findings: &mut Findings) -> bool {
    let Some(program) = command.first() else { return false };
    match examine(program, std::env::var_os("PATH").as_deref()) {
        Ok(way) => {
            let way: Vec<_> = way.iter().map(|file| file.display().to_string()).collect();
            findings.good(format!("{} can be preloaded", way.join(", run by ")));
            true
        }
        Err(obstacle) => {
            findings.bad(obstacle.to_string());
            false
        }
    }
}

/// Runs a command with the tap in it, and says what reached it.
async fn observe(
    command: &[OsString],
    library: &Path,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let own = PrivateCollector::start(None, None).await?;
    let mut environment = own.environment(library, std::env::var_os("LD_PRELOAD").as_deref())?;
    environment.push(("NCCLTAP_START", "call".into()));
    environment.extend(plugin::environment(own.directory(), &|name| std::env::var_os(name))?);
    let mut signals = Signals::catch()?;
    let Ok(mut child) = spawn(command, environment) else {
        findings.bad("the command cannot be run");
        return Ok(());
    };
    let Some(pid) = child.id() else { return Ok(()) };
    let mut seen: BTreeMap<u32, Mapped> = BTreeMap::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended?,
            signal = signals.next() => signals.hand_on(signal, pid),
            _ = tick.tick() => {
                for pid in procfs::descendants(pid) {
                    if let Ok(mapped) = procfs::mapped(pid) {
                        seen.entry(pid).or_default().merge(mapped);
                    }
                }
            }
        }
    };
    if exit_code(ended) != ExitCode::SUCCESS {
        findings.note(format!("the command ended with {ended}"));
    }
    own.settle(SETTLE_WITHIN).await;
    let processes = overview(own.collector()).processes;
    for process in &processes {
        findings.process(process);
    }
    findings.simulator(
        "the command",
        &BTreeSet::new(),
        switched_on(&|name| std::env::var_os(name)),
    );
    for (pid, mapped) in &seen {
        findings.simulator(&format!("pid {pid}"), &mapped.simulators, false);
        findings.unseen(&format!("pid {pid}"), &mapped.unseen);
        let process = processes.iter().find(|process| process.pid == procfs::own_pid(*pid));
        let who = format!("pid {pid}");
        findings.copies(&who, &mapped.nccl, &reached(process), !mapped.taps.is_empty());
    }
    if processes.is_empty() {
        match seen.values().any(|mapped| !mapped.nccl.is_empty()) {
            true => findings.bad("NCCL was loaded, and no call of it reached the tap"),
            false => findings.note("the command never loaded NCCL, as far as was seen"),
        }
    }
    own.stop().await
}

/// Whether an environment lets simulated libraries work.
fn switched_on(variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let (name, value) = nccltap_rehearsal::SWITCH;
    variable(name).is_some_and(|set| set == value)
}

fn reached(process: Option<&ProcessView>) -> BTreeSet<PathBuf> {
    let libraries = process.map(|process| process.libraries.as_slice()).unwrap_or_default();
    libraries.iter().map(|library| PathBuf::from(&library.path)).collect()
}

/// Looks at a running process and at the collector it reports to.
async fn look_at(pid: u32, findings: &mut Findings) {
    let mapped = match procfs::mapped(pid) {
        Ok(mapped) => mapped,
        Err(error) => {
            findings.bad(format!("process {pid} cannot be looked at: {error}"));
            return;
        }
    };
    let environment = procfs::environment(pid).unwrap_or_default();
    let preload = environment.get("LD_PRELOAD").map(String::as_str).unwrap_or_default();
    match mapped.taps.iter().next() {
        Some(tap) => findings.good(format!("the tap is in process {pid}: {}", tap.display())),
        None if preload.contains(crate::preload::LIBRARY) => findings.bad(format!(
            "LD_PRELOAD of process {pid} names the tap, and the tap is not there: is its path \
             readable in the container of the process, is the program setuid or static?"
        )),
        None => findings.bad(format!(
            "the tap is not in process {pid}; start it with LD_PRELOAD=/path/to/libnccltap.so, or \
             by `nccltap run`"
        )),
    }
    if environment.get("NCCLTAP_OFF").is_some_and(|off| off == "1") {
        findings.bad(format!("NCCLTAP_OFF=1 is set in process {pid}: the tap does nothing"));
    }
    let of_process = |name: &str| environment.get(name).map(OsString::from);
    let who = format!("process {pid}");
    findings.simulator(&who, &mapped.simulators, switched_on(&of_process));
    findings.unseen(&who, &mapped.unseen);
    let known = known_to_collector(pid, &environment, findings).await;
    // What the collector does not know stands in the ring file.
    let known = known.or_else(|| by_ring_file(pid, &environment));
    if let Some(process) = &known {
        findings.process(process);
    }
    let has_tap = !mapped.taps.is_empty();
    findings.copies(&format!("process {pid}"), &mapped.nccl, &reached(known.as_ref()), has_tap);
    if mapped.nccl.is_empty() {
        findings.note(format!("process {pid} has no copy of NCCL loaded"));
    }
}

/// What the collector that `pid` reports to knows of it.
async fn known_to_collector(
    pid: u32,
    environment: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<ProcessView> {
    let target = match environment.get("NCCLTAP_COLLECTOR").filter(|address| !address.is_empty()) {
        Some(address) => address.parse().map_err(anyhow::Error::from),
        None => usual_target(),
    };
    let target = match target {
        Ok(target) => target,
        Err(error) => {
            findings.bad(format!("process {pid}: {error:#}"));
            return None;
        }
    };
    let token = std::env::var("NCCLTAP_TOKEN").ok();
    let answer = client::get(&target, "/api/v1/processes", token.as_deref()).await;
    let overview = answer.map_err(anyhow::Error::from).and_then(|text| {
        let overview: Overview = serde_json::from_str(&text)?;
        Ok(overview)
    });
    let overview = match overview {
        Ok(overview) => overview,
        Err(error) => {
            findings.bad(format!("{error:#}; until then records wait in the ring file"));
            return None;
        }
    };
    let own = procfs::own_pid(pid);
    let known = overview.processes.into_iter().rev().find(|process| process.pid == own);
    match &known {
        Some(process) if process.connected => {
            findings.good(format!("the collector at {target} hears process {pid}"));
        }
        Some(_) => {
            findings.bad(format!("the collector at {target} has no open stream of process {pid}"));
        }
        None => findings.note(format!(
            "the collector at {target} has not heard of process {pid}; the tap comes to life with \
             the first communicator"
        )),
    }
    known
}

/// What the ring file of `pid` says of it, while it lives.
fn by_ring_file(pid: u32, environment: &BTreeMap<String, String>) -> Option<ProcessView> {
    let directory = environment.get("NCCLTAP_RING_DIR").map_or("/dev/shm", String::as_str);
    // As the process sees it, which may be in a container.
    let directory = PathBuf::from(format!("/proc/{pid}/root{directory}"));
    let own = procfs::own_pid(pid);
    let collector = Collector::new(PROCESSES);
    for path in file::named_in(&directory).ok()? {
        let Ok(bytes) = file::look_into(&path) else { continue };
        let Ok(ring_file) = RingFile::parse(&bytes) else { continue };
        if ring_file.header.pid == own {
            let _ = take_into(&collector, &ring_file, &path);
        }
    }
    overview(&collector).processes.pop()
}
