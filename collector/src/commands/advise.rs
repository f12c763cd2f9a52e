//! `nccltap advise`: which layout to take.

use super::engine_options::{EngineOptions, ModelOptions};
use super::say;
use crate::model::advice::{By, Cluster, Load, Workload, rank};
use crate::outputs::advice;
use crate::outputs::rows::json;
use crate::outputs::views::Format;
use anyhow::{Context, ensure};
use std::path::PathBuf;
use std::process::ExitCode;

/// Ranks the layouts of a model on a cluster by what they are predicted to cost
///
/// Counts and bytes are exact: those of `nccltap predict`. Times are a model: a roofline at the GPU's
/// peak, NCCL's own formula for its operations, and nothing of the host. docs/advise.md holds them
/// against measurements.
#[derive(Debug, clap::Args)]
pub(super) struct Advise {
    #[command(flatten)]
    model: ModelOptions,

    /// Tokens of each prompt
    #[arg(long, value_name = "TOKENS")]
    prompt: u64,

    /// Tokens that each request generates
    #[arg(long, value_name = "TOKENS")]
    output: u64,

    /// So many requests at any time [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    concurrent: Option<u64>,

    /// So many requests per second to each replica
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "concurrent")]
    rate: Option<f64>,

    /// The machines: a100-sxm, h100-sxm, h200-sxm (two nodes of eight GPUs), paper (two nodes of four
    /// H100), or paper-measured (with what the paper's figures say about its network)
    #[arg(long, value_name = "NAME", default_value = "h100-sxm")]
    cluster: String,

    /// Machines of one's own: a JSON object, see docs/advise.md
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    cluster_file: Option<PathBuf>,

    /// As many nodes [default: the cluster's]
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,

    /// As many GPUs in each node [default: the cluster's]
    #[arg(long, value_name = "N")]
    gpus_per_node: Option<u32>,

    /// What layouts are ranked by
    #[arg(long, value_enum, default_value_t = By::E2e)]
    by: By,

    /// The first request to a server, with what happens once only, as far as the cluster knows it
    #[arg(long)]
    first_request: bool,

    #[command(flatten)]
    engine: EngineOptions,

    /// How to print: a table for people, or one JSON array of layouts
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Advise {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let model = self.model.described()?;
        let settings = self.engine.settings()?;
        let cluster = self.cluster()?;
        let workload = self.workload()?;
        let (ranked, refused) = rank(&model, settings, &cluster, &workload, self.by);
        if let ([], Some((layout, refusal))) = (ranked.as_slice(), refused.first()) {
            anyhow::bail!("no layout can be advised; of {layout}: {refusal}");
        }
        let text = match self.format {
            Format::Json => json(&advice::rows(&ranked))?,
            Format::Text => {
                advice::text(&model, settings.engine, &cluster, &workload, &ranked, &refused)
            }
        };
        say(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    fn cluster(&self) -> anyhow::Result<Cluster> {
        let cluster = match &self.cluster_file {
            None => Cluster::preset(&self.cluster)?,
            Some(file) => {
                let place = file.display();
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {place}"))?;
                Cluster::from_json(&text).with_context(|| format!("{place} is no use"))?
            }
        };
        Ok(cluster.resized(self.nodes, self.gpus_per_node)?)
    }

    fn workload(&self) -> anyhow::Result<Workload> {
        let load = match (self.rate, self.concurrent) {
            (Some(rate), _) => {
                ensure!(rate.is_finite() && rate > 0.0, "--rate must be above 0");
                Load::PerSecond(rate)
            }
            (None, requests) => Load::Concurrent(requests.unwrap_or(1)),
        };
        let first = self.first_request;
        let alone = matches!(load, Load::Concurrent(1));
        ensure!(
            !first || alone,
            "--first-request is of one request, without --concurrent and --rate"
        );
        Ok(Workload { prompt: self.prompt, output: self.output, load, first })
    }
}
