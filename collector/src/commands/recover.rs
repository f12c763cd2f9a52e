//! `nccltap recover`: reads the rings that killed processes left behind.

use super::say;
use crate::collector::{Collector, PROCESSES};
use crate::outputs::processes::{ProcessView, overview};
use crate::outputs::rows::{Row, View, rows};
use crate::outputs::text;
use crate::outputs::views::Format;
use crate::recovery::file::{self, DeadFile, FileError};
use crate::recovery::watch::take_into;
use anyhow::Context;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Reads the rings that killed processes left behind
///
/// Prints what no collector has taken yet: the operations, the call that was inside NCCL when the
/// process died, and where its calls have gone. A running `nccltap serve` does so by itself. Exits
/// with 1 when a file could not be read.
#[derive(Debug, clap::Args)]
pub(super) struct Recover {
    /// Directory with ring files, or one ring file
    #[arg(default_value = "/dev/shm")]
    dir: PathBuf,

    /// How to print: tables for people, or one JSON object with rows and processes
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Remove the files that were read. Any other file is left alone
    #[arg(long)]
    remove: bool,
}

#[derive(Serialize)]
struct Recovered {
    rows: Vec<Row>,
    processes: Vec<ProcessView>,
}

impl Recover {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let paths = match self.dir.is_dir() {
            true => file::named_in(&self.dir)
                .with_context(|| format!("{} cannot be looked through", self.dir.display()))?,
            false => vec![self.dir.clone()],
        };
        let collector = Collector::new(PROCESSES);
        let mut all_read = true;
        for path in &paths {
            match self.take(&collector, path) {
                Ok(()) => {}
                Err(FileError::InUse) => {
                    eprintln!("{}: left alone, {}", path.display(), FileError::InUse);
                }
                Err(error) => {
                    eprintln!("{}: left alone, {error}", path.display());
                    all_read = false;
                }
            }
        }
        let rows = rows(&collector, View::Operations);
        let overview = overview(&collector);
        match self.format {
            Format::Json => {
                let recovered = Recovered { rows, processes: overview.processes };
                say(&(serde_json::to_string_pretty(&recovered)? + "\n"))?;
            }
            Format::Text if overview.processes.is_empty() => {
                say(&format!("No rings of dead processes in {}.\n", self.dir.display()))?;
            }
            Format::Text => say(&text::report(&rows, &overview, View::Operations))?,
        }
        Ok(if all_read { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn take(&self, collector: &Collector, path: &Path) -> Result<(), FileError> {
        let dead = DeadFile::open(path)?;
        take_into(collector, &dead.ring_file()?, path)?;
        if self.remove {
            dead.remove()?;
        }
        Ok(())
    }
}
