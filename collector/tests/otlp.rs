//! `nccltap serve --otlp`: a receiver, made from the protocol's own service, gets what `/metrics` says.
#![allow(missing_docs)]

mod support;

use nccltap_proto::Function::{ncclAllReduce, ncclBcast};
use nccltap_proto::v1;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::*;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// Series, as `/metrics` names them, and the value that came last.
type Series = BTreeMap<String, f64>;

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Series>>);

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn labels(attributes: &[KeyValue], more: Option<String>) -> String {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => format!("{}=\"{text}\"", pair.key),
        other => panic!("{} is {other:?}", pair.key),
    };
    let mut all: Vec<_> = attributes.iter().map(text).chain(more).collect();
    all.sort();
    all.join(",")
}

impl Received {
    fn take(&self, request: ExportMetricsServiceRequest) {
        let mut series = self.0.lock();
        let resources = request.resource_metrics.into_iter();
        for metric in resources.flat_map(|r| r.scope_metrics).flat_map(|scope| scope.metrics) {
            let name = metric.name;
            match metric.data.expect("data") {
                Data::Sum(sum) => {
                    assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{name}");
                    for point in sum.data_points {
                        let Some(number_data_point::Value::AsInt(value)) = point.value else {
                            panic!("{name} is no whole number");
                        };
                        assert!(point.start_time_unix_nano < point.time_unix_nano, "{name}");
                        let key = format!("{name}_total{{{}}}", labels(&point.attributes, None));
                        series.insert(key, value as f64);
                    }
                }
                Data::Gauge(gauge) => {
                    for point in gauge.data_points {
                        let Some(number_data_point::Value::AsDouble(value)) = point.value else {
                            panic!("{name} is no level");
                        };
                        let key = format!("{name}{{{}}}", labels(&point.attributes, None));
                        series.insert(key, value);
                    }
                }
                Data::Histogram(histogram) => {
                    for point in histogram.data_points {
                        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                        let of = |suffix: &str, more| {
                            format!("{name}{suffix}{{{}}}", labels(&point.attributes, more))
                        };
                        series.insert(of("_sum", None), point.sum.expect("a sum"));
                        series.insert(of("_count", None), point.count as f64);
                        let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
                        let mut below = 0;
                        for (bound, count) in bounds.zip(&point.bucket_counts) {
                            below += count;
                            let le = format!("le=\"{bound}\"");
                            series.insert(of("_bucket", Some(le)), below as f64);
                        }
                    }
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

/// The same from `/metrics`: labels in order, those without a value left out, bounds as numbers.
fn exposed(text: &str) -> Series {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let mut labels: Vec<String> = labels
            .map(|label| {
                let (name, value) = label.split_once("=\"").unwrap();
                let value = value.trim_end_matches('"');
                let bound = match value {
                    "+Inf" => f64::INFINITY,
                    _ => value.parse().unwrap_or_default(),
                };
                match name {
                    "le" => format!("le=\"{bound}\""),
                    _ => format!("{name}=\"{value}\""),
                }
            })
            .filter(|label| !label.ends_with("=\"\""))
            .collect();
        labels.sort();
        (format!("{name}{{{}}}", labels.join(",")), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

async fn receiver(received: Received) -> SocketAddr {
    receiver_by(tonic::transport::Server::builder(), received).await
}

async fn receiver_by(mut server: tonic::transport::Server, received: Received) -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(socket);
    let serving =
        server.add_service(MetricsServiceServer::new(received)).serve_with_incoming(incoming);
    tokio::spawn(serving);
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_is_what_is_exposed() {
    let received = Received::default();
    let address = receiver(received.clone()).await;
    let url = format!("http://{address}");
    let arguments = ["--otlp", &url, "--otlp-interval", "1"];
    let collector = Collector::start_in(tempfile::tempdir().unwrap(), &arguments);
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    let mut calls = vec![call(ncclAllReduce, 4096); 65];
    calls.extend(vec![call(ncclBcast, 7); 3]);
    let report =
        v1::Report { communicators: vec![communicator(1)], ..report(vec![batch(0, 0, &calls)]) };
    agent.report(report).await.unwrap();
    let exposed = exposed(&collector.get("/metrics"));
    let of = |op: &str| {
        let series = exposed.iter().find(|(name, _)| {
            name.starts_with("nccltap_operations_total") && name.contains(&format!("op=\"{op}\""))
        });
        series.map(|(_, value)| *value)
    };
    assert_eq!((of("AllReduce"), of("Broadcast")), (Some(65.0), Some(3.0)));
    let last = received.clone();
    let wait = move || {
        wait_for("the receiver has everything", || (*last.0.lock() == exposed).then_some(()))
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
    let (_, code, log) = tokio::task::spawn_blocking(|| collector.stop()).await.unwrap();
    assert_eq!((code, log.contains("WARN")), (Some(0), false), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_away_is_told_of_once_and_gets_all_when_it_comes() {
    // A port that nobody listens on, for now.
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let url = format!("http://{address}");
    let arguments = ["--otlp", &url, "--otlp-interval", "1"];
    let collector = Collector::start_in(tempfile::tempdir().unwrap(), &arguments);
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    agent.report(report(vec![batch(0, 0, &vec![call(ncclAllReduce, 4096); 65])])).await.unwrap();
    // The collector has noticed, and goes on all the same.
    let bind = move || wait_for("the port is free", || std::net::TcpListener::bind(address).ok());
    let socket = tokio::task::spawn_blocking(bind).await.unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::TcpListener::from_std(socket).unwrap();
    let received = Received::default();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(socket);
    let serving = tonic::transport::Server::builder()
        .add_service(MetricsServiceServer::new(received.clone()))
        .serve_with_incoming(incoming);
    tokio::spawn(serving);
    let has_all = move || {
        wait_for("the receiver has the operations", || {
            let series = received.0.lock();
            let mut of =
                series.iter().filter(|(name, _)| name.starts_with("nccltap_operations_total"));
            (of.next().is_some_and(|(_, value)| *value == 65.0)).then_some(())
        });
    };
    tokio::task::spawn_blocking(has_all).await.unwrap();
    let (_, code, log) = tokio::task::spawn_blocking(|| collector.stop()).await.unwrap();
    assert_eq!(code, Some(0));
    assert!(log.matches("does not take metrics").count() <= 1, "{log}");
}

/// A receiver that speaks TLS as `localhost`, and the certificate by which it is known, in a file.
async fn receiver_by_tls(received: Received, folder: &Path) -> (SocketAddr, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = folder.join("authority.pem");
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let tls = ServerTlsConfig::new().identity(identity);
    let server = tonic::transport::Server::builder().tls_config(tls).unwrap();
    (receiver_by(server, received).await, certificate)
}

/// A collector that pushes to `address` by TLS and trusts the authorities in `certificate` alone.
fn pushing(address: SocketAddr, certificate: &Path) -> Collector {
    let url = format!("https://localhost:{}", address.port());
    let arguments = ["--otlp", &url, "--otlp-interval", "1"];
    let trusted = ("SSL_CERT_FILE", certificate.as_os_str());
    Collector::start_with(tempfile::tempdir().unwrap(), "127.0.0.1:0", &arguments, &[trusted])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_known_gets_the_metrics_by_tls() {
    let (folder, received) = (tempfile::tempdir().unwrap(), Received::default());
    let (address, certificate) = receiver_by_tls(received.clone(), folder.path()).await;
    let collector = pushing(address, &certificate);
    let (mut agent, _) = FakeAgent::connect(&collector.socket, hello(7)).await.unwrap();
    agent.report(report(vec![batch(0, 0, &vec![call(ncclAllReduce, 4096); 65])])).await.unwrap();
    let has_it = move || {
        wait_for("the receiver has the operations", || {
            let series = received.0.lock();
            let mut of =
                series.iter().filter(|(name, _)| name.starts_with("nccltap_operations_total"));
            of.next().is_some_and(|(_, value)| *value == 65.0).then_some(())
        });
    };
    tokio::task::spawn_blocking(has_it).await.unwrap();
    let (_, code, log) = tokio::task::spawn_blocking(|| collector.stop()).await.unwrap();
    assert_eq!((code, log.contains("WARN")), (Some(0), false), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_no_authority_vouches_for_gets_nothing() {
    let (folder, received) = (tempfile::tempdir().unwrap(), Received::default());
    let (address, _) = receiver_by_tls(received.clone(), folder.path()).await;
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = folder.path().join("another.pem");
    std::fs::write(&certificate, stranger.cert.pem()).unwrap();
    let collector = pushing(address, &certificate);
    let (_, code, log) = tokio::task::spawn_blocking(|| collector.stop()).await.unwrap();
    assert_eq!(code, Some(0));
    assert!(log.contains("does not take metrics"), "{log}");
    assert!(received.0.lock().is_empty());
}

#[test]
fn without_any_authority_nobody_is_known_and_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = nccltap();
    command.env("SSL_CERT_FILE", folder.path().join("none")).env("SSL_CERT_DIR", folder.path());
    let output = command.args(["serve", "--otlp", "https://localhost:1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no certificates of authorities"), "{said}");
}

#[test]
fn an_address_that_cannot_be_pushed_to_is_refused_with_a_reason() {
    for (address, why) in [("grpc://a:4317", "https://HOST:PORT"), ("a:4317", "usually port 4317")]
    {
        let output = nccltap().args(["serve", "--otlp", address]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
}
