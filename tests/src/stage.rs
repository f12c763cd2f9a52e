//! Where one test happens: a directory of its own, and everything in it.

use crate::artifacts::built;
use crate::collector::Collector;
use crate::hosts::{self, Host, Linkage};
use crate::rings::{self, RingsOfProcess};
use crate::tally::{Counter, Tally};
use crate::wait::eventually;
use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::graphs::Graphs;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with a place for rings, counts, sockets and output; gone when dropped.
#[derive(Debug)]
pub struct Stage {
    directory: TempDir,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// A new stage, in memory where the machine has a memory-backed directory: counts and rings are
    /// written by every call.
    ///
    /// # Panics
    /// When no directory can be made.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new()
            .prefix("nccltap-test-")
            .tempdir_in(parent)
            .expect("a directory for the test can be made");
        let stage = Self { directory };
        for place in [stage.rings_directory(), stage.counts_directory()] {
            fs::create_dir(place).expect("the test's directory can be written");
        }
        stage
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where tapped processes keep their rings.
    pub fn rings_directory(&self) -> PathBuf {
        self.path().join("rings")
    }

    fn counts_directory(&self) -> PathBuf {
        self.path().join("counts")
    }

    /// The socket of the collector.
    pub fn socket(&self) -> PathBuf {
        self.path().join("collector.sock")
    }

    /// Starts a collector.
    pub fn collector(&self) -> Collector {
        self.collector_with(&[])
    }

    /// Starts a collector with further arguments.
    pub fn collector_with(&self, arguments: &[&str]) -> Collector {
        Collector::start(&self.socket(), &self.rings_directory(), self.path(), arguments)
    }

    /// `program`, with the simulated NCCL in reach but no tap.
    pub fn untapped(&self, program: impl AsRef<Path>) -> Host {
        Host::new(program.as_ref(), self.path())
            .env("NCCLTAP_REHEARSAL_COUNTS_DIR", self.counts_directory())
    }

    /// `program` with the tap in it.
    pub fn tapped(&self, program: impl AsRef<Path>) -> Host {
        self.untapped(program)
            .preloading(&[&built().tap])
            .env("NCCLTAP_COLLECTOR", format!("unix:{}", self.socket().display()))
            .env("NCCLTAP_RING_DIR", self.rings_directory())
    }

    /// The C host of this name, with the tap in it.
    pub fn host(&self, name: &str, linkage: Linkage) -> Host {
        self.tapped(hosts::program(name, linkage))
    }

    /// The C host of this name, linked to this release of the CUDA runtime too, with the tap in it.
    pub fn cuda_host(&self, name: &str, linkage: Linkage, release: u32) -> Host {
        self.tapped(hosts::cuda_program(name, linkage, release))
    }

    /// The Python host of this name, with the tap in it.
    pub fn script(&self, name: &str) -> Host {
        self.tapped("/usr/bin/env").arg("python3").arg(hosts::script(name))
    }

    /// What the simulator was asked.
    ///
    /// # Panics
    /// When its counts cannot be read.
    pub fn counts(&self) -> Counts {
        Counts::read(&self.counts_directory()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What the simulated CUDA was asked.
    ///
    /// # Panics
    /// When its counts cannot be read.
    pub fn graphs(&self) -> Graphs {
        Graphs::read(&self.counts_directory()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Removes the simulator's counts, so that those of the processes to come stand alone.
    ///
    /// # Panics
    /// When they cannot be removed.
    pub fn forget_counts(&self) {
        fs::remove_dir_all(self.counts_directory())
            .and_then(|()| fs::create_dir(self.counts_directory()))
            .expect("the test's directory can be written");
    }

    /// The simulator's counts as a tally.
    pub fn ground_truth(&self, counter: Counter) -> Tally {
        let mut tally = Tally::of_simulator(&self.counts(), counter);
        if counter == Counter::CarriedOut {
            let cuda = self.graphs();
            tally.add_kernels(&cuda);
            tally.add_peer_copies(&cuda);
        }
        tally
    }

    /// The ring files there are.
    pub fn rings(&self) -> Vec<RingsOfProcess> {
        rings::read(&self.rings_directory())
    }

    /// Requires that the collector's ledger becomes equal to the ground truth, call by call, that
    /// and that nothing was dropped or stepped around on the way; returns the ledger. All processes
    /// must have ended.
    ///
    /// # Panics
    /// When it is not so, with every difference.
    pub fn ledger_equals_ground_truth(&self, collector: &Collector) -> Tally {
        self.ledger_equals(collector, |tally| tally)
    }

    /// The same, after ledger and ground truth have both been looked at through `view`.
    pub fn ledger_equals(&self, collector: &Collector, view: impl Fn(Tally) -> Tally) -> Tally {
        let truth = self.ground_truth(Counter::CarriedOut);
        let pids: BTreeSet<u32> = truth.0.keys().map(|call| call.pid).collect();
        for process in pids.iter().map(|pid| collector.ended(*pid)) {
            process.is_accounted_for();
            let unseen = process.accounting.dropped + process.accounting.unrecorded;
            assert_eq!(unseen, 0, "{process:?}");
            assert_eq!(process.faults, BTreeMap::new(), "{process:?}");
        }
        let truth = view(truth);
        eventually(|| {
            let ledger = view(collector.rows());
            match ledger.differences(&truth) {
                differences if differences.is_empty() => Ok(ledger),
                differences => Err(format!("ledger against ground truth:\n{differences}")),
            }
        })
    }
}
