//! Sends the metrics to a receiver of OTLP over gRPC, at intervals.

use super::Requests;
use crate::collector::Collector;
use crate::outputs::prometheus::continuity::Continuity;
use crate::outputs::prometheus::expected::Expected;
use crate::outputs::prometheus::gather::samples;
use anyhow::Context;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};

/// How long a push may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the last push may take, when the collector stops.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Where metrics are pushed to.
#[derive(Clone, Debug)]
pub struct Receiver(Uri);

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Receiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(
                "a receiver of OTLP over gRPC is http://HOST:PORT or https://HOST:PORT, usually port 4317"
                    .to_owned(),
            );
        }
        text.parse().map(Self).map_err(|error| format!("this is no address: {error}"))
    }
}

/// What is pushed, and how it fares.
pub struct Push {
    collector: Arc<Collector>,
    expected: Option<Expected>,
    receiver: Receiver,
    state: Option<(Continuity, Requests)>,
    client: MetricsServiceClient<Channel>,
    failed: u64,
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

impl Push {
    /// Metrics of `collector`, held against what is `expected` of it. Called within a runtime.
    ///
    /// # Errors
    /// When the receiver speaks TLS, and this host has no certificates to know it by.
    pub fn new(
        collector: Arc<Collector>,
        expected: Option<Expected>,
        receiver: Receiver,
    ) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from(receiver.0.clone());
        if receiver.0.scheme_str() == Some("https") {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).with_context(|| {
                format!(
                    "{receiver} cannot be known: this host has no certificates of authorities; \
                     SSL_CERT_FILE names a file that has them"
                )
            })?;
        }
        let endpoint = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE);
        let client = MetricsServiceClient::new(endpoint.connect_lazy());
        let state = Some((Continuity::default(), Requests::new(now_ns())));
        Ok(Self { collector, expected, receiver, state, client, failed: 0 })
    }

    /// Pushes every `interval` until `stop` changes, and once more then. What a receiver misses while it is away it
    /// has again with the next push: counts are cumulative.
    pub async fn run(mut self, interval: Duration, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.push().await,
                _ = stop.changed() => break,
            }
        }
        if tokio::time::timeout(LAST_PATIENCE, self.push()).await.is_err() {
            tracing::warn!("the last push to {} did not end in time", self.receiver);
        }
    }

    async fn push(&mut self) {
        let Some((mut continuity, mut requests)) = self.state.take() else { return };
        let (collector, expected) = (Arc::clone(&self.collector), self.expected.clone());
        // Sums are made away from the threads that take records in.
        let made = tokio::task::spawn_blocking(move || {
            let now = Instant::now();
            let samples = samples(&collector, &mut continuity, expected.as_ref(), now);
            let made = requests.of(&samples, now_ns());
            (made, continuity, requests)
        });
        let Ok((made, continuity, requests)) = made.await else {
            tracing::error!("the metrics could not be made; nothing is pushed any more");
            return;
        };
        self.state = Some((continuity, requests));
        for request in made {
            let answer = self.client.export(request).await;
            match answer.map(|answer| answer.into_inner().partial_success) {
                Ok(Some(partly)) if partly.rejected_data_points > 0 => tracing::warn!(
                    "{} took all but {} points: {}",
                    self.receiver,
                    partly.rejected_data_points,
                    partly.error_message
                ),
                Ok(_) => {}
                Err(status) => return self.fails(&status),
            }
        }
        if std::mem::take(&mut self.failed) > 0 {
            tracing::info!("{} takes metrics again", self.receiver);
        }
    }

    /// The first failure is told; those that follow are not, until it works again.
    fn fails(&mut self, status: &tonic::Status) {
        if self.failed == 0 {
            tracing::warn!(
                "{} does not take metrics: {}; it is tried again at each interval",
                self.receiver,
                status.message()
            );
        }
        self.failed += 1;
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
