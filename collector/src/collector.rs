//! The collector: every process it follows, and what it refused.
//!
//! Streams, recordings and ring files hand their messages in here; outputs read here.

use crate::groups::Board;
use crate::ingest::contract;
use crate::process::{Accounting, Identity, Life, Process};
use crate::recording::{Recorder, RecordingState};
use crate::refusals::{Refusal, Refusals};
use nccltap_proto::v1::{self, agent_message::Message};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Processes a collector follows when no other number is given. Past it, those that ended first
/// make room.
pub const PROCESSES: usize = 4096;

/// Pairs of job and host whose totals are kept apart once their processes have made room.
const DEPARTED_ROWS: usize = 1024;

/// Everything one collector knows.
#[derive(Debug)]
pub struct Collector {
    limit: usize,
    registry: Mutex<Registry>,
    refusals: Refusals,
    recorder: Option<Mutex<Recorder>>,
    replayed: Mutex<Replayed>,
    board: Mutex<Board>,
    journals: bool,
}

/// What of a recording is not in the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries that were left out.
    pub left_out: u64,
    /// What was wrong with the first of them.
    pub first: Option<String>,
    /// Where the recording ends before its time, and why.
    pub tail: Option<String>,
}

#[derive(Debug, Default)]
struct Registry {
    followed: HashMap<Identity, Arc<Followed>>,
    arrivals: u64,
    departed: Departed,
}

/// What is kept of processes that made room for others.
#[derive(Clone, Debug, Default)]
pub struct Departed {
    /// How many processes.
    pub processes: u64,
    /// Their calls, by job and host. Past 1,024 pairs, under job and host `other`.
    pub accounting: BTreeMap<(String, String), Accounting>,
}

/// A process that the collector follows.
#[derive(Debug)]
pub struct Followed {
    process: Mutex<Process>,
    streams: AtomicU32,
    arrival: u64,
}

impl Followed {
    /// The process, for as long as the guard is held.
    pub fn lock(&self) -> MutexGuard<'_, Process> {
        self.process.lock()
    }

    /// Whether a stream of the process is open.
    pub fn is_connected(&self) -> bool {
        self.streams.load(Relaxed) > 0
    }
}

/// An open stream of a process, counted for as long as this lives.
#[derive(Debug)]
pub struct OpenStream(Arc<Followed>);

impl OpenStream {
    /// The process it is from.
    pub fn followed(&self) -> &Arc<Followed> {
        &self.0
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// There is no room for one more process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Processes that are followed, all of them connected.
    pub processes: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this collector follows {} connected processes, as many as it may; start another one",
            self.processes
        )
    }
}

impl std::error::Error for Full {}

impl Collector {
    /// A collector that follows up to `limit` processes at once.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            registry: Mutex::default(),
            refusals: Refusals::default(),
            recorder: None,
            replayed: Mutex::default(),
            board: Mutex::default(),
            journals: false,
        }
    }

    /// The same, with a [journal](crate::journal) of single operations for each process. Whoever wants it takes the
    /// operations after each message.
    pub fn with_journals(self) -> Self {
        Self { journals: true, ..self }
    }

    /// The same, recording what it takes from now on.
    pub fn recording_to(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(Mutex::new(recorder));
        self
    }

    /// How the recording fares, `None` when there is none.
    pub fn recording(&self) -> Option<RecordingState> {
        self.recorder.as_ref().map(|recorder| recorder.lock().state().clone())
    }

    /// Waits until the recording is on the disk.
    pub fn sync(&self) -> std::io::Result<()> {
        self.recorder.as_ref().map_or(Ok(()), |recorder| recorder.lock().sync())
    }

    /// Takes the Hello of a new stream, which keeps to the [contract]. Gives the stream, and where
    /// the rings of the process stand.
    pub fn hello(
        &self,
        hello: v1::Hello,
        received_ns: u64,
    ) -> Result<(OpenStream, Vec<v1::RingPosition>), Full> {
        let stream = OpenStream(self.follow(&hello, 1)?);
        let positions = self.take(&stream.0, Message::Hello(hello), received_ns, false);
        Ok((stream, positions))
    }

    /// The process that says this Hello, new or known, with so many more `streams`.
    fn follow(&self, hello: &v1::Hello, streams: u32) -> Result<Arc<Followed>, Full> {
        let identity = Identity::from(&hello.process.clone().unwrap_or_default());
        let mut registry = self.registry.lock();
        if let Some(known) = registry.followed.get(&identity) {
            known.streams.fetch_add(streams, Relaxed);
            return Ok(Arc::clone(known));
        }
        if registry.followed.len() >= self.limit && !registry.make_room() {
            return Err(Full { processes: registry.followed.len() });
        }
        let process = match self.journals {
            true => Process::new(hello).with_journal(),
            false => Process::new(hello),
        };
        let new = Arc::new(Followed {
            process: Mutex::new(process),
            streams: AtomicU32::new(streams),
            arrival: registry.arrivals,
        });
        registry.arrivals += 1;
        registry.followed.insert(identity, Arc::clone(&new));
        Ok(new)
    }

    /// Takes a message that keeps to the [contract] into the counts and into the recording. Gives
    /// where the rings of the process stand.
    pub fn take(
        &self,
        followed: &Followed,
        message: Message,
        received_ns: u64,
        recovered: bool,
    ) -> Vec<v1::RingPosition> {
        let mut process = followed.process.lock();
        process.take(&message, recovered);
        self.exchange(&mut process, &message);
        if let Some(recorder) = &self.recorder {
            recorder.lock().append(&v1::RecordingEntry {
                received_ns,
                process: Some(process.identity().into()),
                message: Some(v1::AgentMessage { message: Some(message) }),
                recovered,
            });
        }
        process.timeline().positions()
    }

    /// Takes an entry of a recording. Says what is wrong with one that cannot be taken, and counts it.
    pub fn replay(&self, entry: v1::RecordingEntry) -> Result<(), String> {
        let taken = self.replay_entry(entry);
        if let Err(error) = &taken {
            let mut replayed = self.replayed.lock();
            replayed.left_out += 1;
            replayed.first.get_or_insert_with(|| error.clone());
        }
        taken
    }

    /// The recording ends before its time.
    pub fn note_tail(&self, why: String) {
        self.replayed.lock().tail = Some(why);
    }

    /// What of a recording is not in the counts.
    pub fn replayed(&self) -> Replayed {
        self.replayed.lock().clone()
    }

    fn replay_entry(&self, entry: v1::RecordingEntry) -> Result<(), String> {
        let Some(message) = entry.message.and_then(|message| message.message) else {
            return Err("an entry has no message".to_owned());
        };
        let identity = Identity::from(&entry.process.unwrap_or_default());
        let followed = match &message {
            Message::Hello(hello) => {
                contract::hello(hello).map_err(|breach| breach.to_string())?;
                self.follow(hello, 0).map_err(|full| full.to_string())?
            }
            _ => self
                .find(&identity)
                .ok_or_else(|| format!("{identity} has no Hello in the recording"))?,
        };
        let mut process = followed.process.lock();
        let report = match &message {
            Message::Hello(_) => None,
            Message::Report(report) => Some(report),
            Message::Goodbye(goodbye) => goodbye.last.as_ref(),
        };
        if let Some(report) = report {
            contract::report(report, &process.hello().functions)
                .map_err(|breach| format!("{identity}: {breach}"))?;
        }
        process.take(&message, entry.recovered);
        self.exchange(&mut process, &message);
        Ok(())
    }

    /// The process with this identity, if it is followed.
    pub fn find(&self, identity: &Identity) -> Option<Arc<Followed>> {
        self.registry.lock().followed.get(identity).cloned()
    }

    /// Takes a process on that was found by its ring file, and is not connected.
    pub fn adopt(&self, hello: v1::Hello, received_ns: u64) -> Result<Arc<Followed>, Full> {
        let followed = self.follow(&hello, 0)?;
        self.take(&followed, Message::Hello(hello), received_ns, true);
        Ok(followed)
    }

    /// Every process that is followed, in order of arrival. What they know of each other's steps is settled before.
    pub fn followed(&self) -> Vec<Arc<Followed>> {
        let mut all: Vec<_> = self.registry.lock().followed.values().cloned().collect();
        all.sort_unstable_by_key(|followed| followed.arrival);
        self.settle(&all);
        all
    }

    /// Lets a process tell and ask what concerns other processes, after it took a message.
    fn exchange(&self, process: &mut Process, message: &Message) {
        let report = match message {
            Message::Hello(_) => None,
            Message::Report(report) => Some(report),
            Message::Goodbye(goodbye) => goodbye.last.as_ref(),
        };
        let mut board = self.board.lock();
        let identity = process.identity();
        for communicator in report.map_or(&[][..], |report| &report.communicators) {
            board.join(&identity, communicator);
        }
        process.exchange(&mut board);
    }

    /// Lets processes ask until no answer changes anything: from the last pipeline stage to the first, an answer
    /// takes a round per stage.
    fn settle(&self, all: &[Arc<Followed>]) {
        let mut waiting = usize::MAX;
        loop {
            let mut left = 0;
            for followed in all {
                let mut process = followed.process.lock();
                if process.steps().waiting() > 0 {
                    process.exchange(&mut self.board.lock());
                    left += process.steps().waiting();
                }
            }
            if left == 0 || left >= waiting {
                return;
            }
            waiting = left;
        }
    }

    /// What is kept of processes that made room for others.
    pub fn departed(&self) -> Departed {
        self.registry.lock().departed.clone()
    }

    /// Counts a peer that was refused, and says so in the log.
    pub fn refuse(&self, refusal: Refusal, who: &dyn fmt::Display, sentence: &str) {
        self.refusals.add(refusal, who, sentence);
    }

    /// Peers that were refused, per reason.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> {
        self.refusals.counts()
    }
}

impl Registry {
    /// Lets the process go that has ended first, or else has been silent longest. Says whether
    /// there was one.
    fn make_room(&mut self) -> bool {
        let candidate = self
            .followed
            .iter()
            .filter(|(_, followed)| !followed.is_connected())
            .min_by_key(|(_, followed)| {
                (followed.process.lock().life() == Life::Running, followed.arrival)
            })
            .map(|(identity, _)| identity.clone());
        let Some(followed) = candidate.and_then(|identity| self.followed.remove(&identity)) else {
            return false;
        };
        let process = followed.process.lock();
        let key = (process.facts().job.clone(), process.facts().host.clone());
        let rows = &mut self.departed.accounting;
        let key = match rows.len() < DEPARTED_ROWS || rows.contains_key(&key) {
            true => key,
            false => ("other".to_owned(), "other".to_owned()),
        };
        rows.entry(key).or_insert_with(Accounting::nothing).add(&process.accounting());
        self.departed.processes += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(pid: u32) -> v1::Hello {
        let process = v1::Process { host: "node".into(), pid, ..Default::default() };
        v1::Hello { process: Some(process), ..Default::default() }
    }

    fn goodbye(recorded: u64) -> Message {
        let rings = vec![v1::RingTotals { recorded, dropped: 2, ..Default::default() }];
        Message::Goodbye(v1::Goodbye { last: Some(v1::Report { rings, ..Default::default() }) })
    }

    fn pids(collector: &Collector) -> Vec<u32> {
        collector.followed().iter().map(|followed| followed.lock().facts().pid).collect()
    }

    #[test]
    fn those_that_ended_make_room_first_then_those_that_went_silent() {
        let collector = Collector::new(3);
        let (silent, _) = collector.hello(hello(1), 0).unwrap();
        let (ended, _) = collector.hello(hello(2), 0).unwrap();
        let (_connected, _) = collector.hello(hello(3), 0).unwrap();
        collector.take(ended.followed(), goodbye(5), 0, false);
        drop((silent, ended));
        let _four = collector.hello(hello(4), 0).unwrap();
        assert_eq!(pids(&collector), [1, 3, 4]);
        let _five = collector.hello(hello(5), 0).unwrap();
        assert_eq!(pids(&collector), [3, 4, 5]);
        let full = collector.hello(hello(6), 0).unwrap_err();
        assert_eq!(full, Full { processes: 3 });
        // What they made is not forgotten.
        let departed = collector.departed();
        let sums = departed.accounting.values().next().unwrap();
        assert_eq!((departed.processes, sums.made, sums.dropped), (2, 7, 2));
        assert!(sums.balanced);
    }

    #[test]
    fn a_known_process_finds_room_in_a_full_collector() {
        let collector = Collector::new(1);
        let first = collector.hello(hello(1), 0).unwrap();
        let again = collector.hello(hello(1), 0).unwrap();
        drop(first);
        assert!(again.0.followed().is_connected());
        assert_eq!(pids(&collector), [1]);
    }

    #[test]
    fn an_entry_that_cannot_be_taken_says_why() {
        let collector = Collector::new(8);
        let entry = |message| v1::RecordingEntry {
            process: hello(7).process,
            message: Some(v1::AgentMessage { message }),
            ..Default::default()
        };
        assert!(collector.replay(entry(None)).unwrap_err().contains("no message"));
        let error = collector.replay(entry(Some(goodbye(1)))).unwrap_err();
        assert!(error.contains("process 7 on node has no Hello"), "{error}");
        let error = collector.replay(entry(Some(Message::Hello(hello(7))))).unwrap_err();
        assert!(error.contains("protocol version 0"), "{error}");
    }
}
