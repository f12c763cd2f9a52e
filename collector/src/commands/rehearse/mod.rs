//! `nccltap rehearse`: an unmodified engine on simulated GPUs, under the tap.

mod announcement;
mod install;
mod leftovers;
mod list;
mod memory;

use super::run::{Environment, Keep, with_own};
use super::runtime;
use crate::preload::find_library;
use announcement::Announcement;
use anyhow::Context;
use memory::Watch;
use nccltap_rehearsal::engines::catalog::Wanted;
use nccltap_rehearsal::engines::command_line::{MODEL, adapted, named_model, on_node};
use nccltap_rehearsal::engines::environment::{self, environment};
use nccltap_rehearsal::engines::installed::{self, Engine};
use nccltap_rehearsal::gpus::{self, GpuProfile};
use nccltap_rehearsal::models::{self, Model, Preset};
use nccltap_rehearsal::stack::{self, Stack};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Runs an unmodified engine on simulated GPUs with the tap in it: no GPU, no weights
///
/// Every library of CUDA is simulated: kernels compute nothing, and what a model answers means
/// nothing; the calls of NCCL, their sizes and their order are those of a real run. `nccltap rehearse
/// install` makes an environment with an engine first.
///
/// A command that starts an engine (`vllm serve MODEL`) gets `--load-format dummy`. Its model comes
/// from --model-config, or from the presets when it names one of them. In any command `{model}`
/// stands for the model's folder, as does NCCLTAP_REHEARSAL_MODEL in the environment. The exit code is
/// the command's.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Rehearse {
    #[command(subcommand)]
    task: Option<Task>,

    /// GPU to simulate: h100, h200, a100 or b200
    #[arg(long, value_name = "GPU", default_value = "h100", value_parser = gpu)]
    gpu: &'static GpuProfile,

    /// GPUs that a node has
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    gpus_per_node: u32,

    /// Nodes: the command is started once for each, `{node}` in it standing for 0, 1, ... The exit
    /// code is that of node 0, or of a node that fails before it ends
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    nodes: u32,

    /// An environment: a folder, or one of `nccltap rehearse list`. By default the one installed last
    #[arg(long, value_name = "ENGINE", env = "NCCLTAP_REHEARSAL_ENGINE", hide_env_values = true)]
    engine: Option<String>,

    /// The model: a preset, a `config.json`, or a folder that has one. No weights are needed
    #[arg(long, value_name = "PRESET|FILE")]
    model_config: Option<String>,

    /// Let ranks wait for each other and move real data: a rank that is late or dead makes the others
    /// wait. By default each goes on by itself
    #[arg(long)]
    rendezvous: bool,

    #[command(flatten)]
    keep: Keep,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    Install(install::Install),
    List(list::List),
}

impl Rehearse {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.task {
            Some(Task::Install(install)) => install.run(),
            Some(Task::List(list)) => list.run(),
            None => self.rehearse(),
        }
    }

    fn rehearse(&self) -> anyhow::Result<ExitCode> {
        let library = find_library()?;
        let home = installed::home()?;
        let engine =
            installed::find(&home, self.engine.as_deref().filter(|engine| !engine.is_empty()))?;
        let wanted: Wanted =
            format!("{}=={}", engine.manifest.package, engine.manifest.version).parse()?;
        // The folder of a model that is nobody else's goes with this command, as does where ranks meet.
        let own = tempfile::tempdir().context("a temporary directory cannot be made")?;
        let model = self.model(&home, own.path())?;
        let command = adapted(&self.command, model.as_ref(), wanted.like);
        // It is held to the end: nobody puts other libraries in its place while this runs.
        let stack = stack::build(&engine.site_packages(), &engine.stacks(), self.gpu)?;
        let mut environment = self.environment(&engine, &wanted, &stack, model.as_ref());
        if self.rendezvous {
            let meeting = own.path().join("rendezvous");
            std::fs::create_dir(&meeting).with_context(|| meeting.display().to_string())?;
            environment.push(("NCCLTAP_REHEARSAL_RENDEZVOUS", meeting.into()));
            // An engine works with zeros as tokens; what uncomputed kernels leave could be any number.
            if std::env::var_os("NCCLTAP_REHEARSAL_REAL_READS").is_none() {
                environment.push(("NCCLTAP_REHEARSAL_REAL_READS", "0".into()));
            }
        }
        eprint!(
            "{}",
            Announcement {
                nodes: self.nodes,
                gpus_per_node: self.gpus_per_node,
                gpu: self.gpu,
                engine: &engine,
                model: model.as_ref(),
                given: &self.command,
                command: &command,
            }
        );
        let commands: Vec<_> = (0..self.nodes).map(|node| on_node(&command, node)).collect();
        let began = Instant::now();
        leftovers::adopt();
        runtime()?.block_on(async {
            let watch = Watch::start();
            let code = with_own(&commands, &environment, &self.keep, &library).await;
            let left = leftovers::end();
            if left > 0 {
                eprintln!("warning: what the command left behind is ended, {left} in number");
            }
            eprintln!("{}", announcement::closing(began.elapsed(), watch.stop().await));
            code
        })
    }

    /// The model that the command is to load, if it is to come from here.
    fn model(&self, home: &Path, own: &Path) -> anyhow::Result<Option<Model>> {
        let named = named_model(&self.command).filter(|name| name != MODEL);
        let Some(given) = &self.model_config else {
            return named.as_deref().map_or(Ok(None), |name| self.model_by_name(home, name));
        };
        if let Some(preset) = Preset::find(given) {
            let name = named.as_deref().unwrap_or(preset.hub_name);
            return preset_folder(home, preset, name).map(Some);
        }
        let mut path = PathBuf::from(given);
        if path.is_dir() {
            path.push("config.json");
        }
        let config = std::fs::read_to_string(&path).with_context(|| {
            let presets: Vec<_> = models::PRESETS.iter().map(|preset| preset.name).collect();
            format!(
                "`{given}` is neither a preset ({}) nor a file that can be read",
                presets.join(", ")
            )
        })?;
        let name = named.unwrap_or_else(|| "model".to_owned());
        let model = models::write(&own.join("model"), &name, &config)
            .with_context(|| format!("{} is no model's configuration", path.display()))?;
        Ok(Some(model))
    }

    /// A model that the command names, and that is not on this machine.
    fn model_by_name(&self, home: &Path, name: &str) -> anyhow::Result<Option<Model>> {
        if Path::new(name).exists() {
            return Ok(None);
        }
        match Preset::find(name) {
            Some(preset) => preset_folder(home, preset, name).map(Some),
            // It may be in the hub's cache on this machine; the engine will say if it is not.
            None => Ok(None),
        }
    }

    fn environment(
        &self,
        engine: &Engine,
        wanted: &Wanted,
        stack: &Stack,
        model: Option<&Model>,
    ) -> Environment {
        let inherited = |name: &str| std::env::var_os(name);
        let mut variables = environment(engine, wanted.like, &stack.libraries, &inherited);
        let preloaded = std::env::var_os("LD_PRELOAD");
        variables.push(("LD_PRELOAD", joined(&stack.preload, preloaded.as_deref())));
        variables.extend(stack.environment.iter().cloned());
        variables.push(("NCCLTAP_REHEARSAL_GPUS", self.gpus_per_node.to_string().into()));
        variables.push(("NCCLTAP_REHEARSAL_SAID", "1".into()));
        if let Some(model) = model {
            variables.push((environment::MODEL, model.folder.clone().into()));
        }
        variables
    }
}

/// Finds a GPU that can be simulated.
fn gpu(key: &str) -> Result<&'static GpuProfile, String> {
    let known = || gpus::PROFILES.map(|profile| profile.key).join(", ");
    gpus::find(key).ok_or_else(|| format!("it cannot be simulated; known: {}", known()))
}

/// The value of `LD_PRELOAD` with `libraries` in front of what is there.
fn joined(libraries: &[PathBuf], there: Option<&OsStr>) -> OsString {
    let there = there.filter(|there| !there.is_empty());
    let names: Vec<&OsStr> = libraries.iter().map(|path| path.as_os_str()).chain(there).collect();
    names.join(OsStr::new(":"))
}

/// The folder of a preset, which is made where it is found again.
fn preset_folder(home: &Path, preset: &Preset, name: &str) -> anyhow::Result<Model> {
    models::write(&home.join("models").join(preset.name), name, preset.config)
}
