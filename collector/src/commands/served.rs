//! The options that say what is served, where and to whom: shared by the commands that predict.

use super::engine_options::{EngineOptions, ModelOptions};
use crate::model::{Deployment, Layout, Prediction, Request, Scheduled, Step, Trace};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};

/// Most lines that a file of requests or steps may have.
const LONGEST_TRACE: usize = 10_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Served {
    #[command(flatten)]
    model: ModelOptions,

    /// Tensor-parallel size
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',')]
    tp: Vec<u32>,

    /// Pipeline-parallel size
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',')]
    pp: Vec<u32>,

    /// Data-parallel size
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',')]
    dp: Vec<u32>,

    /// Spread experts over ranks instead of splitting each
    #[arg(long)]
    ep: bool,

    /// Tokens of the prompt
    #[arg(long, value_name = "TOKENS", required_unless_present_any = ["requests", "steps", "trace"])]
    prompt: Option<u64>,

    /// Tokens that are generated
    #[arg(long, value_name = "TOKENS", required_unless_present_any = ["requests", "steps", "trace"])]
    output: Option<u64>,

    /// So many such requests, all at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrent: usize,

    /// Requests: a JSON object per line, {"prompt": 128, "output": 128}, and, if not 0, "cached" for
    /// prompt tokens that the prefix cache has, "arrives" for the step before which it arrives
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "output", "concurrent"])]
    requests: Option<PathBuf>,

    /// The scheduler's own steps: a JSON object per line, {"prompts": [{"tokens": 128, "context": 0,
    /// "prompt": 128, "last": true}], "decodes": [129, 130]} with the length of each decoded sequence
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "output", "concurrent", "requests"])]
    steps: Option<PathBuf>,

    /// What the scheduler itself logged: a JSON object per line and step, {"new": {"a": {"prompt":
    /// 128}}, "tokens": {"a": 128}} with the tokens of each request; docs/model.md says how to log it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "output", "concurrent", "requests", "steps"])]
    trace: Option<PathBuf>,

    #[command(flatten)]
    engine: EngineOptions,
}

/// What an engine is given to do.
#[derive(Debug)]
enum Workload {
    Requests(Vec<Request>),
    Steps(Vec<Step>),
}

impl Served {
    /// The prediction for each layout that is asked for.
    pub(super) fn predictions(&self) -> anyhow::Result<Vec<Prediction>> {
        let model = self.model.described()?;
        let settings = self.engine.settings()?;
        let workload = self.workload()?;
        let predict = |layout: Layout| -> anyhow::Result<_> {
            let deployment = Deployment::new(model.clone(), layout, settings)?;
            Ok(match &workload {
                Workload::Requests(requests) => Prediction::of_requests(deployment, requests)?,
                Workload::Steps(steps) => {
                    ensure!(layout.data == 1, "the steps of one replica are those of --dp 1");
                    Prediction::of_steps(deployment, steps)?
                }
            })
        };
        let layouts = self.layouts()?;
        layouts.into_iter().map(|layout| predict(layout).context(layout.to_string())).collect()
    }

    /// The workload, in a few words.
    pub(super) fn workload_in_words(&self) -> String {
        let file = |path: &Path| path.display().to_string();
        match (
            &self.requests,
            self.steps.as_ref().or(self.trace.as_ref()),
            self.prompt,
            self.output,
        ) {
            (Some(path), ..) => format!("the requests of {}", file(path)),
            (_, Some(path), ..) => format!("the steps of {}", file(path)),
            (_, _, prompt, output) => {
                let requests = match self.concurrent {
                    1 => "one request".to_owned(),
                    many => format!("{many} requests at once, each"),
                };
                let (prompt, output) = (prompt.unwrap_or(0), output.unwrap_or(0));
                format!("{requests} of {prompt} prompt and {output} output tokens")
            }
        }
    }

    /// The layouts: one list may be longer than one, and those that are of length one hold for all.
    fn layouts(&self) -> anyhow::Result<Vec<Layout>> {
        let longest = self.tp.len().max(self.pp.len()).max(self.dp.len());
        let of = |flag: &str, sizes: &[u32], at: usize| match sizes {
            [one] => Ok(*one),
            sizes => sizes.get(at).copied().with_context(|| {
                format!("{flag} has {} sizes, where another has {longest}", sizes.len())
            }),
        };
        let layout = |at| -> anyhow::Result<_> {
            Ok(Layout {
                tensor: of("--tp", &self.tp, at)?,
                pipeline: of("--pp", &self.pp, at)?,
                data: of("--dp", &self.dp, at)?,
                expert_parallel: self.ep,
            })
        };
        (0..longest).map(layout).collect()
    }

    fn workload(&self) -> anyhow::Result<Workload> {
        if let Some(file) = &self.requests {
            return Ok(Workload::Requests(lines(file)?));
        }
        if let Some(file) = &self.steps {
            return Ok(Workload::Steps(lines(file)?));
        }
        if let Some(file) = &self.trace {
            let mut trace = Trace::default();
            let lines: Vec<Scheduled> = lines(file)?;
            let step = |(at, line): (usize, &Scheduled)| {
                let place = || format!("{}, step {}", file.display(), at + 1);
                trace.step(line).with_context(place)
            };
            return Ok(Workload::Steps(
                lines.iter().enumerate().map(step).collect::<Result<_, _>>()?,
            ));
        }
        ensure!(self.concurrent <= LONGEST_TRACE, "--concurrent is at most {LONGEST_TRACE}");
        let (prompt, output) = (self.prompt.unwrap_or(0), self.output.unwrap_or(0));
        Ok(Workload::Requests(vec![
            Request { prompt, output, cached: 0, arrives: 0 };
            self.concurrent
        ]))
    }
}

/// The objects of a file that has one on each line.
fn lines<T: serde::de::DeserializeOwned>(file: &Path) -> anyhow::Result<Vec<T>> {
    let place = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {place}"))?;
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        ensure!(all.len() < LONGEST_TRACE, "{place} has more than {LONGEST_TRACE} lines");
        let one = serde_json::from_str(line).with_context(|| format!("{place}:{}", at + 1))?;
        all.push(one);
    }
    ensure!(!all.is_empty(), "{place} is empty");
    Ok(all)
}
