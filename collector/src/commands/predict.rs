//! `nccltap predict`: what a model in a layout must send.

use super::served::Served;
use super::{say, write_page};
use crate::model::Row;
use crate::outputs::prediction;
use crate::outputs::report::predicted;
use crate::outputs::rows::{View, json};
use crate::outputs::views::PageFormat;
use std::path::PathBuf;
use std::process::ExitCode;

/// Predicts what NCCL is told to do, from a model's config.json and a parallel layout
///
/// Without more options the engine is that of the paper: vLLM 0.8.5 V0, no CUDA graphs, no custom
/// all-reduce. For several layouts side by side, give lists: --tp 4,1,2 --pp 1,4,2.
#[derive(Debug, clap::Args)]
pub(super) struct Predict {
    #[command(flatten)]
    served: Served,

    /// How to print: tables for people, one JSON array of rows, or one HTML page with plots
    #[arg(long, value_enum, default_value_t = PageFormat::Text)]
    format: PageFormat,

    /// Write the HTML page to FILE, besides what is printed
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// What to count: collectives, or what NCCL is told
    #[arg(long, value_enum, default_value_t = View::Collectives)]
    view: View,
}

impl Predict {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let predictions = self.served.predictions()?;
        let workload = self.served.workload_in_words();
        let page = || predicted::page(&predictions, &workload, self.view);
        if let Some(file) = &self.html {
            write_page(file, &page())?;
        }
        let text = match self.format {
            PageFormat::Text => prediction::text(&predictions, &workload, self.view),
            PageFormat::Html => page(),
            PageFormat::Json => {
                let rows: Vec<Row> =
                    predictions.iter().flat_map(|prediction| prediction.rows(self.view)).collect();
                json(&rows)?
            }
        };
        say(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
