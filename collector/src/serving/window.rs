//! Requests beside the communication of the same time.

use super::kv::{KvTransfers, Moved};
use super::requests::{Latencies, Requests};
use crate::collector::Collector;
use crate::ledger::bytes::message_bytes;
use crate::outputs::text::size;
use crate::steps::Phase;
use std::fmt::Write;
use std::time::Duration;

/// Message bytes of all ranks, by phase in the order of [`Phase::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Communication([u128; Phase::ALL.len()]);

impl Communication {
    /// What the processes of `collector` have communicated so far.
    pub fn of(collector: &Collector) -> Self {
        let mut bytes = Self::default();
        for followed in collector.followed() {
            for entry in followed.lock().ledger().entries() {
                let phase = entry.key.label.phase as usize;
                bytes.0[phase] += message_bytes(entry.elements, entry.key.datatype).unwrap_or(0);
            }
        }
        bytes
    }

    fn since(&self, earlier: &Self) -> impl Iterator<Item = (Phase, u128)> {
        let each = self.0.iter().zip(earlier.0);
        let left = each.map(|(now, before)| now.saturating_sub(before)).collect::<Vec<_>>();
        Phase::ALL.into_iter().zip(left)
    }
}

/// What was known at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When, since any beginning.
    pub at: Duration,
    /// What the engine said.
    pub requests: Requests,
    /// KV caches that it had moved.
    pub kv: KvTransfers,
    /// What its workers had communicated.
    pub communication: Communication,
}

/// From the first time to the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The first.
    pub first: Snapshot,
    /// The last.
    pub last: Snapshot,
}

impl Window {
    /// For people: latencies of requests, the communication of that time, and what the engine moved of KV caches. Empty
    /// when no request was served and nothing moved.
    pub fn text(&self, engine: &str) -> String {
        let Self { first, last } = self;
        let requests = last.requests.since(&first.requests);
        let kv = last.kv.since(&first.kv);
        let mut text = String::new();
        if kv.is_empty() && requests.first_token.count() + requests.whole.count() == 0 {
            return text;
        }
        let seconds = last.at.saturating_sub(first.at).as_secs_f64();
        let _ = writeln!(
            text,
            "requests, as {engine}/metrics counts them, in {seconds:.0} s: {} finished, {} tokens of prompts, {} \
             generated",
            requests.whole.count(),
            requests.prompt_tokens,
            requests.generated_tokens,
        );
        let _ = writeln!(text, "{:<24}{:>10}{:>10}{:>10}{:>10}", "", "count", "mean", "p50", "p99");
        for (name, latencies) in [
            ("time to first token", &requests.first_token),
            ("time per output token", &requests.per_token),
            ("end to end", &requests.whole),
        ] {
            let [mean, middle, tail] = figures(latencies).map(duration);
            let count = latencies.count();
            let _ = writeln!(text, "{name:<24}{count:>10}{mean:>10}{middle:>10}{tail:>10}");
        }
        let communicated: Vec<String> = last
            .communication
            .since(&first.communication)
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(phase, bytes)| {
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                format!("{} {}", phase.name(), size(bytes))
            })
            .collect();
        let _ = match communicated.is_empty() {
            true => writeln!(text, "communicated in that time: nothing"),
            false => writeln!(
                text,
                "communicated in that time, message bytes of all ranks: {}",
                communicated.join(", ")
            ),
        };
        for (transport, operation, moved) in kv.all() {
            let _ = writeln!(
                text,
                "KV caches moved in that time, as the engine counts them: {}",
                moved_text(transport, operation, moved)
            );
        }
        text
    }
}

/// `nixl: 4.00 MiB in 2 transfers, 20.0 ms each on average, 1 failed`.
fn moved_text(transport: &str, operation: &str, moved: &Moved) -> String {
    let space = if operation.is_empty() { "" } else { " " };
    let bytes = size(moved.bytes as u64);
    let mut text =
        format!("{transport}{space}{operation}: {bytes} in {} transfers", moved.transfers);
    if let Some(seconds) = moved.mean_seconds() {
        let _ = write!(text, ", {} each on average", duration(Some(seconds)));
    }
    for (count, what) in [(moved.failed, "failed"), (moved.expired, "expired")] {
        if count > 0.0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn figures(latencies: &Latencies) -> [Option<f64>; 3] {
    [latencies.mean(), latencies.quantile(0.5), latencies.quantile(0.99)]
}

fn duration(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(at: u64, requests: u32, prefill: u128) -> Snapshot {
        let text = format!(
            "vllm:time_to_first_token_seconds_bucket{{le=\"0.2\"}} {requests}\n\
             vllm:time_to_first_token_seconds_bucket{{le=\"+Inf\"}} {requests}\n\
             vllm:time_to_first_token_seconds_sum {}\n\
             vllm:time_to_first_token_seconds_count {requests}\n\
             vllm:generation_tokens_total {requests}\n\
             vllm:prompt_tokens_total {}\n",
            f64::from(requests) * 0.15,
            requests * 100
        );
        let mut communication = Communication::default();
        communication.0[Phase::Prefill as usize] = prefill;
        let requests = Requests::of_exposition(&text).unwrap();
        let kv = KvTransfers::default();
        Snapshot { at: Duration::from_secs(at), requests, kv, communication }
    }

    #[test]
    fn requests_stand_beside_what_was_communicated_in_the_same_time() {
        let window =
            Window { first: snapshot(2, 1, 1000), last: snapshot(62, 65, 1000 + (3 << 20)) };
        let expected = "\
requests, as http://h:1/metrics counts them, in 60 s: 0 finished, 6400 tokens of prompts, 64 generated
                             count      mean       p50       p99
time to first token             64  150.0 ms  100.0 ms  198.0 ms
time per output token            0         -         -         -
end to end                       0         -         -         -
communicated in that time, message bytes of all ranks: prefill 3.00 MiB
";
        assert_eq!(window.text("http://h:1"), expected);
    }

    #[test]
    fn what_was_moved_of_kv_caches_stands_beside_it() {
        let (first, mut last) = (snapshot(2, 1, 0), snapshot(62, 65, 1 << 20));
        last.kv = KvTransfers::of_exposition(include_str!("recorded/kv-vllm-0.20.0.prom"));
        let text = Window { first, last }.text("http://h:1");
        let said = "communicated in that time, message bytes of all ranks: prefill 1.00 MiB\n\
                    KV caches moved in that time, as the engine counts them: nixl: 4.00 MiB in 2 transfers, \
                    20.0 ms each on average, 1 failed, 1 expired\n";
        assert!(text.ends_with(said), "{text}");
    }

    #[test]
    fn where_nothing_was_served_nothing_is_said() {
        let one = snapshot(1, 4, 5);
        assert_eq!(Window { first: one.clone(), last: one }.text("x"), "");
    }
}
