//! Looks after dead processes while a collector serves.

use super::file::{self, DeadFile, FileError, FileId};
use super::left::{left, owner};
use crate::collector::{Collector, Followed};
use crate::ingest::{contract, now_ns};
use crate::process::{Identity, Life};
use nccltap_proto::faults::Fault;
use nccltap_proto::ringfile::{FileHeader, MAGIC, RingFile, text};
use nccltap_proto::v1::{self, agent_message::Message};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the directories of ring files are looked through.
pub const SCAN_EVERY: Duration = Duration::from_secs(2);

/// How often, and how far apart, a file is tried whose process has just gone silent: the kernel
/// gives its lock up when the process has exited altogether.
const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Directories that are looked through at most.
const DIRECTORIES: usize = 64;

/// Files that are remembered as complained about, or as seen once.
const REMEMBERED: usize = 4096;

/// Brings the ring files of dead processes into a collector.
#[derive(Clone, Debug)]
pub struct Recovery {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    collector: Arc<Collector>,
    strangers: Strangers,
    directories: Mutex<BTreeSet<PathBuf>>,
    notes: Mutex<Notes>,
    /// One file at a time: a record lock is the whole process', and closing any descriptor of the
    /// file gives it up.
    one_at_a_time: Mutex<()>,
}

/// What to do with files of dead processes that never reached this collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// They are ours at once: the directory is this collector's own.
    Ours,
    /// They may belong to another collector of this user: that one gets the time between two
    /// looks.
    PerhapsOthers,
}

#[derive(Debug, Default)]
struct Notes {
    complained: HashSet<FileId>,
    seen_dead: HashMap<FileId, u64>,
    looks: u64,
}

impl Recovery {
    /// Looks through `directories` for dead processes, and takes their files into `collector`.
    pub fn new(
        collector: Arc<Collector>,
        directories: impl IntoIterator<Item = PathBuf>,
        strangers: Strangers,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                collector,
                strangers,
                directories: Mutex::new(directories.into_iter().collect()),
                notes: Mutex::default(),
                one_at_a_time: Mutex::default(),
            }),
        }
    }

    /// Looks through the directories now and then until `stop` changes.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let this = self.clone();
            let _ = tokio::task::spawn_blocking(move || this.look()).await;
            tokio::select! {
                () = tokio::time::sleep(SCAN_EVERY) => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// A stream of the process ended, with a Goodbye or without: once it is dead its file is taken,
    /// as soon as the kernel lets go of it. A process may call NCCL after its Goodbye, from the
    /// destructors that run last.
    pub fn stream_ended(&self, followed: &Arc<Followed>) {
        let (path, life) = {
            let process = followed.lock();
            (PathBuf::from(&process.hello().ring_file), process.life())
        };
        if life == Life::Recovered || !path.is_absolute() {
            return;
        }
        if let Some(parent) = path.parent() {
            let mut directories = self.shared.directories.lock();
            if directories.len() < DIRECTORIES {
                directories.insert(parent.to_owned());
            }
        }
        let (this, followed) = (self.clone(), Arc::clone(followed));
        tokio::spawn(async move {
            for _ in 0..TRIES {
                tokio::time::sleep(BETWEEN_TRIES).await;
                if followed.is_connected() || followed.lock().life() != life {
                    return;
                }
                let (this, path) = (this.clone(), path.clone());
                let tried = tokio::task::spawn_blocking(move || this.take(&path)).await;
                match tried {
                    Ok(Err(FileError::InUse)) => {}
                    _ => return,
                }
            }
        });
    }

    /// Looks through the directories once.
    pub fn look(&self) {
        self.shared.notes.lock().looks += 1;
        let directories: Vec<_> = self.shared.directories.lock().iter().cloned().collect();
        for directory in directories {
            match file::named_in(&directory) {
                Ok(paths) => paths.iter().for_each(|path| self.consider(path)),
                Err(error) => {
                    tracing::debug!("{} cannot be looked through: {error}", directory.display());
                }
            }
        }
    }

    fn consider(&self, path: &Path) {
        let Ok(id) = file::id(path) else { return };
        if self.shared.notes.lock().complained.contains(&id) {
            return;
        }
        let known = {
            let _alone = self.shared.one_at_a_time.lock();
            file::peek(path).ok().and_then(|page| header_identity(&page))
        };
        let Some(identity) = known else {
            // A file that is being made has no header yet, and its owner is about to lock it.
            if file::is_older_than(path, SCAN_EVERY) {
                let _alone = self.shared.one_at_a_time.lock();
                self.complain(path, id, &DeadFile::open(path).err());
            }
            return;
        };
        let followed = self.shared.collector.find(&identity);
        if followed.as_ref().is_some_and(|followed| followed.is_connected()) {
            return;
        }
        let wait = followed.is_none() && self.shared.strangers == Strangers::PerhapsOthers;
        if wait {
            let is_dead = {
                let _alone = self.shared.one_at_a_time.lock();
                file::is_dead(path)
            };
            if !is_dead || !self.seen_before(id) {
                return;
            }
        }
        if let Err(error) = self.take(path) {
            match error {
                FileError::Missing | FileError::InUse => {}
                error => self.complain(path, id, &Some(error)),
            }
        }
    }

    /// Whether an earlier look has come across the file.
    fn seen_before(&self, id: FileId) -> bool {
        let mut notes = self.shared.notes.lock();
        let look = notes.looks;
        if notes.seen_dead.len() >= REMEMBERED {
            notes.seen_dead.retain(|_, seen| *seen + 1 >= look);
        }
        *notes.seen_dead.entry(id).or_insert(look) < look
    }

    fn complain(&self, path: &Path, id: FileId, error: &Option<FileError>) {
        let Some(error) = error else { return };
        if matches!(error, FileError::InUse | FileError::Missing) {
            return;
        }
        let mut notes = self.shared.notes.lock();
        if notes.complained.len() < REMEMBERED && notes.complained.insert(id) {
            tracing::warn!("{} is left alone: {error}", path.display());
        }
    }

    fn tell(&self, identity: &Identity) {
        let Some(followed) = self.shared.collector.find(identity) else { return };
        let process = followed.lock();
        if process.life() != Life::Recovered {
            return;
        }
        tracing::info!("{identity} is dead; what it left is taken");
        for call in process.calls_in_flight() {
            let name = call.function.map_or("an unknown function", |function| function.name());
            tracing::warn!("{identity} died inside {name} (thread {})", call.thread);
        }
    }

    /// Takes the file of a dead process into the counts, and removes it.
    pub fn take(&self, path: &Path) -> Result<Identity, FileError> {
        let _alone = self.shared.one_at_a_time.lock();
        let dead = DeadFile::open(path)?;
        let identity = take_into(&self.shared.collector, &dead.ring_file()?, path)?;
        self.tell(&identity);
        if let Err(error) = dead.remove() {
            tracing::warn!("{} cannot be removed: {error}", path.display());
        }
        Ok(identity)
    }
}

/// Takes what a dead process left in the file at `path` into the counts: nothing that was taken
/// before, nothing twice.
pub fn take_into(
    collector: &Collector,
    file: &RingFile<'_>,
    path: &Path,
) -> Result<Identity, FileError> {
    let identity = Identity::from(&owner(file));
    let known = collector.find(&identity);
    let taken = |ring| known.as_ref().and_then(|known| known.lock().timeline().position(ring));
    let mut left = left(file, &path.to_string_lossy(), taken);
    if known.is_some() {
        // A live stream tells of trouble by the names that its tap has for it.
        let named = |fault: &v1::Fault| Fault::ALL.iter().any(|kind| kind.name() == fault.name);
        left.last.last.iter_mut().for_each(|last| last.faults.retain(named));
    }
    let impossible = |breach: contract::Breach| FileError::Impossible(breach.to_string());
    contract::hello(&left.hello).map_err(impossible)?;
    for report in left.reports.iter().chain(&left.last.last) {
        contract::report(report, &left.hello.functions).map_err(impossible)?;
    }
    let followed = match known {
        Some(known) => known,
        None => collector
            .adopt(left.hello, now_ns())
            .map_err(|full| FileError::Full(full.to_string()))?,
    };
    for report in left.reports {
        collector.take(&followed, Message::Report(report), now_ns(), true);
    }
    collector.take(&followed, Message::Goodbye(left.last), now_ns(), true);
    Ok(identity)
}

fn header_identity(page: &[u8]) -> Option<Identity> {
    let header: FileHeader = bytemuck::pod_read_unaligned(page.get(..size_of::<FileHeader>())?);
    (header.magic == MAGIC).then(|| Identity {
        host: text(&header.host),
        pid: header.pid,
        instance: header.instance,
    })
}
