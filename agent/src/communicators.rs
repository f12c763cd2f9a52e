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
use crate::resolve::libraries::{self, Getters};
use crate::sync::lock;
use nccltap_proto::ringfile::{COMMUNICATORS, CommunicatorEntry};
use nccltap_proto::{FNV_START, fnv1a};
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
    entries: HashMap<u64, usize>,
    /// How often each group was split, shrunk or grown: part of the name of the child.
    children: HashMap<u64, u32>,
    /// When the last communicator with this handle ended.
    ended: HashMap<u64, u64>,
    /// Born inside a group that is still open: NCCL completes them at its end.
    unfinished: Vec<Unfinished>,
    used: u32,
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
    /// Number of the function.
    pub(crate) function: u16,
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
        let Creation { library, call, result, in_group, .. } = *creation;
        if (result != ffi::SUCCESS && result != ffi::IN_PROGRESS) || call.created.is_null() {
            return;
        }
        let mut book = lock(&self.book);
        // SAFETY: by the contract of this function.
        let facts = unsafe { book.facts(self, agent, creation) };
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
            if in_group {
                let unfinished = Unfinished {
                    thread: ffi::thread_id(),
                    place: place as usize,
                    facts: facts.clone(),
                };
                if book.unfinished.len() < COMMUNICATORS {
                    book.unfinished.push(unfinished);
                    self.unfinished.store(book.unfinished.len(), Release);
                }
            }
            if !handle.is_null() {
                let getters = (!in_group && result == ffi::SUCCESS)
                    .then(|| libraries::getters(library))
                    .flatten();
                self.enter(agent, &mut book, handle, &facts, getters);
            }
        }
    }

    /// Whether communicators were born in groups that are still open.
    pub(crate) fn any_unfinished(&self) -> bool {
        self.unfinished.load(Acquire) != 0
    }

    /// The outermost group of this thread has ended: communicators born in it are complete.
    ///
    /// # Safety
    /// The caller of NCCL keeps valid, until the group ends, where it wants its new handles.
    pub(crate) unsafe fn group_ended(&self, agent: &Agent) {
        let thread = ffi::thread_id();
        let mut book = lock(&self.book);
        let (mine, others) = std::mem::take(&mut book.unfinished)
            .into_iter()
            .partition::<Vec<_>, _>(|unfinished| unfinished.thread == thread);
        self.unfinished.store(others.len(), Release);
        book.unfinished = others;
        for unfinished in mine {
            // SAFETY: by the contract of this function.
            let handle = unsafe { (unfinished.place as *const CommunicatorHandle).read_volatile() };
            if !handle.is_null() {
                let getters = libraries::getters(unfinished.facts.library);
                self.enter(agent, &mut book, handle, &unfinished.facts, getters);
            }
        }
    }

    /// A call succeeded on a communicator whose birth was not seen: asks NCCL what it is.
    pub(crate) fn found(&self, agent: &Agent, library: usize, handle: CommunicatorHandle) {
        let mut book = lock(&self.book);
        if self.knows(handle as u64) {
            return;
        }
        let after = book.ended.get(&(handle as u64)).copied();
        let facts = Facts {
            group: 0,
            parent_group: 0,
            ranks: 0,
            rank: -1,
            library,
            created_by: 0,
            created: after.map_or(agent.started.ticks, |ended| ended.wrapping_add(1)),
            name: Vec::new(),
        };
        self.enter(agent, &mut book, handle, &facts, libraries::getters(library));
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
        if let Some(index) = book.entries.remove(&handle) {
            let mut entry = agent.file.communicator(index);
            entry.destroyed = now;
            agent.file.write_communicator(index, entry);
            book.ended.insert(handle, now);
            self.changes.fetch_add(1, Release);
        }
    }

    /// Describes a handle, or adds to its description what is known by now.
    fn enter(
        &self,
        agent: &Agent,
        book: &mut Book,
        handle: CommunicatorHandle,
        facts: &Facts,
        getters: Option<Getters>,
    ) {
        let handle_number = handle as u64;
        let index = book.entries.get(&handle_number).copied();
        let is_new = index.is_none();
        let index = index.unwrap_or(book.used as usize);
        let mut entry: CommunicatorEntry = match is_new {
            true => bytemuck::Zeroable::zeroed(),
            false => agent.file.communicator(index),
        };
        if is_new {
            entry.handle = handle_number;
            entry.group = facts.group;
            entry.parent_group = facts.parent_group;
            entry.created = facts.created;
            entry.ranks = facts.ranks;
            entry.rank = facts.rank;
            entry.device = -1;
            entry.library = facts.library as u32;
            entry.created_by = u32::from(facts.created_by);
            entry.ready = 1;
            mapping::fill(&mut entry.name, &facts.name);
        }
        if let Some(getters) = getters {
            // What NCCL itself says of a finished communicator goes before what was asked for.
            let asked = |getter| libraries::ask(getter, handle);
            if let Some(ranks) = asked(getters.count) {
                entry.ranks = ranks as u32;
            }
            if let Some(rank) = asked(getters.user_rank) {
                entry.rank = rank;
            }
            if let Some(device) = asked(getters.cu_device) {
                entry.device = device;
            }
        }
        if !agent.file.write_communicator(index, entry) {
            faults::count(Fault::TooManyCommunicators);
            return;
        }
        if is_new {
            book.used += 1;
            book.entries.insert(handle_number, index);
            agent.file.publish_communicators(book.used);
            for place in self.places(handle_number) {
                if matches!(place.load(Relaxed), 0 | GONE) {
                    place.store(handle_number, Release);
                    break;
                }
            }
        }
        self.changes.fetch_add(1, Release);
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
        let parent = parent.map(|index| agent.file.communicator(index));
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
            created_by: function,
            created: started,
            // SAFETY: the caller's configuration.
            name: unsafe { ConfigHead::name(call.config) },
        }
    }

    /// All ranks of a group split, shrink and grow it in the same order, so parent, number of the
    /// child and colour name the child alike on all of them.
    fn child_group(&mut self, parent: u64, color: i32) -> u64 {
        let number = self.children.entry(parent).or_insert(0);
        *number = number.wrapping_add(1);
        let state = fnv1a(&parent.to_le_bytes(), FNV_START);
        let state = fnv1a(&number.to_le_bytes(), state);
        fnv1a(&color.to_le_bytes(), state)
    }
}
