//! `nccltap run`: a command with the tap in it, and the report of what it did.

use super::report::metrics_beside;
use super::runtime;
use super::signals::Signals;
use crate::client::{self, Target};
use crate::outputs::rows::{View, json};
use crate::plugin;
use crate::preload::{find_library, joined, nameable, uplink_problem};
use crate::private::PrivateCollector;
use crate::serving::address::of_command;
use crate::serving::watch::Watch;
use anyhow::Context;
use nccltap_proto::address::Address;
use std::ffi::OsString;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long processes that outlive the command are waited for.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Runs a command with the tap in it and in its children, and prints the report at the end
///
/// The report goes to stderr, so that the command's own output stays clean. The exit code is the
/// command's, 128 + N when signal N ended it. LD_PRELOAD is joined, not replaced. PYTHONPATH is joined by
/// the plugin that marks the steps of vLLM and SGLang, unless NCCLTAP_PLUGIN=off.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    keep: Keep,

    /// Report to this collector, which is running already; its report is `nccltap report`'s to
    /// print. By default the command gets a collector of its own
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["engine_metrics", "record", "report", "http"])]
    collector: Option<Address>,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What is kept of what a command did, and where it is seen meanwhile.
#[derive(Debug, clap::Args)]
pub(super) struct Keep {
    /// Keep every message in FILE, for `nccltap report FILE`; a file that exists is not overwritten
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Print no report
    #[arg(long)]
    quiet: bool,

    /// Where the engine answers HTTP: the report has the latencies of its requests from /metrics there. By
    /// default it is found where CMD is `vllm serve` or another server that is known
    #[arg(long, value_name = "http://HOST:PORT")]
    engine_metrics: Option<Target>,

    /// Write the rows of the report to FILE, as `nccltap report --format json` prints them
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Serve /metrics and /api/v1 here while the command runs; port 0 takes a free one, and a line on
    /// stderr says which
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
}

/// Variables of a command's environment, beyond those it inherits.
pub(super) type Environment = Vec<(&'static str, OsString)>;

impl Run {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let library = find_library()?;
        if let Some(problem) = uplink_problem(&library) {
            eprintln!("warning: {problem}");
        }
        runtime()?.block_on(async {
            match &self.collector {
                Some(address) => self.with(address, &library).await,
                None => {
                    let command = std::slice::from_ref(&self.command);
                    with_own(command, &Environment::new(), &self.keep, &library).await
                }
            }
        })
    }

    async fn with(&self, address: &Address, library: &Path) -> anyhow::Result<ExitCode> {
        let token = std::env::var("NCCLTAP_TOKEN").ok();
        let target = Target::Collector(address.clone());
        client::get(&target, "/ready", token.as_deref()).await?;
        let links = tempfile::tempdir().context("a directory for a link cannot be made")?;
        let library = nameable(library, links.path())?;
        let preload = joined(&library, std::env::var_os("LD_PRELOAD").as_deref());
        let mut environment =
            vec![("LD_PRELOAD", preload), ("NCCLTAP_COLLECTOR", address.to_string().into())];
        environment.extend(plugin::environment(links.path(), &|name| std::env::var_os(name))?);
        let mut signals = Signals::catch()?;
        let ended = match spawn(&self.command, environment) {
            Ok(child) => supervise(child, &mut signals).await?,
            Err(code) => return Ok(code),
        };
        if !self.keep.quiet {
            eprintln!("\nThe counts are at the collector: nccltap report --collector {address}");
        }
        Ok(exit_code(ended))
    }
}

/// Runs commands that belong together with the tap and one collector of their own, and keeps what is
/// to be kept. An `LD_PRELOAD` in `environment` takes the place of the inherited one; the tap joins
/// it.
pub(super) async fn with_own(
    commands: &[Vec<OsString>],
    environment: &Environment,
    keep: &Keep,
    library: &Path,
) -> anyhow::Result<ExitCode> {
    let own = PrivateCollector::start(keep.record.as_deref(), keep.http).await?;
    if let Some(http) = own.http() {
        eprintln!("nccltap: live counts at http://{http}/metrics");
    }
    let mut environment = environment.clone();
    let preload = match environment.iter().position(|(name, _)| *name == "LD_PRELOAD") {
        Some(index) => Some(environment.remove(index).1),
        None => std::env::var_os("LD_PRELOAD"),
    };
    environment.extend(own.environment(library, preload.as_deref())?);
    let brought = plugin::environment(own.directory(), &|name| {
        let set = environment.iter().rev().find(|(set, _)| *set == name);
        set.map(|(_, value)| value.clone()).or_else(|| std::env::var_os(name))
    })?;
    environment.extend(brought);
    let engine =
        keep.engine_metrics.clone().or_else(|| commands.iter().find_map(|c| of_command(c)));
    let watch = engine.map(|engine| Watch::start(engine, Arc::clone(own.collector())));
    let mut signals = Signals::catch()?;
    let mut children = Vec::new();
    for command in commands {
        match spawn(command, environment.clone()) {
            Ok(child) => children.push(child),
            Err(code) => {
                for child in &mut children {
                    let _ = child.kill().await;
                }
                return Ok(code);
            }
        }
    }
    let ended = supervise_all(children, &mut signals).await?;
    let served = watch.and_then(Watch::stop);
    let running = tokio::select! {
        running = own.settle(SETTLE_WITHIN) => running,
        // Whoever does not want to wait sees what there is.
        _ = signals.next() => 0,
    };
    if !keep.quiet {
        eprint!("\n{}", own.report());
        if let Some(served) = served.as_ref().filter(|served| !served.text.is_empty()) {
            eprint!("\n{}", served.text);
        }
        if running > 0 {
            eprintln!(
                "warning: {running} processes have not ended; what they do from now on is in \
                 no report"
            );
        }
    }
    if let (Some(recording), Some(served)) = (&keep.record, &served) {
        let path = metrics_beside(recording);
        std::fs::write(&path, &served.metrics).with_context(|| {
            format!("what the engine said cannot be written to {}", path.display())
        })?;
    }
    if let Some(path) = &keep.report {
        std::fs::write(path, json(&own.rows(View::Operations))?)
            .with_context(|| format!("the report cannot be written to {}", path.display()))?;
    }
    own.stop().await?;
    Ok(exit_code(ended))
}

/// Starts a command. One that cannot be started gives the exit code that a shell would.
pub(super) fn spawn(command: &[OsString], environment: Environment) -> Result<Child, ExitCode> {
    let Some((program, arguments)) = command.split_first() else { return Err(ExitCode::from(2)) };
    Command::new(program).args(arguments).envs(environment).spawn().map_err(|error| {
        eprintln!("nccltap: {} cannot be run: {error}", Path::new(program).display());
        ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
    })
}

/// Waits for a command, and hands on the signals that come meanwhile.
pub(super) async fn supervise(child: Child, signals: &mut Signals) -> anyhow::Result<ExitStatus> {
    supervise_all(vec![child], signals).await
}

/// Waits for commands that belong together, and hands on the signals that come meanwhile. When the
/// first of them ends, or any of them fails, the others are asked to end as well. Gives how the first
/// that failed has ended, or else how the first has.
async fn supervise_all(children: Vec<Child>, signals: &mut Signals) -> anyhow::Result<ExitStatus> {
    let mut running: Vec<(usize, Child)> = children.into_iter().enumerate().collect();
    let mut verdict: Option<ExitStatus> = None;
    loop {
        tokio::select! {
            (place, ended) = next_to_end(&mut running) => {
                let (number, _) = running.remove(place);
                let ended = ended?;
                let decides = number == 0 || !ended.success();
                if decides && verdict.is_none() {
                    verdict = Some(ended);
                }
                if running.is_empty() {
                    return verdict.context("no command was run");
                }
                if decides {
                    pids(&running).for_each(Signals::ask_to_end);
                }
            }
            signal = signals.next() => {
                pids(&running).for_each(|pid| signals.hand_on(signal, pid));
            }
        }
    }
}

/// The children that have not been waited for.
fn pids(running: &[(usize, Child)]) -> impl Iterator<Item = u32> {
    running.iter().filter_map(|(_, child)| child.id())
}

/// The next child that ends, by its place.
async fn next_to_end(running: &mut [(usize, Child)]) -> (usize, std::io::Result<ExitStatus>) {
    poll_fn(|context| {
        for (place, (_, child)) in running.iter_mut().enumerate() {
            if let Poll::Ready(ended) = pin!(child.wait()).poll(context) {
                return Poll::Ready((place, ended));
            }
        }
        Poll::Pending
    })
    .await
}

/// The exit code that tells how a command ended.
pub(super) fn exit_code(ended: ExitStatus) -> ExitCode {
    let code = ended.code().or_else(|| ended.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
