//! Native histograms: the powers of two of [`Sizes`] are the buckets of Prometheus' schema 0, so nothing is lost.
//!
//! The durations' bounds are powers of two in microseconds, which are none in seconds: they have classic
//! buckets alone.

use crate::ledger::{SIZE_BUCKETS, Sizes};
use prometheus_client::encoding::{NativeHistogram, NativeHistogramBuckets};

/// Bounds are powers of two.
const SCHEMA: i32 = 0;

/// The number in schema 0 of the first bucket behind the zero bucket: (32, 64] ends with 2^6.
const FIRST: i32 = 6;

/// Buckets as the encoder wants them: runs of buckets, each count as the difference to the one before.
#[derive(Debug)]
pub(super) struct Native {
    zero_threshold: f64,
    zero_count: u64,
    spans: Vec<(i32, u32)>,
    deltas: Vec<i64>,
}

impl Native {
    pub(super) fn borrowed(&self) -> NativeHistogram<'_> {
        let none = NativeHistogramBuckets { spans: &[], deltas: &[] };
        NativeHistogram {
            schema: SCHEMA,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            negative: none,
            positive: NativeHistogramBuckets { spans: &self.spans, deltas: &self.deltas },
            created: None,
        }
    }
}

/// Message sizes. The first bucket, up to 32 bytes, is the zero bucket; the last one, which has no bound, stands
/// as the power of two behind the others.
pub(super) fn of_sizes(sizes: &Sizes) -> Native {
    let used = sizes.buckets.iter().rposition(|count| *count > 0).unwrap_or(0);
    let counts = &sizes.buckets[1..=used.clamp(1, SIZE_BUCKETS - 1)];
    let mut before = 0;
    let deltas = counts.iter().map(|count| {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        count - std::mem::replace(&mut before, count)
    });
    Native {
        zero_threshold: Sizes::upper_bound(0).unwrap_or(0.0),
        zero_count: sizes.buckets[0],
        spans: vec![(FIRST, u32::try_from(counts.len()).unwrap_or(0))],
        deltas: deltas.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_stands_in_the_bucket_of_its_power_of_two() {
        let mut sizes = Sizes::default();
        for (bytes, count) in [(1, 4), (32, 1), (33, 2), (64, 3), (8192, 65), (1 << 40, 1)] {
            sizes.observe(bytes, count, bytes * u128::from(count));
        }
        let native = of_sizes(&sizes);
        assert_eq!((native.zero_threshold, native.zero_count), (32.0, 5));
        let [(offset, length)] = native.spans[..] else { panic!("{native:?}") };
        assert_eq!((offset, length as usize), (6, native.deltas.len()));
        let mut sum = 0;
        let counts: Vec<i64> = native
            .deltas
            .iter()
            .map(|delta| {
                sum += delta;
                sum
            })
            .collect();
        let full = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let full: Vec<(f64, i64)> =
            full.map(|(at, count)| (2f64.powi(offset + at as i32), *count)).collect();
        assert_eq!(full, [(64.0, 5), (8192.0, 65), (8_589_934_592.0, 1)]);
    }

    #[test]
    fn an_empty_one_is_one_empty_bucket() {
        let native = of_sizes(&Sizes::default());
        assert_eq!((native.zero_count, native.spans, native.deltas), (0, vec![(6, 1)], vec![0]));
    }
}
