//! Time: the clock of the records, and anchors that tie it to the clocks of the kernel.

#![allow(unsafe_code)]

use crate::arch;
use nccltap_proto::ringfile::AnchorEntry;
use nccltap_proto::v1;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

const UNDECIDED: u8 = 0;
const TICKS: u8 = 1;
const MONOTONIC: u8 = 2;

static KIND: AtomicU8 = AtomicU8::new(UNDECIDED);

/// Chooses the clock: the time stamp counter where the kernel itself trusts it. Called once,
/// before the first record.
pub(crate) fn choose() {
    let trusted =
        std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .is_ok_and(|source| source.trim() == arch::TRUSTED_CLOCKSOURCE);
    KIND.store(if trusted { TICKS } else { MONOTONIC }, Relaxed);
}

/// Whether records are stamped with CLOCK_MONOTONIC instead of the processor's counter.
pub(crate) fn is_monotonic() -> bool {
    KIND.load(Relaxed) != TICKS
}

/// The kind, as the wire names it.
pub(crate) fn kind() -> v1::Clock {
    if is_monotonic() { v1::Clock::Monotonic } else { v1::Clock::Tsc }
}

/// Now, on the clock of the records. The caller keeps `monotonic` ([`is_monotonic`]) at hand, so
/// that the hot path reads no shared memory for it.
#[inline(always)]
pub(crate) fn now(monotonic: bool) -> u64 {
    if monotonic { kernel(libc::CLOCK_MONOTONIC) } else { arch::ticks() }
}

/// Now, on the clock of the records, for code that is not on the hot path.
pub(crate) fn now_slow() -> u64 {
    now(is_monotonic())
}

/// Nanoseconds on a clock of the kernel.
#[cold]
#[inline(never)]
pub(crate) fn kernel(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid; these clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Reads all clocks at one instant: of three tries the one in which the least time passed between
/// the two readings of the record clock.
pub(crate) fn anchor() -> AnchorEntry {
    let one = || {
        let before = now_slow();
        let monotonic_ns = kernel(libc::CLOCK_MONOTONIC);
        let after = now_slow();
        let realtime_ns = kernel(libc::CLOCK_REALTIME);
        let width = after.wrapping_sub(before);
        let ticks = before.wrapping_add(width / 2);
        (width, AnchorEntry { ticks, monotonic_ns, realtime_ns })
    };
    let (first, second, third) = (one(), one(), one());
    let best = if second.0 < first.0 { second } else { first };
    if third.0 < best.0 { third.1 } else { best.1 }
}
