//! Ticks of the record clock, as nanoseconds.

use nccltap_proto::v1;

/// Converts ticks by two anchors: the first one ever seen and the latest.
///
/// A long line between two instants is exact to a few nanoseconds; what lies outside it is
/// extrapolated.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    first: v1::Anchor,
    latest: v1::Anchor,
    ns_per_tick: Option<f64>,
}

impl Clock {
    /// A clock whose ticks are of `kind`, and which read `started` when the tap came to life.
    pub fn new(kind: v1::Clock, started: v1::Anchor) -> Self {
        let ns_per_tick = (kind == v1::Clock::Monotonic).then_some(1.0);
        Self { first: started, latest: started, ns_per_tick }
    }

    /// Takes in a later instant. An earlier one changes nothing.
    pub fn anchor(&mut self, now: v1::Anchor) {
        if now.ticks <= self.latest.ticks || now.monotonic_ns < self.latest.monotonic_ns {
            return;
        }
        self.latest = now;
        let ticks = now.ticks.saturating_sub(self.first.ticks);
        let ns = now.monotonic_ns.saturating_sub(self.first.monotonic_ns);
        if ticks > 0 && ns > 0 {
            self.ns_per_tick = Some(ns as f64 / ticks as f64);
        }
    }

    /// The latest anchor.
    pub fn latest(&self) -> v1::Anchor {
        self.latest
    }

    /// Nanoseconds from `start` to `end`, both in ticks, 0 when `end` is the earlier one. `None`
    /// while there is only one anchor.
    #[inline]
    pub fn duration_ns(&self, start: u64, end: u64) -> Option<u64> {
        Some((end.saturating_sub(start) as f64 * self.ns_per_tick?) as u64)
    }

    /// CLOCK_MONOTONIC of the host at `ticks`, in nanoseconds.
    #[inline]
    pub fn monotonic_ns(&self, ticks: u64) -> Option<u64> {
        self.on(self.latest.monotonic_ns, ticks)
    }

    /// CLOCK_REALTIME of the host at `ticks`, in nanoseconds since 1970.
    pub fn realtime_ns(&self, ticks: u64) -> Option<u64> {
        self.on(self.latest.realtime_ns, ticks)
    }

    #[inline]
    fn on(&self, at_latest: u64, ticks: u64) -> Option<u64> {
        let slope = self.ns_per_tick?;
        Some(match ticks.checked_sub(self.latest.ticks) {
            Some(after) => at_latest.saturating_add((after as f64 * slope) as u64),
            None => at_latest.saturating_sub(((self.latest.ticks - ticks) as f64 * slope) as u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ticks: u64, monotonic_ns: u64) -> v1::Anchor {
        v1::Anchor { ticks, monotonic_ns, realtime_ns: monotonic_ns + 1_000_000 }
    }

    #[test]
    fn two_anchors_give_the_line_on_both_sides_of_them() {
        let mut clock = Clock::new(v1::Clock::Tsc, at(1_000, 0));
        assert_eq!(clock.duration_ns(0, 10), None, "one anchor has no slope");
        clock.anchor(at(3_000, 1_000));
        assert_eq!(clock.duration_ns(0, 10), Some(5));
        assert_eq!(clock.monotonic_ns(2_000), Some(500));
        assert_eq!(clock.monotonic_ns(5_000), Some(2_000));
        assert_eq!(clock.realtime_ns(5_000), Some(1_002_000));
    }

    #[test]
    fn a_monotonic_clock_needs_no_anchor() {
        let clock = Clock::new(v1::Clock::Monotonic, at(7, 7));
        assert_eq!(clock.duration_ns(10, 25), Some(15));
        assert_eq!(clock.duration_ns(25, 10), Some(0));
        assert_eq!(clock.monotonic_ns(10), Some(10));
    }

    proptest! {
        #[test]
        fn no_anchor_makes_time_run_backwards(
            anchors in prop::collection::vec((any::<u64>(), any::<u64>()), 0..8),
            ticks: u64, more: u64,
        ) {
            let mut clock = Clock::new(v1::Clock::Tsc, at(5, 5));
            for (ticks, monotonic_ns) in anchors {
                clock.anchor(v1::Anchor { ticks, monotonic_ns, realtime_ns: monotonic_ns });
            }
            let later = ticks.saturating_add(more);
            if let (Some(a), Some(b)) = (clock.monotonic_ns(ticks), clock.monotonic_ns(later)) {
                prop_assert!(a <= b);
            }
        }
    }
}
