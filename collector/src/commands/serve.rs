//! `nccltap serve`: the collector.

use super::engine_options::{EngineOptions, ModelOptions};
use super::{default_address, runtime};
use crate::collector::{Collector, PROCESSES};
use crate::ingest::Token;
use crate::model::{Deployment, Layout};
use crate::outputs::otlp::push::{Push, Receiver};
use crate::outputs::prometheus::expected::Expected;
use crate::recording::{DEFAULT_LIMIT, Recorder};
use crate::recovery::Recovery;
use crate::recovery::watch::Strangers;
use crate::server::{Server, Settings};
use anyhow::{Context, ensure};
use nccltap_proto::address::Address;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Collects what taps report, counts it, and shows it
///
/// Prints one line on stdout once it serves: `listening http=ADDR:PORT collector=ADDRESS ...`.
/// Ends on SIGINT or SIGTERM. Where a model is named, nccltap_prediction_ratio says whether each engine
/// step does what that model in that layout must.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Where agents reach the collector: unix:/PATH or tcp:HOST:PORT; may be given several times.
    /// By default a Unix socket that only this user can reach
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<Address>,

    /// Where the page, /metrics, /live, /ready and /api/v1 are served; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9464")]
    http: SocketAddr,

    /// Keep every message in FILE, so that each later view can be computed anew. If FILE is a
    /// recording already, its counts go on
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Largest size of the recording; past it, recording stops and every report says so
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_LIMIT)]
    record_limit: u64,

    /// File with a secret that TCP peers must know (NCCLTAP_TOKEN of the agents)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Push the metrics by OTLP over gRPC to this receiver, besides /metrics: http://HOST:4317, or https://HOST:4317
    /// with a certificate that this host trusts (SSL_CERT_FILE names other authorities)
    #[arg(long, value_name = "URL")]
    otlp: Option<Receiver>,

    /// Seconds between two pushes
    #[arg(long, value_name = "SECONDS", default_value_t = 15, requires = "otlp", value_parser = clap::value_parser!(u64).range(1..))]
    otlp_interval: u64,

    /// Where to look for the rings of processes that died; may be given several times
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    recover_dir: Vec<PathBuf>,

    #[command(flatten, next_help_heading = "Compared with the prediction of a model")]
    model: ModelOptions,

    /// Tensor-parallel size of what is served
    #[arg(long, value_name = "N", default_value_t = 1)]
    tp: u32,

    /// Pipeline-parallel size of what is served
    #[arg(long, value_name = "N", default_value_t = 1)]
    pp: u32,

    /// Experts are spread over ranks instead of split
    #[arg(long)]
    ep: bool,

    #[command(flatten)]
    engine: EngineOptions,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        runtime()?.block_on(self.serve())?;
        Ok(ExitCode::SUCCESS)
    }

    /// What each engine step must do, where a model is named.
    fn expected(&self) -> anyhow::Result<Option<Expected>> {
        let layout = Layout { expert_parallel: self.ep, ..Layout::new(self.tp, self.pp) };
        if !self.model.is_named() {
            ensure!(layout.ranks() == 1, "a layout is of a model: name it with --model");
            return Ok(None);
        }
        ensure!(
            layout.ranks() != 1,
            "one rank alone sends nothing: give the layout that is served with --tp and --pp"
        );
        let deployment = Deployment::new(self.model.described()?, layout, self.engine.settings()?)?;
        Ok(Some(Expected::new(&deployment)))
    }

    async fn serve(self) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let expected = self.expected()?;
        let token = self.token_file.as_deref().map(Token::read).transpose()?;
        let collector = match &self.record {
            None => Collector::new(PROCESSES),
            Some(path) => recording(path, self.record_limit)?,
        };
        let collector = Arc::new(collector);
        let recovery =
            Recovery::new(Arc::clone(&collector), self.recover_dir, Strangers::PerhapsOthers);
        let listen = match self.listen.is_empty() {
            true => vec![default_address()],
            false => self.listen,
        };
        let push = self.otlp.map(|to| Push::new(Arc::clone(&collector), expected.clone(), to));
        let push = push.transpose()?;
        let settings = Settings { listen, http: Some(self.http), token, expected };
        let server = Server::start(Arc::clone(&collector), recovery, settings).await?;

        let mut line = String::from("listening");
        if let Some(http) = server.http {
            line.push_str(&format!(" http={http}"));
        }
        for address in &server.addresses {
            line.push_str(&format!(" collector={address}"));
        }
        writeln!(std::io::stdout(), "{line}")?;

        let (stop_push, stopping) = watch::channel(false);
        let interval = Duration::from_secs(self.otlp_interval);
        let pushing = push.map(|push| tokio::spawn(push.run(interval, stopping)));

        tokio::select! {
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        }
        server.stop().await;
        let _ = stop_push.send(true);
        if let Some(pushing) = pushing {
            let _ = pushing.await;
        }
        collector.sync().context("the recording could not be brought to the disk")?;
        Ok(())
    }
}

/// A collector that goes on from the recording in `path` and records to it.
fn recording(path: &std::path::Path, limit: u64) -> anyhow::Result<Collector> {
    let collector = Collector::new(PROCESSES);
    let mut entries = 0u64;
    let recorder = Recorder::open(path, limit, |entry| {
        entries += 1;
        if let Err(error) = collector.replay(entry) {
            tracing::warn!("{}: entry {entries} is left out: {error}", path.display());
        }
    })
    .with_context(|| format!("cannot record to {}", path.display()))?;
    if entries > 0 {
        tracing::info!("{}: {entries} messages of before are counted", path.display());
    }
    Ok(collector.recording_to(recorder))
}
