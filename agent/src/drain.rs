//! The drain thread: takes what the rings hold and what is known, and makes reports of it.
//!
//! It is the only thread of ours in the host: named, with all signals blocked, so that the host's
//! signals go to the host's threads. It sleeps between 1 and 20 milliseconds (`pace.rs`); polling without sleep
//! would cost the calling threads four times as much, since ring headers would travel between cores.
#![allow(unsafe_code)]

use crate::clock;
use crate::descriptors;
use crate::faults::{self, Fault};
use crate::life::{self, Agent};
use crate::resolve::libraries;
use crate::ring::Reader;
use crate::shield::shielded;
use crate::stream;
use nccltap_proto::functions::Function;
use nccltap_proto::marks::MarkKind;
use nccltap_proto::ringfile::{DOOR_DLSYM, DOOR_PLT};
use nccltap_proto::{PROTOCOL_VERSION, RECORD_SIZE, v1};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

/// Most records of one batch.
const BATCH_RECORDS: u64 = 4096;
/// Most records of one report, over all rings: 2 MiB, half of the largest message.
const REPORT_RECORDS: u64 = 32_768;
/// Most operations of manifests of one report: half a MiB.
const REPORT_OPERATIONS: usize = 16_384;
/// A call that has been inside NCCL for longer is reported as in flight.
const LONG_CALL_NS: u64 = 1_000_000_000;
/// A report is sent at least so often, so that the collector knows the process is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How the end of the process and the drain thread meet.
#[derive(Default)]
pub(crate) struct Exit {
    asked: AtomicBool,
    done: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Exit {
    /// Asks the drain thread to send the rest, and waits until it has, at most `patience`. It
    /// waits by sleeping: at this point of a process nothing finer can be relied on. Says whether
    /// the drain thread is done.
    #[cfg_attr(test, allow(dead_code))]
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        self.asked.store(true, Release);
        let until = Instant::now() + patience;
        // Waking writes to a descriptor, which may be the host's by now.
        if let Some(wake) = self.wake.get()
            && !self.done.load(Acquire)
            && descriptors::are_intact()
        {
            wake();
        }
        while !self.done.load(Acquire) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.done.load(Acquire)
    }

    /// Whether the process is ending.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Acquire)
    }

    /// How the drain thread is woken when the process is ending.
    pub(crate) fn wakes_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// There is nothing more to wait for.
    pub(crate) fn done(&self) {
        self.done.store(true, Release);
    }
}

/// What a look at the rings has brought.
pub(crate) struct Look {
    /// What is to be sent, when there is news or a heartbeat is due.
    pub(crate) report: Option<v1::Report>,
    /// Whether more is waiting.
    pub(crate) more: bool,
    /// Which share of the fullest ring is in this report.
    pub(crate) filled: f64,
}

/// Starts the drain thread. False when it cannot be started.
pub(crate) fn spawn(agent: &'static Agent) -> bool {
    let spawned = with_signals_blocked(|| {
        std::thread::Builder::new().name("nccltap".to_owned()).stack_size(512 << 10).spawn(
            move || {
                be_an_ordinary_thread();
                DRAINS.set(true);
                let _ = shielded(|| stream::run(agent));
                agent.exit.done();
            },
        )
    });
    if spawned.is_err() {
        agent.exit.done();
    }
    spawned.is_ok()
}

thread_local! {
    /// Whether this is the drain thread.
    static DRAINS: Cell<bool> = const { Cell::new(false) };
}

/// A panic of ours begins. On the drain thread nothing may be taken down any more: what it would close
/// on the way may be the host's by now. So it stops where it is, for good; what is not sent stands in
/// the ring file. On a thread of the host the panic goes on, and is caught.
pub(crate) fn panicked() {
    if DRAINS.try_with(Cell::get).unwrap_or(false) {
        faults::count(Fault::Panic);
        stop_for_good();
    }
}

/// Stops this thread without taking anything down.
pub(crate) fn stop_for_good() -> ! {
    if let Some(agent) = life::agent() {
        agent.exit.done();
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Gives up what the thread has inherited from the one that made the first communicator: a real-time
/// class, a single processor.
fn be_an_ordinary_thread() {
    // SAFETY: zeros are valid; the calls are given valid places, and pid 0 is this thread.
    unsafe {
        let priority: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &priority);
        let mut processors: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        // The main thread is numbered as the process is.
        if libc::sched_getaffinity(libc::getpid(), size, &mut processors) == 0 {
            libc::sched_setaffinity(0, size, &processors);
        }
    }
}

/// Runs `work` with all signals blocked; a thread started in it inherits that.
fn with_signals_blocked<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the mask that was in force before.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        }
    }
    // SAFETY: zeros are valid signal sets, and both calls are given valid ones.
    let _restore = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        Restore(before)
    };
    work()
}

/// Where the sending stands. One for the life of the process; streams come and go.
pub(crate) struct Drain {
    agent: &'static Agent,
    /// Per ring, the position after the last record sent on this stream.
    sent: Vec<u64>,
    /// The facts sent on this stream, by what made them change.
    communicators_at: Option<u64>,
    communicators: Vec<v1::Communicator>,
    libraries_at: Option<u64>,
    manifests: u32,
    number: u64,
    last_report: Option<Instant>,
    last_totals: Vec<v1::RingTotals>,
}

impl Drain {
    pub(crate) fn new(agent: &'static Agent) -> Self {
        Self {
            agent,
            sent: Vec::new(),
            communicators_at: None,
            communicators: Vec::new(),
            libraries_at: None,
            manifests: 0,
            number: 0,
            last_report: None,
            last_totals: Vec::new(),
        }
    }

    /// The first message of a stream. What was sent on an earlier one and not acknowledged will be
    /// sent again.
    pub(crate) fn hello(&mut self) -> v1::Hello {
        self.sent.clear();
        self.communicators_at = None;
        self.communicators.clear();
        self.libraries_at = None;
        self.manifests = 0;
        self.number = 0;
        self.last_report = None;
        let settings = &self.agent.settings;
        v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            record_size: RECORD_SIZE as u32,
            process: Some(self.agent.process.clone()),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            clock: clock::kind() as i32,
            settings: settings.shown.clone(),
            functions: Function::ALL
                .iter()
                .map(|function| (function.id(), function.name()))
                .chain(MarkKind::ALL.iter().map(|kind| (kind.id(), kind.name())))
                .map(|(id, name)| v1::Function { id: id.into(), name: name.to_owned() })
                .collect(),
            ring_file: self.agent.file.path().to_string_lossy().into_owned(),
            started: Some(self.agent.started.into()),
            token: settings.token.clone(),
        }
    }

    /// The collector holds everything before these positions from an earlier stream.
    pub(crate) fn welcomed(&mut self, positions: &[v1::RingPosition]) {
        for position in positions {
            if let Some(ring) = self.agent.file.ring(position.ring) {
                ring.reader().release(position.next);
            }
        }
    }

    /// The collector has taken everything before these positions for good, but no more than was sent.
    pub(crate) fn taken(&mut self, positions: &[v1::RingPosition]) {
        for position in positions {
            let sent = self.sent.get(position.ring as usize).copied().unwrap_or(0);
            if let Some(ring) = self.agent.file.ring(position.ring) {
                ring.reader().release(position.next.min(sent));
            }
        }
    }

    /// Whether the collector has everything.
    pub(crate) fn is_drained(&self) -> bool {
        let mut readers = self.agent.file.rings().map(|(_, ring)| ring.reader());
        readers.all(|reader| reader.head() == reader.tail())
    }

    /// Notes in the ring file that the process lives, and how it fares.
    pub(crate) fn note_status(&mut self) -> v1::Anchor {
        let anchor = clock::anchor();
        self.agent.file.write_status(anchor);
        if self.libraries_at != Some(libraries::changes()) {
            self.agent.describe_libraries();
        }
        anchor.into()
    }

    /// Looks at the rings, and at what has changed.
    pub(crate) fn look(&mut self) -> Look {
        // A long backlog of manifests goes first, so that no report is too large.
        let manifests = self.manifests(REPORT_OPERATIONS);
        if self.manifests < self.agent.file.manifests() {
            let report = Some(self.complete(Vec::new(), manifests));
            return Look { report, more: true, filled: 0.0 };
        }
        // Heads next: whatever was recorded up to here belongs to a communicator, and is a launch of a
        // manifest, that stands in the file by now, and so in this report.
        let mut room = REPORT_RECORDS;
        let mut batches = Vec::new();
        let (mut more, mut filled) = (false, 0.0_f64);
        for (index, ring) in self.agent.file.rings() {
            let (reader, before) = (ring.reader(), room);
            let capacity = reader.capacity().max(1);
            more |= self.take(index, reader, &mut room, &mut batches);
            filled = filled.max((before - room) as f64 / capacity as f64);
        }
        let mut manifests = manifests;
        manifests.extend(self.manifests(usize::MAX));
        let due = self.last_report.is_none_or(|last| last.elapsed() >= HEARTBEAT);
        let changed = self.communicators_at != Some(self.agent.communicators.changes())
            || self.libraries_at != Some(libraries::changes());
        let nothing = batches.is_empty() && manifests.is_empty();
        let silent = nothing && !due && !changed && self.totals() == self.last_totals;
        let report = (!silent).then(|| self.complete(batches, manifests));
        Look { report, more, filled }
    }

    /// The last word: every counter, and no records.
    pub(crate) fn goodbye(&mut self) -> v1::Goodbye {
        v1::Goodbye { last: Some(self.complete(Vec::new(), Vec::new())) }
    }

    fn complete(&mut self, batches: Vec<v1::Batch>, manifests: Vec<v1::Manifest>) -> v1::Report {
        let anchor = self.note_status();
        self.number += 1;
        self.last_report = Some(Instant::now());
        self.last_totals = self.totals();
        v1::Report {
            number: self.number,
            libraries: self.libraries(),
            communicators: self.communicators(),
            manifests,
            batches,
            rings: self.last_totals.clone(),
            in_flight: self.in_flight(&anchor),
            faults: faults::counts()
                .filter(|(_, count)| *count > 0)
                .map(|(fault, count)| v1::Fault { name: fault.name().to_owned(), count })
                .collect(),
            unrecorded: self.agent.file.unrecorded().load(Acquire),
            anchor: Some(anchor),
        }
    }

    /// Adds what one ring has to `batches`, and says whether it has more.
    fn take(
        &mut self,
        ring: u32,
        reader: Reader<'static>,
        room: &mut u64,
        batches: &mut Vec<v1::Batch>,
    ) -> bool {
        let index = ring as usize;
        if self.sent.len() <= index {
            self.sent.resize(index + 1, 0);
        }
        let Some(sent) = self.sent.get_mut(index) else { return false };
        *sent = (*sent).max(reader.tail());
        let head = reader.head();
        while *sent < head && *room > 0 {
            let count = (head - *sent).min(BATCH_RECORDS).min(*room);
            let mut records = Vec::with_capacity(count as usize * RECORD_SIZE);
            reader.copy(*sent, *sent + count, &mut records);
            batches.push(v1::Batch {
                ring,
                first: *sent,
                encoding: v1::Encoding::Raw64 as i32,
                records: records.into(),
            });
            *sent += count;
            *room -= count;
        }
        *sent < head
    }

    fn totals(&self) -> Vec<v1::RingTotals> {
        self.agent
            .file
            .rings()
            .map(|(index, ring)| {
                let reader = ring.reader();
                // Dropped before recorded: a ring that fills meanwhile must not look as if a call
                // had been dropped while there was room.
                let dropped = reader.dropped();
                let (thread, recorded) = (reader.thread(), reader.head());
                v1::RingTotals { ring: index, thread, recorded, dropped }
            })
            .collect()
    }

    fn in_flight(&self, now: &v1::Anchor) -> Vec<v1::InFlight> {
        let started = self.agent.started;
        let ticks = now.ticks.wrapping_sub(started.ticks).max(1);
        let nanoseconds = now.monotonic_ns.wrapping_sub(started.monotonic_ns).max(1);
        let long = u128::from(LONG_CALL_NS) * u128::from(ticks) / u128::from(nanoseconds);
        self.agent
            .file
            .rings()
            .filter_map(|(index, ring)| {
                let reader = ring.reader();
                let record = reader.in_flight()?;
                let age = now.ticks.saturating_sub(record.start);
                (u128::from(age) >= long).then(|| v1::InFlight {
                    ring: index,
                    thread: reader.thread(),
                    record: bytemuck::bytes_of(&record).to_vec().into(),
                })
            })
            .collect()
    }

    /// The communicators that are new or changed since they were last sent.
    fn communicators(&mut self) -> Vec<v1::Communicator> {
        let changes = self.agent.communicators.changes();
        if self.communicators_at == Some(changes) {
            return Vec::new();
        }
        self.communicators_at = Some(changes);
        let mut news = Vec::new();
        for (id, entry) in self.agent.communicators.all(self.agent) {
            let communicator = entry.message(id);
            match self.communicators.get_mut(id as usize) {
                Some(known) if *known == communicator => {}
                Some(known) => {
                    known.clone_from(&communicator);
                    news.push(communicator);
                }
                None => {
                    self.communicators.push(communicator.clone());
                    news.push(communicator);
                }
            }
        }
        news
    }

    /// The manifests that are new since they were last sent; no further one once they have so many
    /// operations.
    fn manifests(&mut self, operations: usize) -> Vec<v1::Manifest> {
        let (mut news, mut sent) = (Vec::new(), 0);
        while self.manifests < self.agent.file.manifests() && sent < operations {
            let (entry, operations) = self.agent.file.manifest(self.manifests as usize);
            self.manifests += 1;
            sent += operations.len();
            news.push(entry.message(self.manifests, &operations));
        }
        news
    }

    /// The copies of libraries, all of them when anything about any has changed.
    fn libraries(&mut self) -> Vec<v1::Library> {
        let changes = libraries::changes();
        if self.libraries_at == Some(changes) {
            return Vec::new();
        }
        self.libraries_at = Some(changes);
        libraries::describe()
            .map(|library| v1::Library {
                id: library.index as u32,
                path: String::from_utf8_lossy(&library.path).into_owned(),
                version: library.version,
                resolved: Function::ALL
                    .iter()
                    .zip(library.doors)
                    .filter(|(_, door)| *door != 0)
                    .map(|(function, door)| v1::Resolved {
                        function: u32::from(function.id()),
                        plt: door & DOOR_PLT != 0,
                        dlsym: door & DOOR_DLSYM != 0,
                    })
                    .collect(),
                kind: v1::LibraryKind::from(library.kind) as i32,
            })
            .collect()
    }
}
