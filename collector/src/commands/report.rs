//! `nccltap report`: the counts of a recording or of a running collector.

use super::{runtime, say, usual_target};
use crate::client::{self, Target};
use crate::collector::PROCESSES;
use crate::outputs::http::Format;
use crate::outputs::processes::overview;
use crate::outputs::rows::{View, json, rows};
use crate::outputs::text;
use crate::replay::replay;
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints the counts of a recording or of a running collector
///
/// Without FILE and without --collector, asks the collector named by NCCLTAP_COLLECTOR, or the one
/// that `nccltap serve` starts for this user.
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    /// A recording, made by `nccltap serve --record FILE` or `nccltap run --record FILE`
    file: Option<PathBuf>,

    /// A running collector: unix:/PATH, tcp:HOST:PORT, or http://HOST:PORT
    #[arg(long, value_name = "ADDRESS", conflicts_with = "file")]
    collector: Option<Target>,

    /// How to print: tables for people, or one JSON array of rows
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// What to count: what NCCL was told, or the collectives that this amounts to
    #[arg(long, value_enum, default_value_t = View::Operations)]
    view: View,
}

impl Report {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let text = match &self.file {
            Some(file) => {
                let collector = replay(file, PROCESSES)?;
                let rows = rows(&collector, self.view);
                match self.format {
                    Format::Json => json(&rows)?,
                    Format::Text => text::report(&rows, &overview(&collector), self.view),
                }
            }
            None => {
                let target = self.collector.map_or_else(usual_target, Ok)?;
                let path = format!(
                    "/api/v1/report?view={}&format={}",
                    self.view.name(),
                    self.format.name()
                );
                let token = std::env::var("NCCLTAP_TOKEN").ok();
                runtime()?.block_on(client::get(&target, &path, token.as_deref()))?
            }
        };
        say(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
