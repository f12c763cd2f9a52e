//! What a query of a panel gives, held against what it must give.

use crate::truth::{Numbers, RANKS};
use nccltap_tests::prometheus::Sample;

/// What a query of a panel must give.
pub(crate) enum Panel {
    /// Exactly these numbers by a label.
    Exactly(&'static str, Numbers),
    /// These numbers, whichever label tells them apart, as well as Prometheus knows a rate: it extends what lies
    /// between the first and the last scrape of a range to its ends.
    Rate(Numbers),
    /// One number; the rates that it is made of are each extended by a little more or less.
    Near(f64),
    /// As [`Panel::Rate`] for an increase, by upper bounds.
    Increase(Numbers),
    /// A time of less than a second for each of these operations.
    Moments(Vec<&'static str>),
    /// Series, and all of them zero.
    Zero,
    /// This number for each AllReduce, of all ranks in both phases.
    OfAllReduce(f64),
}

impl Panel {
    pub(crate) fn holds(&self, samples: &[Sample], what: &str) {
        let by = |label: &str| -> Numbers {
            let named = |sample: &Sample| {
                (sample.labels.get(label).cloned().unwrap_or_default(), sample.value)
            };
            samples.iter().map(named).collect()
        };
        // The one label in which the series differ.
        let label = samples.first().and_then(|first| {
            let differs = |name: &&String| {
                samples.len() == 1
                    || samples.iter().any(|s| s.labels.get(*name) != first.labels.get(*name))
            };
            first.labels.keys().find(differs).cloned()
        });
        let close = |found: &Numbers, wanted: &Numbers, more: f64| {
            assert!(found.keys().eq(wanted.keys()), "{what}: {found:?}, not {wanted:?}");
            for (name, wanted) in wanted {
                let found = found[name];
                let fits = found >= wanted * (1.0 - 1e-9) && found <= wanted * (1.0 + more);
                assert!(fits, "{what}: {name}: {found}, not {wanted}");
            }
        };
        match self {
            Self::Exactly(label, wanted) => {
                close(&by(label), wanted, 1e-9);
                assert_eq!(samples.len(), wanted.len(), "{what}");
            }
            Self::Near(wanted) => {
                let near = samples.len() == 1 && (samples[0].value / wanted - 1.0).abs() < 1e-3;
                assert!(near, "{what}: {samples:?}, not {wanted}");
            }
            Self::Rate(wanted) => close(&by(label.as_deref().unwrap_or_default()), wanted, 0.2),
            Self::Increase(wanted) => {
                let found = samples.iter().map(|sample| {
                    let le = sample.labels["le"].replace("+Inf", "inf");
                    (le.parse::<f64>().unwrap().to_string(), sample.value)
                });
                close(&found.collect(), wanted, 0.2);
            }
            Self::Moments(ops) => {
                let found = by("op");
                assert!(
                    found.keys().map(String::as_str).eq(ops.iter().copied()),
                    "{what}: {found:?}"
                );
                assert!(
                    found.values().all(|value| *value > 0.0 && *value < 1.0),
                    "{what}: {found:?}"
                );
            }
            Self::Zero => {
                assert!(!samples.is_empty(), "{what}");
                assert!(samples.iter().all(|sample| sample.value == 0.0), "{what}: {samples:?}");
            }
            Self::OfAllReduce(wanted) => {
                let reduces: Vec<_> =
                    samples.iter().filter(|sample| sample.labels["op"] == "AllReduce").collect();
                assert_eq!(reduces.len() as u64, 2 * RANKS, "{what}: {samples:?}");
                assert!(
                    reduces.iter().all(|sample| sample.value == *wanted),
                    "{what}: {reduces:?}"
                );
            }
        }
    }
}
