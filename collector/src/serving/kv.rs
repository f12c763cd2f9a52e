//! What an engine says of the KV caches that it moved to or from other machines: by NIXL, Mooncake or LMCache.
//!
//! None of that goes through NCCL, and no kernel sends it: the tap cannot see it. The engine counts it, and exports what it
//! counted with its other metrics: vLLM for NIXL (0.20 and later) and Mooncake's store (0.32), LMCache for itself.

use super::exposition::{Sample, samples};
use std::collections::BTreeMap;

/// What a series says.
#[derive(Clone, Copy)]
enum Says {
    Bytes,
    Transfers,
    Seconds,
    Failed,
    Expired,
}

/// Which operation it is about.
#[derive(Clone, Copy)]
enum Operation {
    /// This one, empty where the series tells none apart.
    Is(&'static str),
    /// The one that its label `operation` names; transfers whose label `status` is not `ok` failed.
    Labelled,
}

use Operation::{Is, Labelled};
use Says::{Bytes, Expired, Failed, Seconds, Transfers};

/// Every series: its name as samples have it, who moved the cache, and what it says.
#[rustfmt::skip]
const SERIES: [(&str, &str, Operation, Says); 12] = [
    ("vllm:nixl_bytes_transferred_sum", "nixl", Is(""), Bytes),
    ("vllm:nixl_bytes_transferred_count", "nixl", Is(""), Transfers),
    ("vllm:nixl_xfer_time_seconds_sum", "nixl", Is(""), Seconds),
    ("vllm:nixl_num_failed_transfers_total", "nixl", Is(""), Failed),
    ("vllm:nixl_num_kv_expired_reqs_total", "nixl", Is(""), Expired),
    ("vllm:mooncake_store_operation_bytes_total", "mooncake", Labelled, Bytes),
    ("vllm:mooncake_store_operation_total", "mooncake", Labelled, Transfers),
    ("vllm:mooncake_store_operation_time_seconds_sum", "mooncake", Labelled, Seconds),
    ("lmcache:num_remote_read_bytes_total", "lmcache", Is("read"), Bytes),
    ("lmcache:num_remote_read_requests_total", "lmcache", Is("read"), Transfers),
    ("lmcache:num_remote_write_bytes_total", "lmcache", Is("write"), Bytes),
    ("lmcache:num_remote_write_requests_total", "lmcache", Is("write"), Transfers),
];

/// Operations of one kind that are told apart; a label is the engine's, so there may be any number.
const OPERATIONS: usize = 32;

/// Transfers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moved {
    /// How many, without those that failed where the engine tells them apart.
    pub transfers: f64,
    /// Their bytes.
    pub bytes: f64,
    /// Seconds that they took, one after the other; `None` where the engine does not say it.
    pub seconds: Option<f64>,
    /// Those that failed.
    pub failed: f64,
    /// Requests whose cache nobody came for in time.
    pub expired: f64,
}

/// Everything that an engine says it moved since it started: by whom, and in which operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KvTransfers(BTreeMap<(&'static str, String), Moved>);

impl KvTransfers {
    /// Reads an engine's `/metrics`.
    pub fn of_exposition(text: &str) -> Self {
        let mut all = Self::default();
        for sample in samples(text) {
            let known = SERIES.iter().find(|(name, ..)| *name == sample.name);
            if let Some((_, transport, operation, says)) = known {
                all.take(transport, *operation, *says, &sample);
            }
        }
        all.0.retain(|_, moved| *moved != Moved::default());
        all
    }

    fn take(
        &mut self,
        transport: &'static str,
        operation: Operation,
        says: Says,
        sample: &Sample<'_>,
    ) {
        let (operation, failed) = match operation {
            Is(operation) => (operation, false),
            Labelled => {
                let status = sample.label("status").unwrap_or("ok");
                (sample.label("operation").unwrap_or_default(), status != "ok")
            }
        };
        let key = (transport, operation.to_owned());
        let full = self.0.len() >= OPERATIONS && !self.0.contains_key(&key);
        let key = if full { (transport, "other".to_owned()) } else { key };
        let moved = self.0.entry(key).or_default();
        match says {
            Transfers if failed => moved.failed += sample.value,
            Transfers => moved.transfers += sample.value,
            Bytes => moved.bytes += sample.value,
            Seconds if failed || sample.value == 0.0 => {}
            Seconds => *moved.seconds.get_or_insert(0.0) += sample.value,
            Failed => moved.failed += sample.value,
            Expired => moved.expired += sample.value,
        }
    }

    /// What came after `earlier`, by the same engine. Of one that was started anew meanwhile, everything.
    pub fn since(&self, earlier: &Self) -> Self {
        let left = self.0.iter().map(|(key, now)| {
            let before = earlier.0.get(key).copied().unwrap_or_default();
            (key.clone(), now.since(&before))
        });
        Self(left.filter(|(_, moved)| *moved != Moved::default()).collect())
    }

    /// By whom, in which operation, and what.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str, &Moved)> {
        self.0.iter().map(|((transport, operation), moved)| (*transport, operation.as_str(), moved))
    }

    /// Whether nothing was moved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Moved {
    fn since(&self, before: &Self) -> Self {
        let left = |now: f64, before: f64| if now < before { now } else { now - before };
        let seconds = self.seconds.map(|now| left(now, before.seconds.unwrap_or(0.0)));
        Self {
            transfers: left(self.transfers, before.transfers),
            bytes: left(self.bytes, before.bytes),
            seconds: seconds.filter(|seconds| *seconds > 0.0),
            failed: left(self.failed, before.failed),
            expired: left(self.expired, before.expired),
        }
    }

    /// Seconds of one transfer, on average.
    pub fn mean_seconds(&self) -> Option<f64> {
        self.seconds.filter(|_| self.transfers > 0.0).map(|seconds| seconds / self.transfers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exported by vLLM's own classes: `tests/matrix/kv_exposition.py`.
    const VLLM_0_20: &str = include_str!("recorded/kv-vllm-0.20.0.prom");
    const VLLM_0_32: &str = include_str!("recorded/kv-vllm-0.32.0.prom");

    const MIB: f64 = 1048576.0;

    fn moved(text: &str) -> Vec<(&'static str, String, Moved)> {
        let transfers = KvTransfers::of_exposition(text);
        transfers.all().map(|(who, what, moved)| (who, what.to_owned(), *moved)).collect()
    }

    fn nixl() -> (&'static str, String, Moved) {
        let moved = Moved {
            transfers: 2.0,
            bytes: 4.0 * MIB,
            seconds: Some(0.04),
            failed: 1.0,
            expired: 1.0,
        };
        ("nixl", String::new(), moved)
    }

    #[test]
    fn transfers_of_nixl_are_read_as_vllm_exports_them() {
        assert_eq!(moved(VLLM_0_20), [nixl()]);
    }

    #[test]
    fn operations_of_mooncake_are_told_apart_and_those_that_failed_are_no_transfers() {
        let of = |transfers, mib: f64, seconds, failed| Moved {
            transfers,
            bytes: mib * MIB,
            seconds: Some(seconds),
            failed,
            expired: 0.0,
        };
        let expected = [
            ("mooncake", "load_get".to_owned(), of(1.0, 4.0, 0.005, 1.0)),
            ("mooncake", "save_exists".to_owned(), of(1.0, 0.0, 0.001, 0.0)),
            ("mooncake", "save_put".to_owned(), of(1.0, 8.0, 0.02, 0.0)),
            nixl(),
        ];
        assert_eq!(moved(VLLM_0_32), expected);
    }

    #[test]
    fn what_lmcache_read_and_wrote_is_summed_over_its_workers() {
        let text = "lmcache:num_remote_read_bytes_total{worker_id=\"0\"} 100\n\
                    lmcache:num_remote_read_bytes_total{worker_id=\"1\"} 50\n\
                    lmcache:num_remote_read_requests_total{worker_id=\"0\"} 3\n\
                    lmcache:num_remote_write_bytes_total{worker_id=\"0\"} 0\n";
        let read = Moved { transfers: 3.0, bytes: 150.0, ..Moved::default() };
        assert_eq!(moved(text), [("lmcache", "read".to_owned(), read)]);
    }

    #[test]
    fn a_window_is_what_came_between() {
        let early = KvTransfers::of_exposition(VLLM_0_20);
        assert!(early.since(&early).is_empty());
        let later = VLLM_0_20.replace(
            "vllm:nixl_bytes_transferred_count{engine=\"0\",model_name=\"m\"} 2.0",
            "vllm:nixl_bytes_transferred_count{engine=\"0\",model_name=\"m\"} 5.0",
        );
        let window = KvTransfers::of_exposition(&later).since(&early);
        let only = Moved { transfers: 3.0, ..Moved::default() };
        assert_eq!(window.all().map(|(.., moved)| *moved).collect::<Vec<_>>(), [only]);
        let anew = early.since(&KvTransfers::of_exposition(&later));
        assert_eq!(anew.all().map(|(.., moved)| moved.transfers).collect::<Vec<_>>(), [2.0]);
    }

    #[test]
    fn operations_past_the_bound_are_one() {
        let line = |n| format!("vllm:mooncake_store_operation_total{{operation=\"o{n}\"}} 1\n");
        let text: String = (0..100).map(line).collect();
        let all = KvTransfers::of_exposition(&text);
        let others = all.all().find(|(_, operation, _)| *operation == "other");
        assert_eq!(all.all().count(), OPERATIONS + 1);
        assert_eq!(others.map(|(.., moved)| moved.transfers), Some((100 - OPERATIONS) as f64));
    }
}
