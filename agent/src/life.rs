//! The life of the tap in a process.
//!
//! ```text
//! DORMANT ──first communicator──> STARTING ──> RUNNING
//!    ^                                └──> OFF (NCCLTAP_OFF, or no memory for rings)
//!    └── a forked child starts here again
//! ```
//! Nothing is torn down: the host may call NCCL from its last destructor, and Python's children end
//! in `_exit`, which runs no handler at all. What is not sent by then stands in the ring file.
#![allow(unsafe_code)]

use crate::clock;
use crate::communicators::Communicators;
use crate::descriptors;
use crate::drain;
use crate::faults::{self, Fault};
use crate::graphs::{self, Graphs};
use crate::mapping::{self, RingFile};
use crate::resolve::{elf, libraries};
use crate::settings::{Settings, Start};
use crate::shield::{Unseen, shielded};
use crate::thread;
use crate::uplink;
use nccltap_proto::ringfile::{AnchorEntry, Layout, LibraryEntry};
use nccltap_proto::v1;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering::*};
use std::time::{Duration, Instant};

const DORMANT: u8 = 0;
const STARTING: u8 = 1;
const RUNNING: u8 = 2;
const OFF: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(DORMANT);
// Among initialised data: every process looks here when it ends, and that page is in memory already.
#[cfg_attr(not(test), unsafe(link_section = ".data"))]
static AGENT: AtomicPtr<Agent> = AtomicPtr::new(std::ptr::null_mut());

/// The tap, alive in this process. Never freed: threads may use it until the process is gone.
pub(crate) struct Agent {
    pub(crate) file: RingFile,
    pub(crate) settings: Settings,
    pub(crate) process: v1::Process,
    pub(crate) started: AnchorEntry,
    pub(crate) communicators: Communicators,
    pub(crate) graphs: Graphs,
    pub(crate) exit: drain::Exit,
}

impl Agent {
    /// A call went through without a record, because there was no ring for it.
    #[cold]
    pub(crate) fn count_unrecorded(&self) {
        self.file.unrecorded().fetch_add(1, Relaxed);
    }

    /// Writes the copies of libraries that functions come from into the ring file.
    pub(crate) fn describe_libraries(&self) {
        for library in libraries::describe() {
            let mut entry: LibraryEntry = bytemuck::Zeroable::zeroed();
            entry.version = library.version;
            mapping::fill(&mut entry.path, &library.path);
            // By number of the function, and numbers begin at 1.
            for (place, door) in entry.doors.iter_mut().skip(1).zip(library.doors) {
                *place = door;
            }
            entry.ready = 1;
            self.file.write_library(library.index, entry);
        }
    }

    /// About how many ticks of the record clock pass in `time`.
    pub(crate) fn ticks_in(&self, time: Duration) -> u64 {
        let now = clock::anchor();
        let ticks = u128::from(now.ticks.wrapping_sub(self.started.ticks).max(1));
        let ns = u128::from(now.monotonic_ns.wrapping_sub(self.started.monotonic_ns).max(1));
        u64::try_from(time.as_nanos() * ticks / ns).unwrap_or(u64::MAX)
    }
}

/// The tap, if it is alive.
pub(crate) fn agent() -> Option<&'static Agent> {
    // SAFETY: null, or a leaked box.
    unsafe { AGENT.load(Acquire).as_ref() }
}

/// Whether the tap was told, or forced, to do nothing in this process.
pub(crate) fn is_off() -> bool {
    STATE.load(Acquire) == OFF
}

/// A communicator is about to be made: the tap comes to life, unless it is alive or off.
pub(crate) fn wake() {
    if STATE.load(Acquire) == DORMANT || STATE.load(Acquire) == STARTING {
        wake_slow();
    }
}

/// A call that needs no communicator: wakes the tap where the setting asks for it.
pub(crate) fn wake_if_asked() {
    if STATE.load(Acquire) == DORMANT {
        let _unseen = Unseen::new();
        if shielded(|| Settings::from_environment().start) == Some(Start::Call) {
            wake_slow();
        }
    }
}

#[cold]
#[inline(never)]
fn wake_slow() {
    let _unseen = Unseen::new();
    prepare_for_fork();
    if STATE.compare_exchange(DORMANT, STARTING, AcqRel, Acquire).is_err() {
        // Another thread is at it. It takes about a millisecond, once per process, and this call
        // makes a communicator, which takes far longer.
        let patience = Instant::now() + Duration::from_millis(200);
        while STATE.load(Acquire) == STARTING && Instant::now() < patience {
            std::thread::yield_now();
        }
        return;
    }
    let started = shielded(start).flatten();
    let state = match started {
        Some(agent) => {
            AGENT.store(std::ptr::from_mut(Box::leak(agent)), Release);
            RUNNING
        }
        None => OFF,
    };
    STATE.store(state, Release);
    if let Some(agent) = agent()
        && shielded(|| drain::spawn(agent)) != Some(true)
    {
        faults::count(Fault::NoThread);
    }
}

/// Everything that is needed for the first record.
fn start() -> Option<Box<Agent>> {
    let settings = Settings::from_environment();
    if settings.off {
        return None;
    }
    for _ in 0..settings.refused() {
        faults::count(Fault::SettingRefused);
    }
    // The text of a panic belongs to us, and not on the host's screen; it is counted where it is caught.
    std::panic::set_hook(Box::new(|_| drain::panicked()));
    clock::choose();
    let started = clock::anchor();
    let process = describe_process(&settings, started);
    if !thread::prepare() {
        return None;
    }
    let layout = Layout { rings: settings.rings, ring_records: settings.ring_records };
    let file = RingFile::create(&settings.ring_dir, layout, &process, started).ok()?;
    descriptors::note_ring_file(file.descriptor());
    // Trouble so far, before any thread of ours has had its turn.
    file.write_status(started);
    Some(Box::new(Agent {
        file,
        settings,
        process,
        started,
        communicators: Communicators::new(),
        graphs: Graphs::default(),
        exit: drain::Exit::default(),
    }))
}

fn describe_process(settings: &Settings, started: AnchorEntry) -> v1::Process {
    let read = |path| std::fs::read(path).unwrap_or_default();
    // Field 2 of the line is the name in parentheses, which may hold anything; count from its end.
    let stat = String::from_utf8_lossy(&read("/proc/self/stat")).into_owned();
    let start_time = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok())
        .unwrap_or_default();
    let arguments = read("/proc/self/cmdline");
    let arguments: Vec<_> = arguments
        .split(|byte| *byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    let host = read("/proc/sys/kernel/hostname");
    v1::Process {
        host: String::from_utf8_lossy(&host).trim().to_owned(),
        pid: std::process::id(),
        instance: started.realtime_ns,
        start_time,
        parent_pid: std::os::unix::process::parent_id(),
        command_line: arguments.join(" ").chars().take(1024).collect(),
        job: settings.job.clone(),
    }
}

/// A fork copies one thread, in whatever state the others are. Before it, the walk over loaded
/// objects and the load of the second library are brought to an end, whose locks in glibc would stay
/// taken in the child.
unsafe extern "C" fn before_fork() {
    uplink::hold_loads();
    elf::hold_walks();
}

unsafe extern "C" fn after_fork_in_parent() {
    elf::release_walks();
    uplink::release_loads();
}

/// In a forked child: rings, ring file, drain thread, communicators and graphs are the parent's.
unsafe extern "C" fn after_fork_in_child() {
    elf::release_walks();
    uplink::forked();
    thread::forked();
    descriptors::forked();
    graphs::forked();
    AGENT.store(std::ptr::null_mut(), Release);
    faults::reset();
    STATE.store(DORMANT, Release);
}

/// Arranges, once per process image, what a fork needs. Called before the first thing that a fork could
/// catch half done, and not when the library is loaded: most processes never call NCCL.
pub(crate) fn prepare_for_fork() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Acquire) || DONE.swap(true, AcqRel) {
        return;
    }
    // SAFETY: the handlers are plain functions that live as long as the library.
    unsafe {
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        );
    }
}

/// When the process ends in good order: gives the drain thread a moment to send the rest. On a busy machine
/// it may not have had its first turn by then: what it would have written is written here.
#[cfg(not(test))]
extern "C" fn process_ends() {
    if let Some(agent) = agent() {
        let _unseen = Unseen::new();
        let _ = shielded(|| {
            if !agent.exit.wait(agent.settings.exit_wait) {
                agent.describe_libraries();
            }
        });
    }
}

#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = process_ends;
