//! Counts by powers of two.

/// Buckets of a histogram of host call durations: up to 1 us, 2 us, 4 us ... 1.05 s, and longer.
pub const DURATION_BUCKETS: usize = 22;

/// How long calls took on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Calls per bucket, not cumulative. The last bucket has no upper bound.
    pub buckets: [u64; DURATION_BUCKETS],
    /// Sum of the durations, in nanoseconds.
    pub sum_ns: u64,
}

impl Durations {
    /// Counts one call.
    #[inline]
    pub fn observe(&mut self, ns: u64) {
        // The smallest k with ns <= 1000 x 2^k.
        let microseconds = ns.div_ceil(1000).max(1);
        let bucket = (u64::BITS - (microseconds - 1).leading_zeros()) as usize;
        self.buckets[bucket.min(DURATION_BUCKETS - 1)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Calls counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what another histogram has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// Upper bound of a bucket in seconds, `None` for the last one.
    pub fn upper_bound(bucket: usize) -> Option<f64> {
        (bucket + 1 < DURATION_BUCKETS).then(|| (1u64 << bucket) as f64 / 1e6)
    }
}

/// Buckets of a histogram of message sizes: up to 32 bytes, 64 ... 4 GiB, and larger.
pub const SIZE_BUCKETS: usize = 29;

const SMALLEST_SIZE_BITS: u32 = 5;

/// How large messages are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Messages per bucket, not cumulative. The last bucket has no upper bound.
    pub buckets: [u64; SIZE_BUCKETS],
    /// Sum of the sizes, in bytes.
    pub sum_bytes: u128,
}

impl Sizes {
    /// Counts `count` messages of at most `bytes` each and `sum_bytes` together.
    pub fn observe(&mut self, bytes: u128, count: u64, sum_bytes: u128) {
        let bits = u128::BITS - bytes.saturating_sub(1).leading_zeros();
        let bucket = bits.saturating_sub(SMALLEST_SIZE_BITS) as usize;
        self.buckets[bucket.min(SIZE_BUCKETS - 1)] += count;
        self.sum_bytes = self.sum_bytes.saturating_add(sum_bytes);
    }

    /// Adds what another histogram has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_bytes = self.sum_bytes.saturating_add(other.sum_bytes);
    }

    /// Messages counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Upper bound of a bucket in bytes, `None` for the last one.
    pub fn upper_bound(bucket: usize) -> Option<f64> {
        (bucket + 1 < SIZE_BUCKETS).then(|| (1u64 << (bucket as u32 + SMALLEST_SIZE_BITS)) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_duration_lies_in_the_first_bucket_that_holds_it(ns: u64) {
            let mut all = Durations::default();
            all.observe(ns);
            let bucket = all.buckets.iter().position(|n| *n == 1).unwrap();
            let seconds = ns as f64 / 1e9;
            prop_assert!(Durations::upper_bound(bucket).is_none_or(|bound| seconds <= bound));
            if bucket > 0 {
                let below = Durations::upper_bound(bucket - 1).unwrap();
                prop_assert!(ns as f64 / 1e9 > below);
            }
        }

        #[test]
        fn a_size_lies_in_the_first_bucket_that_holds_it(bytes: u64) {
            let mut all = Sizes::default();
            all.observe(bytes.into(), 3, u128::from(bytes) * 3);
            let bucket = all.buckets.iter().position(|n| *n == 3).unwrap();
            prop_assert!(Sizes::upper_bound(bucket).is_none_or(|bound| bytes as f64 <= bound));
            if bucket > 0 {
                prop_assert!(bytes as f64 > Sizes::upper_bound(bucket - 1).unwrap() - 1.0);
            }
        }
    }

    #[test]
    fn bounds_are_the_ones_stated() {
        assert_eq!(Durations::upper_bound(0), Some(1e-6));
        assert_eq!(Durations::upper_bound(DURATION_BUCKETS - 2), Some(1.048576));
        assert_eq!(Durations::upper_bound(DURATION_BUCKETS - 1), None);
        assert_eq!(Sizes::upper_bound(0), Some(32.0));
        assert_eq!(Sizes::upper_bound(SIZE_BUCKETS - 2), Some(4.0 * f64::powi(2.0, 30)));
    }
}
