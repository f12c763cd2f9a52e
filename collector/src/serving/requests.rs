//! What an engine says of the requests it served: its own counters and histograms.

use super::exposition::samples;

/// What the engine's histograms are called, behind `vllm:` or `sglang:`. Of several, the first that is there.
const FIRST_TOKEN: &[&str] = &["time_to_first_token_seconds"];
const PER_TOKEN: &[&str] = &[
    "request_time_per_output_token_seconds",
    "time_per_output_token_seconds",
    "inter_token_latency_seconds",
];
const WHOLE: &[&str] = &["e2e_request_latency_seconds"];

/// Prefixes of engines' metrics.
const ENGINES: [&str; 2] = ["vllm:", "sglang:"];

/// What an engine says of its requests since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    /// Time to first token (TTFT), of each request.
    pub first_token: Latencies,
    /// Time per output token after the first (TPOT).
    pub per_token: Latencies,
    /// End to end (E2E), of each request that finished.
    pub whole: Latencies,
    /// Tokens of prompts.
    pub prompt_tokens: f64,
    /// Tokens generated.
    pub generated_tokens: f64,
}

/// A histogram of seconds, summed over models and engines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// Upper bounds in ascending order, each with how many were no longer.
    buckets: Vec<(f64, f64)>,
    sum: f64,
    count: f64,
}

impl Requests {
    /// Reads an engine's `/metrics`. `None` when it is none of an engine that is known.
    pub fn of_exposition(text: &str) -> Option<Self> {
        let mut requests = Self::default();
        let mut is_engine = false;
        let mut per_token: Vec<Latencies> = vec![Latencies::default(); PER_TOKEN.len()];
        for sample in samples(text) {
            let Some(name) = ENGINES.iter().find_map(|engine| sample.name.strip_prefix(engine))
            else {
                continue;
            };
            is_engine = true;
            let bound = sample.label("le").and_then(|bound| bound.parse().ok());
            let into = |latencies: &mut Latencies, names: &[&str]| {
                for known in names {
                    if let Some(part) = name.strip_prefix(known) {
                        latencies.take(part, bound, sample.value);
                    }
                }
            };
            into(&mut requests.first_token, FIRST_TOKEN);
            into(&mut requests.whole, WHOLE);
            for (latencies, known) in per_token.iter_mut().zip(PER_TOKEN) {
                into(latencies, &[known]);
            }
            match name {
                "prompt_tokens_total" => requests.prompt_tokens += sample.value,
                "generation_tokens_total" => requests.generated_tokens += sample.value,
                _ => {}
            }
        }
        let first = per_token.into_iter().find(|latencies| !latencies.buckets.is_empty());
        requests.per_token = first.unwrap_or_default();
        is_engine.then_some(requests)
    }

    /// What came after `earlier`, by the same engine. Of one that was started anew meanwhile, everything.
    pub fn since(&self, earlier: &Self) -> Self {
        if self.generated_tokens < earlier.generated_tokens {
            return self.clone();
        }
        Self {
            first_token: self.first_token.since(&earlier.first_token),
            per_token: self.per_token.since(&earlier.per_token),
            whole: self.whole.since(&earlier.whole),
            prompt_tokens: (self.prompt_tokens - earlier.prompt_tokens).max(0.0),
            generated_tokens: self.generated_tokens - earlier.generated_tokens,
        }
    }
}

impl Latencies {
    /// Takes a sample of the histogram, by what its name ends in.
    fn take(&mut self, part: &str, bound: Option<f64>, value: f64) {
        match (part, bound) {
            ("_sum", _) => self.sum += value,
            ("_count", _) => self.count += value,
            ("_bucket", Some(bound)) => {
                match self.buckets.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
                    Ok(at) => self.buckets[at].1 += value,
                    Err(at) => self.buckets.insert(at, (bound, value)),
                }
            }
            _ => {}
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            let known = earlier.buckets.iter().find(|(known, _)| *known == bound);
            known.map_or(0.0, |(_, count)| *count)
        };
        let buckets = self.buckets.iter();
        Self {
            buckets: buckets.map(|(bound, n)| (*bound, (n - before(*bound)).max(0.0))).collect(),
            sum: (self.sum - earlier.sum).max(0.0),
            count: (self.count - earlier.count).max(0.0),
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count as u64
    }

    /// Their mean in seconds, `None` when there were none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// The quantile in seconds as Prometheus' `histogram_quantile` estimates it: within its bucket, evenly. Past
    /// the last bound that is finite, that bound.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let all = self.buckets.last()?.1;
        if all <= 0.0 {
            return None;
        }
        let rank = quantile * all;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, up_to) in &self.buckets {
            if *up_to >= rank {
                if bound.is_infinite() {
                    return Some(lower);
                }
                let inside = up_to - below;
                let share = if inside > 0.0 { (rank - below) / inside } else { 1.0 };
                return Some(lower + (bound - lower) * share);
            }
            (lower, below) = (*bound, *up_to);
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As vLLM 0.8.5 says it, of two engines.
    const EARLY: &str = "\
vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.1\"} 1.0
vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.5\"} 3.0
vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"+Inf\"} 4.0
vllm:time_to_first_token_seconds_count{engine=\"0\"} 4.0
vllm:time_to_first_token_seconds_sum{engine=\"0\"} 2.0
vllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"0.1\"} 0.0
vllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"0.5\"} 4.0
vllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"+Inf\"} 4.0
vllm:time_to_first_token_seconds_count{engine=\"1\"} 4.0
vllm:time_to_first_token_seconds_sum{engine=\"1\"} 1.0
vllm:time_per_output_token_seconds_bucket{engine=\"0\",le=\"+Inf\"} 9.0
vllm:time_per_output_token_seconds_count{engine=\"0\"} 9.0
vllm:prompt_tokens_total{engine=\"0\"} 100.0
vllm:prompt_tokens_by_source_total{engine=\"0\"} 55.0
vllm:generation_tokens_total{engine=\"0\"} 9.0
";

    #[test]
    fn engines_are_summed_and_quantiles_are_those_of_prometheus() {
        let requests = Requests::of_exposition(EARLY).unwrap();
        let first = &requests.first_token;
        assert_eq!((first.count(), first.mean()), (8, Some(0.375)));
        // 1 up to 0.1, 7 up to 0.5, 8 in all.
        assert_eq!(first.quantile(0.5), Some(0.1 + 0.4 * 3.0 / 6.0));
        assert_eq!(first.quantile(0.99), Some(0.5));
        assert_eq!(requests.per_token.count(), 9);
        assert_eq!((requests.prompt_tokens, requests.generated_tokens), (100.0, 9.0));
        assert_eq!((requests.whole.count(), requests.whole.mean()), (0, None));
        assert_eq!(requests.whole.quantile(0.5), None);
    }

    #[test]
    fn time_per_token_of_requests_comes_before_that_between_tokens() {
        let both = "vllm:inter_token_latency_seconds_bucket{le=\"+Inf\"} 7\n\
                    vllm:inter_token_latency_seconds_count 7\n\
                    vllm:request_time_per_output_token_seconds_bucket{le=\"+Inf\"} 2\n\
                    vllm:request_time_per_output_token_seconds_count 2\n";
        assert_eq!(Requests::of_exposition(both).unwrap().per_token.count(), 2);
        let old = both.lines().take(2).collect::<Vec<_>>().join("\n");
        assert_eq!(Requests::of_exposition(&old).unwrap().per_token.count(), 7);
    }

    #[test]
    fn a_window_is_what_came_between_and_an_engine_started_anew_counts_from_its_start() {
        let early = Requests::of_exposition(EARLY).unwrap();
        let late = EARLY.replace(" 4.0", " 6.0").replace(" 9.0", " 19.0");
        let late = Requests::of_exposition(&late).unwrap();
        let window = late.since(&early);
        assert_eq!((window.first_token.count(), window.generated_tokens), (4, 10.0));
        assert_eq!(early.since(&early).first_token.quantile(0.5), None);
        assert_eq!(early.since(&late), early);
    }

    #[test]
    fn what_is_no_engine_is_none() {
        assert_eq!(Requests::of_exposition("process_start_time_seconds 1\n"), None);
    }
}
