//! `nccltap report`: what a recording or a running collector has counted.

use super::served::{Beside, Served};
use super::{runtime, say, usual_target, write_page};
use crate::client::{self, Target};
use crate::collector::PROCESSES;
use crate::model::advice::Cluster;
use crate::model::{Layout, padded_vocabulary};
use crate::outputs::report::paper::Dimensions;
use crate::outputs::report::serving::{Predicted, Serving};
use crate::outputs::report::{self, compared::compared, summary::summary};
use crate::outputs::views::{PageFormat, ReportView, told};
use crate::replay::replay;
use crate::serving::kv::KvTransfers;
use crate::serving::requests::Requests;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints what a recording or a running collector has counted
///
/// Without FILE and without --collector, asks the collector named by NCCLTAP_COLLECTOR, or the one
/// that `nccltap serve` starts for this user. With --format html, one page with tables and plots. Where
/// a model is named, as for `nccltap check`, what was seen stands beside what is predicted.
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    /// A recording, made by `nccltap serve --record FILE` or `nccltap run --record FILE`
    file: Option<PathBuf>,

    /// A running collector: unix:/PATH, tcp:HOST:PORT, or http://HOST:PORT
    #[arg(long, value_name = "ADDRESS", conflicts_with = "file")]
    collector: Option<Target>,

    /// How to print: tables for people, JSON, or one HTML page
    #[arg(long, value_enum, default_value_t = PageFormat::Text)]
    format: PageFormat,

    /// What to tell: what NCCL was told row by row, the collectives that this amounts to, the summary, or
    /// who is tapped [default: summary for HTML or with a model, else operations]
    #[arg(long, value_enum)]
    view: Option<ReportView>,

    /// Write the HTML page to FILE, besides what is printed
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Where the engine says how long its requests took: http://HOST:PORT, or a file of its /metrics [default:
    /// FILE.metrics, which `nccltap run --record FILE` writes, if it is there]
    #[arg(long, value_name = "ADDRESS|FILE")]
    engine_metrics: Option<String>,

    /// Predict these times too, on machines that `nccltap advise --cluster` knows; needs a model,
    /// --prompt and --output
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    #[command(flatten, next_help_heading = "Compared with the prediction of a model")]
    served: Served,
}

impl Report {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let of_page = self.format == PageFormat::Html || self.served.is_named();
        let view = self.view.unwrap_or(match of_page {
            true => ReportView::Summary,
            false => ReportView::Operations,
        });
        if view == ReportView::Summary {
            let report = self.report()?;
            self.write_html(Some(&report))?;
            say(&report::render(&report, self.format)?)?;
        } else {
            self.write_html(None)?;
            say(&self.told(view)?)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn write_html(&self, report: Option<&report::Report>) -> anyhow::Result<()> {
        let Some(file) = &self.html else { return Ok(()) };
        let page = match report {
            Some(report) => report::page::page(report),
            None => report::page::page(&self.report()?),
        };
        write_page(file, &page)
    }

    /// A view that is not the summary, printed.
    fn told(&self, view: ReportView) -> anyhow::Result<String> {
        ensure!(
            self.format != PageFormat::Html && !self.served.is_named(),
            "--view {0} is {0} alone; leave --view out for the page and the comparison",
            view.name()
        );
        let Some(file) = &self.file else {
            let (view, format) = (view.name(), self.format.name());
            return self.ask(&format!("/api/v1/report?view={view}&format={format}"));
        };
        Ok(told(&replay(file, PROCESSES)?, name(file), view, self.format)?)
    }

    /// The summary, beside its prediction if a model is named.
    fn report(&self) -> anyhow::Result<report::Report> {
        let mut report = match &self.file {
            Some(file) => report::Report {
                source: name(file),
                summary: summary(&replay(file, PROCESSES)?),
                compared: None,
                serving: None,
            },
            None => {
                let target = self.target()?;
                let answer = self.ask("/api/v1/report?view=summary&format=json")?;
                let odd = || format!("the collector at {target} answered with something else");
                let report: report::Report = serde_json::from_str(&answer).with_context(odd)?;
                report::Report { source: target.to_string(), ..report }
            }
        };
        if self.served.is_named() {
            let model = self.served.model()?;
            report.summary.set_model(Some(Dimensions {
                hidden: model.hidden_size,
                vocabulary: padded_vocabulary(model.vocab_size),
            }));
            if self.served.has_workload() {
                let seen = seen_layout(&report);
                let Beside { prediction, others, longer } = self.served.beside(seen)?;
                let workload = self.served.workload_in_words();
                let compared = compared(&report.summary, &prediction, workload, &others, &longer);
                report.compared = Some(compared);
            }
        }
        report.serving = self.serving(&report)?;
        Ok(report)
    }

    /// What the engine said of its requests, beside what is predicted where a cluster is named.
    fn serving(&self, report: &report::Report) -> anyhow::Result<Option<Serving>> {
        let beside = self.file.as_ref().map(|file| metrics_beside(file));
        let beside = beside.filter(|file| file.exists());
        let text = match (&self.engine_metrics, beside) {
            (Some(address), _) if address.starts_with("http://") => {
                let engine: Target = address.parse().map_err(anyhow::Error::msg)?;
                let answer = client::get(&engine, "/metrics", None);
                runtime()?.block_on(answer)?
            }
            (Some(file), _) => read(Path::new(file))?,
            (None, Some(file)) => read(&file)?,
            (None, None) => {
                ensure!(
                    self.cluster.is_none(),
                    "--cluster predicts times that stand beside the engine's own: give --engine-metrics"
                );
                return Ok(None);
            }
        };
        let requests = Requests::of_exposition(&text)
            .context("what was given as --engine-metrics is of no engine that is known")?;
        let mut serving = Serving::new(&requests, &KvTransfers::of_exposition(&text));
        if let Some(cluster) = &self.cluster {
            let cluster = Cluster::preset(cluster)?;
            let advice = self.served.advice(seen_layout(report), &cluster)?;
            serving.predicted = Predicted::new(&cluster, &advice);
        }
        Ok(Some(serving))
    }

    fn target(&self) -> anyhow::Result<Target> {
        self.collector.clone().map_or_else(usual_target, Ok)
    }

    fn ask(&self, path: &str) -> anyhow::Result<String> {
        let token = std::env::var("NCCLTAP_TOKEN").ok();
        Ok(runtime()?.block_on(client::get(&self.target()?, path, token.as_deref()))?)
    }
}

/// Where `nccltap run` keeps what the engine said, beside a recording.
pub(super) fn metrics_beside(recording: &Path) -> PathBuf {
    let mut name = recording.as_os_str().to_owned();
    name.push(".metrics");
    name.into()
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The name of a recording, without its folder: a page is passed on.
fn name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

fn seen_layout(report: &report::Report) -> Option<Layout> {
    let [seen] = report.summary.layouts.as_slice() else { return None };
    Some(Layout {
        tensor: seen.tensor,
        pipeline: seen.pipeline,
        data: seen.data,
        expert_parallel: false,
    })
}
