//! The commands of `nccltap`, one module each.

mod advise;
mod check;
mod completions;
mod demo;
mod doctor;
mod engine_options;
mod export;
mod library;
mod man;
#[cfg(test)]
mod options;
mod predict;
mod recover;
mod rehearse;
mod report;
mod run;
mod serve;
mod served;
mod signals;
mod top;

use crate::client::Target;
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Sees what GPUs say to each other while they serve large language models.
#[derive(Debug, Parser)]
#[command(name = "nccltap", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Run(run::Run),
    Report(report::Report),
    Top(top::Top),
    Export(export::Export),
    Predict(predict::Predict),
    Check(check::Check),
    Advise(advise::Advise),
    Recover(recover::Recover),
    Doctor(doctor::Doctor),
    Rehearse(rehearse::Rehearse),
    Demo(demo::Demo),
    Library(library::Library),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// Runs the command, and gives the exit code of the process.
    pub fn run(self) -> ExitCode {
        // A server tells what happens; a command only what goes wrong.
        start_log(match self.command {
            Command::Serve(_) => "info",
            _ => "warn",
        });
        let done = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Run(run) => run.run(),
            Command::Report(report) => report.run(),
            Command::Top(top) => top.run(),
            Command::Export(export) => export.run(),
            Command::Predict(predict) => predict.run(),
            Command::Check(check) => check.run(),
            Command::Advise(advise) => advise.run(),
            Command::Recover(recover) => recover.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Rehearse(rehearse) => rehearse.run(),
            Command::Demo(demo) => demo.run(),
            Command::Library(library) => library.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        };
        done.unwrap_or_else(|error| {
            eprintln!("nccltap: {error:#}");
            ExitCode::FAILURE
        })
    }
}

/// What happens is told on stderr. `NCCLTAP_LOG` says how much: `error`, `warn`, `info`, `debug`.
fn start_log(usually: &str) {
    let usual = || EnvFilter::new(usually);
    let wanted = std::env::var("NCCLTAP_LOG").unwrap_or_default();
    let filter = match wanted.as_str() {
        "" => usual(),
        wanted => EnvFilter::try_new(wanted).unwrap_or_else(|error| {
            eprintln!("nccltap: NCCLTAP_LOG={wanted} is not used: {error}");
            usual()
        }),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Prints on stdout. A reader that has gone away, as `head` does, is no error.
fn say(text: &str) -> std::io::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes an HTML page to `file`, in place of what is there.
fn write_page(file: &std::path::Path, page: &str) -> anyhow::Result<()> {
    std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))
}

/// A runtime with as many threads as the machine has cores.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Where the collector of this user listens when nothing else is said.
fn default_address() -> nccltap_proto::address::Address {
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from);
    let uid = rustix::process::getuid().as_raw();
    nccltap_proto::address::Address::default_for(uid, dir.as_deref())
}

/// The collector that agents of this environment would report to.
fn usual_target() -> anyhow::Result<Target> {
    match std::env::var("NCCLTAP_COLLECTOR") {
        Ok(address) if !address.is_empty() => address.parse().context("NCCLTAP_COLLECTOR"),
        _ => Ok(Target::Collector(default_address())),
    }
}
