//! Latencies of requests as the engine measured them, beside what is predicted of its layout and of others:
//! Figures 8 to 10 of the paper. And what it says of KV caches that it moved.

use crate::model::advice::{Advice, Cluster};
use crate::outputs::text::{grouped, size};
use crate::serving::kv::{KvTransfers, Moved};
use crate::serving::requests::{Latencies, Requests};
use serde::{Deserialize, Serialize};

/// What an engine said of its requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// Requests that finished.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Time to first token, time per output token, end to end.
    pub measured: Vec<Level>,
    /// KV caches that it moved to or from other machines, as it counts them.
    #[serde(default)]
    pub kv_transfers: Vec<KvRow>,
    /// What is predicted, where a cluster is named.
    pub predicted: Option<Predicted>,
}

/// One latency, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// `TTFT`, `TPOT` or `E2E`.
    pub name: String,
    /// How many were measured.
    pub count: u64,
    /// Their mean.
    pub mean: Option<f64>,
    /// The median, within its bucket.
    pub p50: Option<f64>,
    /// The 99th percentile, within its bucket.
    pub p99: Option<f64>,
}

/// KV caches that were moved in one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KvRow {
    /// Who moved them: `nixl`, `mooncake` or `lmcache`.
    pub transport: String,
    /// The operation, empty where none are told apart.
    pub operation: String,
    /// How many transfers.
    pub transfers: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds that one took on average, null where the engine does not say it.
    pub mean_seconds: Option<f64>,
    /// Transfers that failed.
    pub failed: u64,
    /// Requests whose cache nobody came for in time.
    pub expired: u64,
}

/// The columns of [`KvRow::cells`], and which of them are numbers.
pub const KV_TRANSFERS: [(&str, bool); 7] = [
    ("by", false),
    ("operation", false),
    ("transfers", true),
    ("bytes", true),
    ("mean", true),
    ("failed", true),
    ("expired", true),
];

impl KvRow {
    fn new((transport, operation, moved): (&str, &str, &Moved)) -> Self {
        Self {
            transport: transport.to_owned(),
            operation: operation.to_owned(),
            transfers: moved.transfers as u64,
            bytes: moved.bytes as u64,
            mean_seconds: moved.mean_seconds(),
            failed: moved.failed as u64,
            expired: moved.expired as u64,
        }
    }

    /// For people.
    pub fn cells(&self) -> [String; 7] {
        [
            self.transport.clone(),
            self.operation.clone(),
            grouped(self.transfers),
            size(self.bytes),
            duration(self.mean_seconds),
            grouped(self.failed),
            grouped(self.expired),
        ]
    }
}

/// What `nccltap advise` says: a model of time, no measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// The machines.
    pub cluster: String,
    /// Layouts with as many ranks, the one that ran first.
    pub layouts: Vec<Times>,
}

/// Times of one layout, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The layout.
    pub layout: String,
    /// Time to first token.
    pub ttft: f64,
    /// Time per output token.
    pub tpot: f64,
    /// End to end.
    pub e2e: f64,
}

/// The columns of [`Level::cells`], and which of them are numbers.
pub const LEVELS: [(&str, bool); 5] =
    [("", false), ("count", true), ("mean", true), ("p50", true), ("p99", true)];

/// The columns of [`Serving::cells`], and which of them are numbers.
pub const PREDICTED_LEVELS: [(&str, bool); 5] =
    [("layout", false), ("", false), ("TTFT", true), ("TPOT", true), ("E2E", true)];

impl Serving {
    /// What was measured.
    pub fn new(requests: &Requests, kv: &KvTransfers) -> Self {
        let level = |name: &str, latencies: &Latencies| Level {
            name: name.to_owned(),
            count: latencies.count(),
            mean: latencies.mean(),
            p50: latencies.quantile(0.5),
            p99: latencies.quantile(0.99),
        };
        Self {
            requests: requests.whole.count(),
            prompt_tokens: requests.prompt_tokens as u64,
            generated_tokens: requests.generated_tokens as u64,
            measured: vec![
                level("TTFT", &requests.first_token),
                level("TPOT", &requests.per_token),
                level("E2E", &requests.whole),
            ],
            kv_transfers: kv.all().map(KvRow::new).collect(),
            predicted: None,
        }
    }

    /// How much was served, in a few words.
    pub fn headline(&self) -> String {
        format!(
            "{} requests, {} tokens of prompts, {} generated",
            grouped(self.requests),
            grouped(self.prompt_tokens),
            grouped(self.generated_tokens)
        )
    }

    /// What each layout is predicted to take, and below the first what it took.
    pub fn cells(&self) -> impl Iterator<Item = [String; 5]> {
        let mean = |at: usize| duration(self.measured.get(at).and_then(|level| level.mean));
        let layouts = self.predicted.iter().flat_map(|predicted| &predicted.layouts);
        layouts.enumerate().flat_map(move |(number, times)| {
            let seconds = [times.ttft, times.tpot, times.e2e].map(|time| duration(Some(time)));
            let [ttft, tpot, e2e] = seconds;
            let predicted = [times.layout.clone(), "predicted".to_owned(), ttft, tpot, e2e];
            let took = [times.layout.clone(), "measured".to_owned(), mean(0), mean(1), mean(2)];
            [Some(predicted), (number == 0).then_some(took)].into_iter().flatten()
        })
    }
}

impl Level {
    /// Its numbers.
    pub fn cells(&self) -> [String; 5] {
        let [mean, p50, p99] = [self.mean, self.p50, self.p99].map(duration);
        [self.name.clone(), grouped(self.count), mean, p50, p99]
    }
}

impl Predicted {
    /// The times of layouts that serve the workload on `cluster`, the one that ran first; `None` if that one
    /// does not.
    pub fn new(cluster: &Cluster, advice: &[Advice]) -> Option<Self> {
        let times = |advice: &Advice| {
            let times = advice.outcome.ok()?;
            let layout = advice.layout.to_string();
            Some(Times { layout, ttft: times.ttft, tpot: times.tpot, e2e: times.e2e })
        };
        let (first, others) = advice.split_first()?;
        let mut layouts = vec![times(first)?];
        layouts.extend(others.iter().filter_map(times));
        let Cluster { nodes, gpus_per_node, gpu, .. } = cluster;
        let cluster = format!("{nodes} x {gpus_per_node} {}", gpu.name);
        Some(Self { cluster, layouts })
    }
}

/// Seconds for people.
pub fn duration(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Serving {
        let text = "vllm:time_to_first_token_seconds_bucket{le=\"0.2\"} 4\n\
                    vllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} 4\n\
                    vllm:time_to_first_token_seconds_sum 0.4\n\
                    vllm:time_to_first_token_seconds_count 4\n\
                    vllm:e2e_request_latency_seconds_sum 6.0\n\
                    vllm:e2e_request_latency_seconds_count 4\n\
                    vllm:prompt_tokens_total 512\nvllm:generation_tokens_total 512\n";
        Serving::new(&Requests::of_exposition(text).unwrap(), &KvTransfers::of_exposition(text))
    }

    #[test]
    fn what_the_engine_measured_is_told_as_it_is_and_what_it_did_not_is_left_open() {
        let serving = measured();
        assert_eq!(serving.headline(), "4 requests, 512 tokens of prompts, 512 generated");
        assert_eq!(
            serving.measured[0].cells(),
            ["TTFT", "4", "100.00 ms", "100.00 ms", "198.00 ms"]
        );
        assert_eq!(serving.measured[1].cells(), ["TPOT", "0", "-", "-", "-"]);
        assert_eq!(serving.measured[2].mean, Some(1.5));
        assert_eq!(serving.cells().count(), 0, "nothing is predicted");
    }

    #[test]
    fn kv_caches_that_were_moved_are_told_by_who_moved_them_and_how() {
        let text = include_str!("../../serving/recorded/kv-vllm-0.32.0.prom");
        let requests = Requests::of_exposition(text).unwrap();
        let serving = Serving::new(&requests, &KvTransfers::of_exposition(text));
        let cells: Vec<_> = serving.kv_transfers.iter().map(KvRow::cells).collect();
        assert_eq!(
            cells,
            [
                ["mooncake", "load_get", "1", "4.00 MiB", "5.00 ms", "1", "0"],
                ["mooncake", "save_exists", "1", "0 B", "1.00 ms", "0", "0"],
                ["mooncake", "save_put", "1", "8.00 MiB", "20.00 ms", "0", "0"],
                ["nixl", "", "2", "4.00 MiB", "20.00 ms", "1", "1"],
            ]
        );
    }

    #[test]
    fn the_layout_that_ran_has_what_it_took_below_what_it_should_take() {
        let times =
            |layout: &str| Times { layout: layout.to_owned(), ttft: 0.002, tpot: 1e-4, e2e: 2.0 };
        let layouts = vec![times("TP=4"), times("PP=4")];
        let predicted = Some(Predicted { cluster: "paper".to_owned(), layouts });
        let serving = Serving { predicted, ..measured() };
        let cells: Vec<_> = serving.cells().collect();
        assert_eq!(cells[0], ["TP=4", "predicted", "2.00 ms", "0.10 ms", "2.00 s"]);
        assert_eq!(cells[1], ["TP=4", "measured", "100.00 ms", "-", "1.50 s"]);
        assert_eq!(
            (cells[2][0].as_str(), cells[2][1].as_str(), cells.len()),
            ("PP=4", "predicted", 3)
        );
    }
}
