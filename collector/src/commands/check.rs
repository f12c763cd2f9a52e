//! `nccltap check`: what was seen against what was predicted.

use super::served::Served;
use super::{runtime, say, usual_target};
use crate::client::{self, Target};
use crate::collector::PROCESSES;
use crate::model::comparison::compare;
use crate::outputs::comparison;
use crate::outputs::processes::{Overview, overview};
use crate::outputs::rows::{Row, View, json, rows};
use crate::outputs::text::warnings;
use crate::outputs::views::Format;
use crate::replay::replay;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Compares what was seen with what `nccltap predict` says of the same options
///
/// Exit code 0 if every count is as predicted, 1 if one is not, 2 if there is nothing to compare.
/// What goes past NCCL, as predicted, is not compared, and said so.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// A recording, or the rows of `nccltap report --format json`
    file: Option<PathBuf>,

    /// A running collector: unix:/PATH, tcp:HOST:PORT, or http://HOST:PORT
    #[arg(long, value_name = "ADDRESS", conflicts_with = "file")]
    collector: Option<Target>,

    #[command(flatten)]
    served: Served,

    /// How to print: tables for people, or one JSON array of rows
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Print also the rows that are equal
    #[arg(long)]
    all: bool,
}

/// The exit code when nothing can be compared.
const NOTHING_TO_COMPARE: u8 = 2;

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.compare() {
            Ok(agrees) => Ok(if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            Err(error) => {
                eprintln!("nccltap: {error:#}");
                Ok(ExitCode::from(NOTHING_TO_COMPARE))
            }
        }
    }

    fn compare(&self) -> anyhow::Result<bool> {
        let predictions = self.served.predictions()?;
        let [prediction] = predictions.as_slice() else {
            anyhow::bail!("what was seen has one layout: give --tp, --pp and --dp one size each");
        };
        let (rows, overview) = self.seen()?;
        let compared = compare(prediction, &rows);
        match self.format {
            Format::Json => say(&json(&compared.rows)?)?,
            Format::Text => say(&comparison::text(&compared, prediction, self.all))?,
        }
        // What the collector did not get is missing from the counts.
        for warning in overview.iter().flat_map(warnings) {
            eprintln!("warning: {warning}");
        }
        Ok(compared.agrees())
    }

    /// The rows, and, where it is known, what is not in them.
    fn seen(&self) -> anyhow::Result<(Vec<Row>, Option<Overview>)> {
        if let Some(file) = &self.file {
            return from_file(file);
        }
        let target = self.collector.clone().map_or_else(usual_target, Ok)?;
        let token = std::env::var("NCCLTAP_TOKEN").ok();
        let get = |path: &'static str| {
            let answer = client::get(&target, path, token.as_deref());
            runtime().and_then(|runtime| Ok(runtime.block_on(answer)?))
        };
        let rows = get("/api/v1/report?view=operations&format=json")?;
        let overview = get("/api/v1/processes")?;
        let odd = || format!("the collector at {target} answered with something else");
        Ok((
            serde_json::from_str(&rows).with_context(odd)?,
            Some(serde_json::from_str(&overview).with_context(odd)?),
        ))
    }
}

/// Rows as text begin with a bracket; no recording does.
fn from_file(file: &Path) -> anyhow::Result<(Vec<Row>, Option<Overview>)> {
    let place = file.display();
    let head = {
        use std::io::Read;
        let mut head = [0u8; 1];
        let mut open = std::fs::File::open(file).with_context(|| format!("cannot read {place}"))?;
        let read = open.read(&mut head).with_context(|| format!("cannot read {place}"))?;
        head[..read].first().copied()
    };
    if head == Some(b'[') {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {place}"))?;
        let rows: Vec<Row> = serde_json::from_str(&text)
            .with_context(|| format!("{place} has no rows of a report"))?;
        let of_operations = rows.iter().all(|row| row.op.is_some());
        anyhow::ensure!(of_operations, "{place} is of view collectives; operations are compared");
        return Ok((rows, None));
    }
    let collector = replay(file, PROCESSES)?;
    Ok((rows(&collector, View::Operations), Some(overview(&collector))))
}
