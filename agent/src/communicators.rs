//! The communicators of this process: what is known of each, and since when.
//!
//! The facts stand in the ring file, so that they outlive the process; the drain thread sends them
//! from there. Records carry the bare `ncclComm_t`: NCCL reuses it after a communicator is destroyed,
//! and the collector tells its owners apart by their lifetimes.
#![allow(unsafe_code)]

use crate::faults::{self, Fault};
use crate::ffi::{self, Call, CommunicatorHandle, ConfigHead};
use crate::life::Agent;
use crate::mapping;
use crate::resolve::libraries::{self, Answers};
use crate::sync::lock;
use nccltap_proto::ringfile::{COMMUNICATORS, CommunicatorEntry};
use nccltap_proto::{FNV_START, Function, fnv1a};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

/// Places in the table of living handles: twice as many as can ever be in it.
const PLACES: usize = 2 * COMMUNICATORS;
/// A place whose handle is gone.
const GONE: u64 = u64::MAX;

/// All communicators of the process.
pub(crate) struct Communicators {
    /// Handles that are alive and described. Read without a lock on the way of every call whose
    /// communicator is not that of the call before.
    alive: Box<[AtomicU64]>,
    /// Goes up with every change of a fact, so that the drain thread knows when to look.
    changes: AtomicU64,
    /// How many are in `Book::unfinished`: most groups create nothing, and need no lock to know it.
    unfinished: AtomicUsize,
    book: Mutex<Book>,
}

/// What only the (rare) births and deaths need.
#[derive(Default)]
struct Book {
    /// Entry in the ring file of each living handle.
    entries: HashMap<u64, Living>,
    /// How often each group was split, shrunk or grown: part of the name of the child.
    children: HashMap<u64, u32>,
    /// When the last communicator with this handle ended.
    ended: HashMap<u64, u64>,
    /// Born inside a group that is still open: NCCL completes them at its end.
    unfinished: Vec<Unfinished>,
    used: u32,
}

/// A communicator that has not ended.
#[derive(Clone, Copy)]
struct Living {
    /// Its entry in the ring file.
    index: usize,
    /// Copy of NCCL.
    library: u32,
}

/// A communicator inside an open group.
struct Unfinished {
    thread: u32,
    /// Where NCCL puts the handle.
    place: usize,
    facts: Facts,
}

/// A call that makes communicators, after it has come back from NCCL.
#[derive(Clone, Copy)]
pub(crate) struct Creation<'a> {
    /// Copy of NCCL.
    pub(crate) library: usize,
    pub(crate) function: Function,
    pub(crate) call: &'a Call,
    /// `ncclResult_t`.
    pub(crate) result: i32,
    /// Whether a group is open around it.
    pub(crate) in_group: bool,
    /// Ticks before the call.
    pub(crate) started: u64,
}

/// What the arguments of a creating call say.
#[derive(Clone)]
struct Facts {
    group: u64,
    parent_group: u64,
    ranks: u32,
    rank: i32,
    library: usize,
    created_by: u16,
    created: u64,
    name: Vec<u8>,
}

impl Communicators {
    pub(crate) fn new() -> Self {
        Self {
            alive: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            changes: AtomicU64::new(0),
            unfinished: AtomicUsize::new(0),
            book: Mutex::default(),
        }
    }

    /// How often a fact has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Acquire)
    }

    /// All facts as they stand, with the number of each communicator.
    pub(crate) fn all(&self, agent: &Agent) -> Vec<(u32, CommunicatorEntry)> {
        let book = lock(&self.book);
        (0..book.used).map(|index| (index, agent.file.communicator(index as usize))).collect()
    }

    /// Whether this handle is described. Lock-free.
    pub(crate) fn knows(&self, handle: u64) -> bool {
        for place in self.places(handle) {
            match place.load(Acquire) {
                0 => return false,
                found if found == handle => return true,
                _ => {}
            }
        }
        false
    }

    /// The places where a handle may be, in the order in which they are tried.
    fn places(&self, handle: u64) -> impl Iterator<Item = &AtomicU64> {
        // Handles are addresses of large blocks: their low bits say nothing.
        let start = (handle >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (0..PLACES).filter_map(move |step| self.alive.get((start as usize + step) % PLACES))
    }

    /// A creating call has come back from NCCL.
    ///
    /// # Safety
    /// The pointers in `creation.call` are the caller's, and still valid.
    pub(crate) unsafe fn created(&self, agent: &Agent, creation: &Creation<'_>) {
        let Creation { library, function, call, result, in_group, .. } = *creation;
        if !function.is_taken(result) || call.created.is_null() {
            return;
        }
        // SAFETY: by the contract of this function.
        let facts = unsafe { lock(&self.book).facts(self, agent, creation) };
        let count = if call.created_count > 0 { call.created_count } else { call.ranks };
        for index in 0..count.max(0) {
            // SAFETY: NCCL has been told to write that many handles there.
            let place = unsafe { call.created.add(index as usize) };
            // SAFETY: as above; NCCL may write it from another thread, hence the volatile read.
            let handle = unsafe { place.read_volatile() };
            let mut facts = facts.clone();
            if call.created_count == 0 {
                facts.rank = index;
            }
            let complete = !in_group && result == ffi::SUCCESS && !handle.is_null();
            // Without the lock: NCCL and the loader have locks of their own.
            let answers =
                if complete { libraries::ask(library, handle) } else { Answers::default() };
            let mut book = lock(&self.book);
            if in_group && book.unfinished.len() < COMMUNICATORS {
                let unfinished = Unfinished {
                    thread: ffi::thread_id(),
                    place: place as usize,
                    facts: facts.clone(),
                };
                book.unfinished.push(unfinished);
                self.unfinished.store(book.unfinished.len(), Release);
            }
            if !handle.is_null() {
                self.enter(agent, &mut book, handle, &facts, answers);
            }
        }
    }

    /// Whether communicators were born in groups that are still open.
    pub(crate) fn any_unfinished(&self) -> bool {
        self.unfinished.load(Acquire) != 0
    }

    /// The outermost group of this thread has ended, by this function: communicators born in it are complete.
    ///
    /// # Safety
    /// The caller of NCCL keeps valid, until the group ends, where it wants its new handles.
    pub(crate) unsafe fn group_ended(&self, agent: &Agent, end: Function, result: i32) {
        for unfinished in self.take_unfinished(ffi::thread_id()) {
            if !end.is_taken(result) {
                continue;
            }
            // SAFETY: by the contract of this function.
            let handle = unsafe { (unfinished.place as *const CommunicatorHandle).read_volatile() };
            if handle.is_null() {
                continue;
            }
            let answers = match result {
                ffi::SUCCESS => libraries::ask(unfinished.facts.library, handle),
                _ => Answers::default(),
            };
            self.enter(agent, &mut lock(&self.book), handle, &unfinished.facts, answers);
        }
    }

    /// A thread ends: what it began in a group that it never ended is nobody's.
    pub(crate) fn thread_ends(&self, thread: u32) {
        if self.any_unfinished() {
            self.take_unfinished(thread);
        }
    }

    fn take_unfinished(&self, thread: u32) -> Vec<Unfinished> {
        let mut book = lock(&self.book);
        let (taken, others) = std::mem::take(&mut book.unfinished)
            .into_iter()
            .partition::<Vec<_>, _>(|unfinished| unfinished.thread == thread);
        self.unfinished.store(others.len(), Release);
        book.unfinished = others;
        taken
    }

    /// A call succeeded on a communicator whose birth was not seen: asks NCCL what it is.
    pub(crate) fn found(&self, agent: &Agent, library: usize, handle: CommunicatorHandle) {
        if lock(&self.book).used as usize >= COMMUNICATORS {
            faults::count(Fault::TooManyCommunicators);
            self.remember(handle as u64);
            return;
        }
        let answers = libraries::ask(library, handle);
        let facts = Facts {
            group: 0,
            parent_group: 0,
            ranks: 0,
            rank: -1,
            library,
            created_by: 0,
            created: agent.started.ticks,
            name: Vec::new(),
        };
        let mut book = lock(&self.book);
        if !self.knows(handle as u64) {
            self.enter(agent, &mut book, handle, &facts, answers);
        }
    }

    /// The copy of NCCL that a living communicator belongs to.
    pub(crate) fn library_of(&self, handle: CommunicatorHandle) -> Option<u32> {
        lock(&self.book).entries.get(&(handle as u64)).map(|entry| entry.library)
    }

    /// The number of a living communicator, which is described by then.
    pub(crate) fn number_of(
        &self,
        agent: &Agent,
        library: usize,
        handle: CommunicatorHandle,
    ) -> Option<u32> {
        if !self.knows(handle as u64) {
            self.found(agent, library, handle);
        }
        lock(&self.book).entries.get(&(handle as u64)).map(|entry| entry.index as u32)
    }

    /// A communicator is about to be destroyed or aborted: its handle may soon be another's.
    pub(crate) fn ends(&self, agent: &Agent, handle: CommunicatorHandle, now: u64) {
        let handle = handle as u64;
        let mut book = lock(&self.book);
        for place in self.places(handle) {
            match place.load(Relaxed) {
                0 => break,
                found if found == handle => {
                    place.store(GONE, Release);
                    break;
                }
                _ => {}
            }
        }
        if let Some(Living { index, .. }) = book.entries.remove(&handle) {
            let mut entry = agent.file.communicator(index);
            entry.destroyed = now;
            agent.file.write_communicator(index, entry);
            book.ended.insert(handle, now);
            self.changes.fetch_add(1, Release);
        }
    }

    /// Describes a handle, or adds to its description what is known by now. What NCCL itself says goes
    /// before what was asked of it.
    fn enter(
        &self,
        agent: &Agent,
        book: &mut Book,
        handle: CommunicatorHandle,
        facts: &Facts,
        answers: Answers,
    ) {
        let handle = handle as u64;
        let known = book.entries.get(&handle).map(|living| living.index);
        let index = known.unwrap_or(book.used as usize);
        let mut entry: CommunicatorEntry = match known {
            Some(index) => agent.file.communicator(index),
            None => {
                // The one that had the handle before ended before this one began.
                let after = book.ended.get(&handle).map_or(0, |ended| ended.wrapping_add(1));
                facts.entry(handle, facts.created.max(after))
            }
        };
        entry.ranks = answers.ranks.map_or(entry.ranks, |ranks| ranks as u32);
        entry.rank = answers.rank.unwrap_or(entry.rank);
        entry.device = answers.device.unwrap_or(entry.device);
        if !agent.file.write_communicator(index, entry) {
            faults::count(Fault::TooManyCommunicators);
        } else if known.is_none() {
            book.used += 1;
            book.entries.insert(handle, Living { index, library: entry.library });
            agent.file.publish_communicators(book.used);
        }
        self.remember(handle);
        self.changes.fetch_add(1, Release);
    }

    /// Puts a handle into the table of those that need no further look.
    fn remember(&self, handle: u64) {
        if self.knows(handle) {
            return;
        }
        for place in self.places(handle) {
            let seen = place.load(Relaxed);
            let free = matches!(seen, 0 | GONE);
            if free && place.compare_exchange(seen, handle, AcqRel, Relaxed).is_ok() {
                break;
            }
        }
    }
}

impl Facts {
    fn entry(&self, handle: u64, created: u64) -> CommunicatorEntry {
        let mut name = [0; 64];
        mapping::fill(&mut name, &self.name);
        CommunicatorEntry {
            handle,
            group: self.group,
            parent_group: self.parent_group,
            created,
            destroyed: 0,
            ranks: self.ranks,
            rank: self.rank,
            device: -1,
            library: self.library as u32,
            created_by: u32::from(self.created_by),
            ready: 1,
            name,
        }
    }
}

impl Book {
    /// # Safety
    /// As for [`Communicators::created`].
    unsafe fn facts(
        &mut self,
        communicators: &Communicators,
        agent: &Agent,
        creation: &Creation<'_>,
    ) -> Facts {
        let Creation { library, function, call, started, .. } = *creation;
        let parent = self.entries.get(&(call.parent as u64)).copied();
        let parent = parent.map(|living| agent.file.communicator(living.index));
        let parent_group = parent.map_or(0, |entry| entry.group);
        let ids = match call.id_count {
            // ncclCommGrow takes one id by pointer, and none on ranks that need none.
            0 if !call.ids.is_null() => 1,
            count => count.max(0) as usize,
        };
        let group = if ids > 0 && !call.ids.is_null() {
            // SAFETY: the caller passes that many unique ids.
            let ids = unsafe { std::slice::from_raw_parts(call.ids, ids) };
            ids.iter().fold(FNV_START, |state, id| fnv1a(&id.0, state))
        } else if function == Function::ncclCommGrow {
            // Only the root and the new ranks are given the id. The others cannot know it, and a name
            // of their own making would be another than theirs.
            0
        } else if !call.parent.is_null() {
            match parent_group {
                0 => 0,
                group => self.child_group(group, call.color),
            }
        } else {
            // ncclCommInitAll: the group never leaves this process, so any name will do that no
            // other process has.
            let state = fnv1a(agent.process.host.as_bytes(), FNV_START);
            let state = fnv1a(&agent.process.instance.to_le_bytes(), state);
            fnv1a(&communicators.changes().to_le_bytes(), state)
        };
        Facts {
            group,
            parent_group,
            ranks: call.ranks.max(0) as u32,
            rank: call.rank,
            library,
            created_by: function.id(),
            created: started,
            // SAFETY: the caller's configuration.
            name: unsafe { ConfigHead::name(call.config) },
        }
    }

    /// All ranks of a group split and shrink it in the same order, so parent, number of the
    /// child and colour name the child alike on all of them.
    fn child_group(&mut self, parent: u64, color: i32) -> u64 {
        let number = self.children.entry(parent).or_insert(0);
        *number = number.wrapping_add(1);
        let state = fnv1a(&parent.to_le_bytes(), FNV_START);
        let state = fnv1a(&number.to_le_bytes(), state);
        fnv1a(&color.to_le_bytes(), state)
    }
}
