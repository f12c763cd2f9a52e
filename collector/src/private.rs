//! A collector of one's own, for the time of one command.

use crate::collector::{Collector, PROCESSES};
use crate::outputs::processes::overview;
use crate::outputs::rows::{Row, View, rows};
use crate::outputs::text;
use crate::preload;
use crate::process::Life;
use crate::recording::{DEFAULT_LIMIT, Recorder};
use crate::recovery::watch::Strangers;
use crate::recovery::{Recovery, file};
use crate::server::{Server, Settings};
use anyhow::{Context, bail};
use nccltap_proto::address::Address;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// How often it is looked whether all processes have ended.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Rings lie here, where writing them touches no disk.
const MEMORY_BACKED: &str = "/dev/shm";

/// A collector with a socket, and a directory for rings, that nobody else knows of.
#[derive(Debug)]
pub struct PrivateCollector {
    collector: Arc<Collector>,
    recovery: Recovery,
    server: Server,
    directory: TempDir,
    rings: Option<TempDir>,
}

impl PrivateCollector {
    /// Starts one, that keeps a recording in `record` and serves its counts at `http`, if these are
    /// given.
    pub async fn start(record: Option<&Path>, http: Option<SocketAddr>) -> anyhow::Result<Self> {
        let mut collector = Collector::new(PROCESSES);
        if let Some(path) = record {
            collector = collector.recording_to(new_recording(path)?);
        }
        let collector = Arc::new(collector);
        let directory = tempfile::Builder::new()
            .prefix("nccltap-")
            .tempdir()
            .context("a directory for the collector's socket cannot be made")?;
        // Where the user has said where rings go, they go there, and others' may be there too.
        let rings = match std::env::var_os("NCCLTAP_RING_DIR") {
            Some(_) => None,
            None => tempfile::Builder::new().prefix("nccltap-").tempdir_in(MEMORY_BACKED).ok(),
        };
        let own = rings.iter().map(|rings| rings.path().to_owned());
        let recovery = Recovery::new(Arc::clone(&collector), own, Strangers::Ours);
        let settings = Settings {
            listen: vec![Address::Unix(directory.path().join("collector.sock"))],
            http,
            token: None,
            expected: None,
        };
        let server = Server::start(Arc::clone(&collector), recovery.clone(), settings).await?;
        Ok(Self { collector, recovery, server, directory, rings })
    }

    /// What the collector knows.
    pub fn collector(&self) -> &Arc<Collector> {
        &self.collector
    }

    /// Where its counts are served.
    pub fn http(&self) -> Option<SocketAddr> {
        self.server.http
    }

    /// A directory that goes with the collector.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The environment that brings the tap into a command, and its records here. The tap joins
    /// what is `preloaded` there otherwise.
    pub fn environment(
        &self,
        library: &Path,
        preloaded: Option<&OsStr>,
    ) -> anyhow::Result<Vec<(&'static str, OsString)>> {
        let library = preload::nameable(library, self.directory.path())?;
        let mut environment = vec![("LD_PRELOAD", preload::joined(&library, preloaded))];
        for address in &self.server.addresses {
            environment.push(("NCCLTAP_COLLECTOR", address.to_string().into()));
        }
        if let Some(rings) = &self.rings {
            environment.push(("NCCLTAP_RING_DIR", rings.path().into()));
        }
        Ok(environment)
    }

    /// Waits until every process has said Goodbye or its rings were read, but not longer than
    /// `within`. Gives how many have done neither.
    pub async fn settle(&self, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        loop {
            let recovery = self.recovery.clone();
            let _ = tokio::task::spawn_blocking(move || recovery.look()).await;
            let waiting = self.unsettled();
            if waiting == 0 || Instant::now() >= deadline {
                return waiting;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    fn unsettled(&self) -> usize {
        let known = self.collector.followed();
        let running = known.iter().filter(|followed| followed.lock().life() == Life::Running);
        let files: Vec<PathBuf> = self
            .rings
            .as_ref()
            .and_then(|rings| file::named_in(rings.path()).ok())
            .unwrap_or_default();
        running.count().max(files.len())
    }

    /// The rows so far.
    pub fn rows(&self, view: View) -> Vec<Row> {
        rows(&self.collector, view)
    }

    /// The report so far, for people.
    pub fn report(&self) -> String {
        let view = View::Operations;
        text::report(&self.rows(view), &overview(&self.collector), view)
    }

    /// Ends it, and brings its recording to the disk.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.server.stop().await;
        self.collector.sync().context("the recording could not be brought to the disk")
    }
}

/// A recording of this command alone.
fn new_recording(path: &Path) -> anyhow::Result<Recorder> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        bail!("{} exists; remove it, or record to another file", path.display());
    }
    Recorder::open(path, DEFAULT_LIMIT, |_| {})
        .with_context(|| format!("cannot record to {}", path.display()))
}
