//! How long the drain thread sleeps between two looks at the rings.
//!
//! Each look that finds something costs a report: a message, its acknowledgement, and a wake-up on both sides. So it looks as
//! seldom as the rings allow: by the rate of the last look, before any of them is a sixteenth full. However fast calls come
//! after a quiet time, the longest sleep is bounded by what a ring holds.

use std::time::Duration;

/// The shortest sleep. Without any, ring headers would travel between cores all the time.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// The longest sleep. A ring must hold what a thread records in this time: 65,536 records are 3.2 million a second.
pub(crate) const LONGEST: Duration = Duration::from_millis(20);
/// The share of a ring that may fill until the next look, at the rate of the last one.
const SHARE: f64 = 1.0 / 16.0;

/// The sleep after a look that found this share of the fullest ring to be new since the look before, so long ago.
pub(crate) fn pause(since: Duration, filled: f64) -> Duration {
    if filled <= 0.0 {
        return LONGEST;
    }
    let pause = since.as_secs_f64() * SHARE / filled;
    Duration::try_from_secs_f64(pause).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_quiet_ring_is_looked_at_seldom() {
        assert_eq!(pause(MILLISECOND, 0.0), LONGEST);
        assert_eq!(pause(LONGEST, 130.0 / 65_536.0), LONGEST, "a decode step");
    }

    #[test]
    fn the_faster_a_ring_fills_the_sooner_is_the_next_look() {
        let share = |rate: f64| rate * 0.008 / 65_536.0;
        let pauses = [0.5e6, 1.0e6, 2.0e6].map(|rate| pause(8 * MILLISECOND, share(rate)));
        let expected = [8.192, 4.096, 2.048].map(|ms| Duration::from_secs_f64(ms / 1e3));
        for (pause, expected) in pauses.into_iter().zip(expected) {
            assert!(pause.abs_diff(expected) < Duration::from_micros(1), "{pause:?} {expected:?}");
        }
        assert_eq!(pause(MILLISECOND, 1.0), SHORTEST);
    }

    proptest! {
        #[test]
        fn at_a_steady_rate_no_more_than_a_sixteenth_fills_or_the_sleep_is_the_shortest(
            since in 0u64..100_000_000, filled in 0.0f64..1.0
        ) {
            let since = Duration::from_nanos(since);
            let pause = pause(since, filled);
            prop_assert!((SHORTEST..=LONGEST).contains(&pause));
            let until_then = filled * pause.as_secs_f64() / since.as_secs_f64();
            prop_assert!(pause == SHORTEST || filled == 0.0 || until_then <= SHARE * 1.001);
        }
    }
}
