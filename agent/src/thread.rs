//! What belongs to one thread: its ring, its open groups, the communicator it used last.
#![allow(unsafe_code)]

use crate::arch;
use crate::faults::{self, Fault};
use crate::ffi;
use crate::life::{self, Agent};
use crate::mapping::Ring;
use crate::record;
use crate::ring::{Producer, Shared};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use nccltap_proto::ringfile::{RING_ORPHANED, RING_OWNED};
use std::ffi::c_void;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// State of one thread, in thread storage, all zeros when the thread begins. What calls of NCCL need is one
/// cache line.
#[repr(C, align(64))]
pub(crate) struct State {
    /// The thread's ring, if it has one.
    pub(crate) producer: Producer,
    /// The communicator of the last record: it is known, so its facts need not be looked for.
    pub(crate) last_communicator: u64,
    /// Number of the outermost open group, 0 when none is open.
    pub(crate) group: u32,
    /// Groups open.
    pub(crate) depth: u16,
    /// Records are stamped with CLOCK_MONOTONIC.
    pub(crate) monotonic: bool,
    /// Where the stack stood at the call that is inside the tap, 0 when none is.
    pub(crate) frame: usize,
    /// Where the stack stood at the call of the CUDA runtime that this thread is inside of, 0 when in none.
    runtime_frame: usize,
}

const _: () = assert!(std::mem::offset_of!(State, runtime_frame) == 64);

impl State {
    /// The state of the calling thread.
    ///
    /// # Safety
    /// No other reference from this function is alive: take it, use it, let it go before anything
    /// is called that could enter the tap again.
    #[inline(always)]
    pub(crate) unsafe fn current<'a>() -> &'a mut Self {
        // SAFETY: the storage is this thread's own, aligned and zeroed, and zeros are a valid State.
        unsafe { &mut *arch::thread_state() }
    }

    /// A call of the CUDA runtime begins, in a wrapper whose stack stands at `frame`. Gives what must be put back.
    #[inline(always)]
    pub(crate) fn enter_runtime(frame: usize) -> usize {
        // SAFETY: the reference ends at once.
        std::mem::replace(unsafe { &mut Self::current().runtime_frame }, frame)
    }

    /// The call has come back. One that never does, since something was thrown through it, is noticed by the stack.
    #[inline(always)]
    pub(crate) fn leave_runtime(outer: usize) {
        // SAFETY: the reference ends at once.
        unsafe { Self::current() }.runtime_frame = outer;
    }

    /// Whether a wrapper whose stack stands at `frame` was called from inside the CUDA runtime.
    #[inline(always)]
    pub(crate) fn is_inside_runtime(frame: usize) -> bool {
        // SAFETY: the reference ends at once.
        frame < unsafe { Self::current() }.runtime_frame
    }

    /// Back to how a thread begins, group depth aside: that is NCCL's, and goes on.
    fn forget_ring(&mut self) {
        self.producer = Producer::none();
        self.last_communicator = 0;
        self.frame = 0;
    }

    /// Takes a ring for this thread. False when the tap has none to give; then it is not asked again
    /// for a while.
    #[cold]
    #[inline(never)]
    pub(crate) fn acquire_ring(&mut self, agent: &'static Agent) -> bool {
        let now = crate::clock::now_slow();
        if now < self.producer.refused_until() {
            agent.count_unrecorded();
            return false;
        }
        let Some(ring) = crate::shield::shielded(|| take_ring(agent)).flatten() else {
            agent.count_unrecorded();
            self.producer = Producer::refused(now.saturating_add(agent.ticks_in(ASK_AGAIN)));
            return false;
        };
        ring.shared.thread.store(ffi::thread_id(), Relaxed);
        // SAFETY: the state RING_OWNED makes this thread its only writer.
        self.producer = unsafe { ring.producer() };
        self.monotonic = crate::clock::is_monotonic();
        // SAFETY: the key exists once the tap is alive; the value is not null.
        unsafe {
            let shared = (&raw const *ring.shared).cast::<c_void>();
            libc::pthread_setspecific(EXIT_KEY.load(Acquire), shared);
        }
        true
    }
}

/// How long a thread that got no ring goes without asking again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A ring nobody uses: one whose thread has ended, or a new one.
fn take_ring(agent: &'static Agent) -> Option<Ring> {
    let orphaned = |drained_only: bool| {
        agent.file.rings().map(|(_, ring)| ring).find(|ring| {
            let reader = ring.reader();
            (!drained_only || reader.head() == reader.tail())
                && ring
                    .shared
                    .state
                    .compare_exchange(RING_ORPHANED, RING_OWNED, AcqRel, Relaxed)
                    .is_ok()
        })
    };
    // Positions go on from thread to thread, so a ring that still holds records can be taken too;
    // but one that is drained, or new, has more room.
    let taken = orphaned(true)
        .or_else(|| agent.file.add_ring().map(|(_, ring)| ring))
        .or_else(|| orphaned(false));
    if taken.is_none() {
        faults::count(Fault::NoRing);
    }
    taken
}

/// The key whose destructor runs when a thread that has a ring ends; 0 until it is made, and a real
/// key of number 0 is never used.
static EXIT_KEY: AtomicU32 = AtomicU32::new(0);

/// Makes the key, once per process image.
pub(crate) fn prepare() -> bool {
    if EXIT_KEY.load(Acquire) != 0 {
        return true;
    }
    let mut key = 0;
    // SAFETY: `key` is valid. Number 0 is left unused, since 0 stands for "none".
    let made = unsafe {
        libc::pthread_key_create(&mut key, Some(thread_ends)) == 0
            && (key != 0 || libc::pthread_key_create(&mut key, Some(thread_ends)) == 0)
    };
    if made {
        EXIT_KEY.store(key, Release);
    }
    made
}

/// A thread that had a ring ends: its records stay, and the ring is free for another thread. A
/// later destructor of the same thread that calls NCCL simply takes a ring again.
unsafe extern "C" fn thread_ends(shared: *mut c_void) {
    let _ = crate::shield::shielded(|| {
        if let Some(agent) = life::agent() {
            agent.communicators.thread_ends(ffi::thread_id());
        }
    });
    // SAFETY: nothing of the tap is running on this thread.
    let state = unsafe { State::current() };
    record::left_behind(state);
    state.forget_ring();
    // SAFETY: the value was set by `acquire_ring`, and mappings are never unmapped.
    let shared = unsafe { &*shared.cast::<Shared>() };
    shared.state.store(RING_ORPHANED, Release);
}

/// In a forked child, which has only this thread: the ring is the parent's.
pub(crate) fn forked() {
    // SAFETY: nothing of the tap is running on this thread.
    unsafe { State::current() }.forget_ring();
    let key = EXIT_KEY.load(Acquire);
    if key != 0 {
        // SAFETY: the key exists.
        unsafe { libc::pthread_setspecific(key, std::ptr::null()) };
    }
}
