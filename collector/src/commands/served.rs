//! The options that say what is served, where and to whom: shared by the commands that predict.

use super::engine_options::{EngineOptions, ModelOptions};
use crate::model::advice::{self, Advice, Cluster, Load};
use crate::model::{
    Deployment, Layout, Model, Prediction, Request, Scheduled, Settings, Step, Trace,
};
use anyhow::{Context, bail, ensure};
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
    #[arg(long, value_name = "TOKENS")]
    prompt: Option<u64>,

    /// Tokens that are generated
    #[arg(long, value_name = "TOKENS")]
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
    /// 128}}, "tokens": {"a": 128}} with the tokens of each request; docs/model.md says how to log it. With
    /// replicas the option is given for each
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "output", "concurrent", "requests", "steps"])]
    trace: Vec<PathBuf>,

    #[command(flatten)]
    engine: EngineOptions,
}

/// What an engine is given to do.
#[derive(Debug)]
enum Workload {
    Requests(Vec<Request>),
    /// The steps of each replica.
    Steps(Vec<Vec<Step>>),
}

/// A prediction, and those that stand beside it in the paper's Figures 6 and 7.
#[derive(Debug)]
pub(super) struct Beside {
    /// Of what ran.
    pub(super) prediction: Prediction,
    /// Of the other layouts of tensor and pipeline parallelism with as many ranks.
    pub(super) others: Vec<Prediction>,
    /// Of the same layout for one, two and four times as many generated tokens.
    pub(super) longer: Vec<(u64, Prediction)>,
}

impl Served {
    /// Whether a model is named.
    pub(super) fn is_named(&self) -> bool {
        self.model.is_named()
    }

    /// Whether it is said what the engine is given to do.
    pub(super) fn has_workload(&self) -> bool {
        let lengths = self.prompt.is_some() && self.output.is_some();
        let files = [self.requests.as_ref(), self.steps.as_ref(), self.trace.first()];
        lengths || files.iter().any(Option::is_some)
    }

    /// The model.
    pub(super) fn model(&self) -> anyhow::Result<Model> {
        self.model.described()
    }

    /// The prediction for each layout that is asked for.
    pub(super) fn predictions(&self) -> anyhow::Result<Vec<Prediction>> {
        let predictor = Predictor::new(self)?;
        let layouts = self.layouts()?;
        let predict = |layout: Layout| predictor.predict(layout).context(layout.to_string());
        layouts.into_iter().map(predict).collect()
    }

    /// The prediction for the one layout that is asked for, or where none is, for the one that was
    /// `seen`; with those that it is compared to.
    pub(super) fn beside(&self, seen: Option<Layout>) -> anyhow::Result<Beside> {
        let (layout, others) = self.beside_layouts(seen)?;
        let mut predictor = Predictor::new(self)?;
        let prediction = predictor.predict(layout).context(layout.to_string())?;
        // A layout that vLLM refuses is no choice.
        let others = others.into_iter().filter_map(|other| predictor.predict(other).ok()).collect();
        let mut longer = Vec::new();
        if let Workload::Requests(requests) = &predictor.workload
            && let [one] = requests.as_slice()
        {
            let one = *one;
            for output in [1, 2, 4].map(|times| one.output.saturating_mul(times)) {
                predictor.workload = Workload::Requests(vec![Request { output, ..one }]);
                if let Ok(prediction) = predictor.predict(layout) {
                    longer.push((output, prediction));
                }
            }
        }
        Ok(Beside { prediction, others, longer })
    }

    /// What the layout that ran, and others with as many ranks, are predicted to take on `cluster`; the
    /// one that ran first.
    pub(super) fn advice(
        &self,
        seen: Option<Layout>,
        cluster: &Cluster,
    ) -> anyhow::Result<Vec<Advice>> {
        let (Some(prompt), Some(output)) = (self.prompt, self.output) else {
            bail!("times are predicted of requests that are alike: give --prompt and --output");
        };
        let load = Load::Concurrent(self.concurrent as u64);
        let workload = advice::Workload { prompt, output, load, first: false };
        let (model, settings) = (self.model.described()?, self.engine.settings()?);
        let (layout, others) = self.beside_layouts(seen)?;
        let advise = |layout| advice::advise(&model, layout, settings, cluster, &workload);
        let mut advice = vec![advise(layout).context(layout.to_string())?];
        // A layout that vLLM refuses, or that the cluster is too small for, is no choice.
        advice.extend(others.into_iter().filter_map(|other| advise(other).ok()));
        Ok(advice)
    }

    /// The one layout that is asked for, or where none is, the one that was `seen`; and the others of
    /// tensor and pipeline parallelism with as many ranks.
    fn beside_layouts(&self, seen: Option<Layout>) -> anyhow::Result<(Layout, Vec<Layout>)> {
        let layouts = self.layouts()?;
        let [asked] = layouts.as_slice() else {
            bail!("what was seen has one layout: give --tp, --pp and --dp one size each");
        };
        let one_rank = asked.ranks() == 1;
        let seen = seen.map(|seen| Layout { expert_parallel: self.ep, ..seen });
        let layout = seen.filter(|_| one_rank).unwrap_or(*asked);
        let as_many = (1..=layout.ranks()).filter(|tensor| layout.ranks().is_multiple_of(*tensor));
        let as_many = as_many.rev().map(|tensor| Layout {
            tensor,
            pipeline: layout.ranks() / tensor,
            data: 1,
            expert_parallel: layout.expert_parallel,
        });
        Ok((layout, as_many.filter(|other| *other != layout).collect()))
    }

    /// The workload, in a few words.
    pub(super) fn workload_in_words(&self) -> String {
        let file = |path: &Path| path.display().to_string();
        match (&self.requests, self.steps.as_ref().or(self.trace.first()), self.prompt, self.output)
        {
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
        ensure!(
            self.has_workload(),
            "say what is served: --prompt and --output, --requests, --steps or --trace"
        );
        if let Some(file) = &self.requests {
            return Ok(Workload::Requests(lines(file)?));
        }
        if let Some(file) = &self.steps {
            return Ok(Workload::Steps(vec![lines(file)?]));
        }
        if !self.trace.is_empty() {
            let replicas = self.trace.iter().map(|file| traced(file));
            return Ok(Workload::Steps(replicas.collect::<anyhow::Result<_>>()?));
        }
        ensure!(self.concurrent <= LONGEST_TRACE, "--concurrent is at most {LONGEST_TRACE}");
        let (prompt, output) = (self.prompt.unwrap_or(0), self.output.unwrap_or(0));
        Ok(Workload::Requests(vec![
            Request { prompt, output, cached: 0, arrives: 0 };
            self.concurrent
        ]))
    }
}

/// Predicts one workload of one model on any layout.
struct Predictor {
    model: Model,
    settings: Settings,
    workload: Workload,
}

impl Predictor {
    fn new(served: &Served) -> anyhow::Result<Self> {
        Ok(Self {
            model: served.model.described()?,
            settings: served.engine.settings()?,
            workload: served.workload()?,
        })
    }

    fn predict(&self, layout: Layout) -> anyhow::Result<Prediction> {
        let deployment = Deployment::new(self.model.clone(), layout, self.settings)?;
        Ok(match &self.workload {
            Workload::Requests(requests) => Prediction::of_requests(deployment, requests)?,
            Workload::Steps(replicas) => Prediction::of_steps(deployment, replicas)?,
        })
    }
}

/// The steps that a scheduler logged.
fn traced(file: &Path) -> anyhow::Result<Vec<Step>> {
    let mut trace = Trace::default();
    let lines: Vec<Scheduled> = lines(file)?;
    let step = |(at, line): (usize, &Scheduled)| {
        let place = || format!("{}, step {}", file.display(), at + 1);
        trace.step(line).with_context(place)
    };
    lines.iter().enumerate().map(step).collect()
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
