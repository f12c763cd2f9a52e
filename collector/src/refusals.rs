//! Peers that were refused: counted per reason, and told in the log.

use crate::ingest::contract::Breach;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Refusals that are remembered as told.
const TOLD: usize = 1024;

/// How long the same refusal is not told again: whoever is refused comes again soon.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);

macro_rules! refusals {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal;)*) => {
        /// Why a peer was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $($(#[doc = $meaning])+ $variant,)* }

        impl Refusal {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

refusals! {
    /// Another protocol version or record layout.
    Version = "version";
    /// A message broke the contract.
    Contract = "contract";
    /// A TCP peer without the collector's token.
    Token = "token";
    /// No room for one more process or connection.
    Full = "full";
    /// A Unix peer of another user.
    User = "user";
    /// Bytes that are neither gRPC nor HTTP.
    Garbage = "garbage";
    /// No Hello in time.
    Silent = "silent";
}

impl From<&Breach> for Refusal {
    fn from(breach: &Breach) -> Self {
        match breach {
            Breach::Version { .. } | Breach::RecordSize { .. } => Self::Version,
            Breach::Order(_) | Breach::Impossible(_) => Self::Contract,
        }
    }
}

/// The refusals of one collector.
#[derive(Debug)]
pub struct Refusals {
    counts: [AtomicU64; Refusal::ALL.len()],
    told: Mutex<HashMap<String, Instant>>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; Refusal::ALL.len()], told: Mutex::default() }
    }
}

impl Refusals {
    /// Counts a refusal, and tells it: once a minute for the same peer and sentence.
    pub fn add(&self, refusal: Refusal, who: &dyn fmt::Display, sentence: &str) {
        self.counts[refusal as usize].fetch_add(1, Relaxed);
        let line = format!("{who} is refused: {sentence}");
        if self.is_news(&line, Instant::now()) {
            tracing::warn!("{line}");
        } else {
            tracing::debug!("{line}");
        }
    }

    fn is_news(&self, line: &str, now: Instant) -> bool {
        let mut told = self.told.lock();
        if told.get(line).is_some_and(|at| now.duration_since(*at) < TELL_AGAIN_AFTER) {
            return false;
        }
        if told.len() >= TOLD {
            told.clear();
        }
        told.insert(line.to_owned(), now);
        true
    }

    /// How many were refused, per reason.
    pub fn counts(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.iter().zip(&self.counts).map(|(why, count)| (*why, count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_refusal_is_told_once_a_minute() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert!(refusals.is_news("a", now));
        assert!(!refusals.is_news("a", now + TELL_AGAIN_AFTER / 2));
        assert!(refusals.is_news("b", now));
        assert!(refusals.is_news("a", now + TELL_AGAIN_AFTER));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let refusals = Refusals::default();
        for number in 0..3 * TOLD {
            assert!(refusals.is_news(&number.to_string(), Instant::now()));
        }
        assert!(refusals.told.lock().len() <= TOLD);
    }
}
