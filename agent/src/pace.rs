//! How long the drain thread sleeps between two looks at the rings.
//!
//! Each look that finds something costs a report: a message, its acknowledgement, and a wake-up on both sides. So it looks as
//! seldom as the rings allow: by the rate of the last look, before a sixty-fourth of any of them is new. That leaves the rest
//! for the time in which the collector answers and the thread waits for a processor. However fast calls come after a quiet
//! time, the longest sleep is bounded by what a ring holds.

use std::time::Duration;

/// The shortest sleep. Without any, ring headers would travel between cores all the time.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// The longest sleep. A ring must hold what a thread records in this time: 65,536 records are 3.2 million a second.
pub(crate) const LONGEST: Duration = Duration::from_millis(20);
/// The share of a ring that may fill until the next look, at the rate of the last one.
const SHARE: f64 = 1.0 / 64.0;

/// The sleep after a look that found this share of the fullest ring to be new since the look before, so long ago. It is at most
/// twice the last one: traffic that pauses may go on as it was.
pub(crate) fn pause(last: Duration, since: Duration, filled: f64) -> Duration {
    let longest = LONGEST.min(last * 2);
    let pause = since.as_secs_f64() * SHARE / filled.max(f64::MIN_POSITIVE);
    Duration::try_from_secs_f64(pause).unwrap_or(longest).min(longest).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_quiet_ring_is_looked_at_more_and_more_seldom() {
        let mut pauses = vec![SHORTEST];
        while pauses.last() != Some(&LONGEST) {
            let last = pauses[pauses.len() - 1];
            pauses.push(pause(last, last, 0.0));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 20].map(|ms| ms * MILLISECOND));
        assert_eq!(pause(LONGEST, LONGEST, 130.0 / 65_536.0), LONGEST, "a decode step");
    }

    #[test]
    fn the_faster_a_ring_fills_the_sooner_is_the_next_look() {
        let share = |rate: f64| rate * 0.008 / 65_536.0;
        let pauses = [1e5, 2e5, 4e5].map(|rate| pause(LONGEST, 8 * MILLISECOND, share(rate)));
        let expected = [10.24, 5.12, 2.56].map(|ms| Duration::from_secs_f64(ms / 1e3));
        for (pause, expected) in pauses.into_iter().zip(expected) {
            assert!(pause.abs_diff(expected) < Duration::from_micros(1), "{pause:?} {expected:?}");
        }
        assert_eq!(pause(LONGEST, MILLISECOND, 1.0), SHORTEST);
    }

    proptest! {
        #[test]
        fn at_a_steady_rate_no_more_than_the_share_fills_or_the_sleep_is_the_shortest(
            last in 1u64..20, since in 0u64..100_000_000, filled in 0.0f64..1.0
        ) {
            let (last, since) = (Duration::from_millis(last), Duration::from_nanos(since));
            let pause = pause(last, since, filled);
            prop_assert!((SHORTEST..=LONGEST.min(2 * last)).contains(&pause));
            let until_then = filled * pause.as_secs_f64() / since.as_secs_f64();
            prop_assert!(pause == SHORTEST || filled == 0.0 || until_then <= SHARE * 1.001);
        }
    }
}
