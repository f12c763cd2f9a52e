//! Samples as messages of OTLP.
//!
//! Names, units and labels are those of `/metrics`, so that a receiver that translates to Prometheus arrives at the
//! same series: counters are cumulative monotonic sums, gauges gauges, histograms have explicit bounds. A label
//! without a value is left out, as Prometheus does.

use crate::ledger::{DURATION_BUCKETS, Durations, SIZE_BUCKETS, Sizes};
use crate::outputs::prometheus::samples::{Samples, Value, Values};
use crate::outputs::prometheus::table::{Kind, Metric as Row};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::collections::BTreeMap;

/// Data points of one request at most: some 2 MB, where receivers of gRPC take 4 MiB.
pub const POINTS_IN_A_REQUEST: usize = 4000;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Makes requests of samples, push after push.
#[derive(Debug)]
pub struct Requests {
    /// Since when each series counts: it had not been there at the push before.
    begins: BTreeMap<(Row, Values), u64>,
    /// When the last push was.
    last_ns: u64,
}

impl Requests {
    /// The first push is to come; series that are in it count from `now_ns`, nanoseconds since 1970.
    pub fn new(now_ns: u64) -> Self {
        Self { begins: BTreeMap::new(), last_ns: now_ns }
    }

    /// The requests of one push at `now_ns`.
    pub fn of(&mut self, samples: &Samples, now_ns: u64) -> Vec<ExportMetricsServiceRequest> {
        let mut begins = BTreeMap::new();
        let mut requests = Vec::new();
        let mut metrics: Vec<Metric> = Vec::new();
        let mut points = 0;
        for row in Row::ALL {
            let all: Vec<_> = samples.of(*row).collect();
            for some in all.chunks(POINTS_IN_A_REQUEST) {
                if points + some.len() > POINTS_IN_A_REQUEST {
                    requests.push(request(std::mem::take(&mut metrics)));
                    points = 0;
                }
                points += some.len();
                let begin = |labels: &Values| {
                    let known = self.begins.get(&(*row, labels.clone())).copied();
                    known.unwrap_or(self.last_ns)
                };
                for (labels, _) in some {
                    begins.insert((*row, (*labels).clone()), begin(labels));
                }
                metrics.push(metric(*row, some, begin, now_ns));
            }
        }
        if !metrics.is_empty() {
            requests.push(request(metrics));
        }
        self.begins = begins;
        self.last_ns = now_ns;
        requests
    }
}

fn request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let scope = InstrumentationScope {
        name: "nccltap".to_owned(),
        version: version.clone(),
        ..InstrumentationScope::default()
    };
    let resource = Resource {
        attributes: vec![text("service.name", "nccltap"), text("service.version", &version)],
        ..Resource::default()
    };
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics,
            ..ResourceMetrics::default()
        }],
    }
}

fn metric(
    row: Row,
    samples: &[(&Values, &Value)],
    begin: impl Fn(&Values) -> u64,
    now_ns: u64,
) -> Metric {
    let numbers = || {
        let number = |(labels, value): &(&Values, &Value)| {
            let value = match value {
                Value::Count(count) => {
                    number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX))
                }
                Value::Level(level) => number_data_point::Value::AsDouble(*level),
                Value::Durations(_) | Value::Sizes(_) => return None,
            };
            Some(NumberDataPoint {
                attributes: attributes(row, labels),
                start_time_unix_nano: if row.kind() == Kind::Counter { begin(labels) } else { 0 },
                time_unix_nano: now_ns,
                value: Some(value),
                ..NumberDataPoint::default()
            })
        };
        samples.iter().filter_map(number).collect()
    };
    let data = match row.kind() {
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => {
            let point = |(labels, value): &(&Values, &Value)| {
                let (sum, buckets, bounds) = buckets(value)?;
                Some(HistogramDataPoint {
                    attributes: attributes(row, labels),
                    start_time_unix_nano: begin(labels),
                    time_unix_nano: now_ns,
                    count: buckets.iter().sum(),
                    sum: Some(sum),
                    bucket_counts: buckets,
                    explicit_bounds: bounds,
                    ..HistogramDataPoint::default()
                })
            };
            Data::Histogram(Histogram {
                data_points: samples.iter().filter_map(point).collect(),
                aggregation_temporality: CUMULATIVE,
            })
        }
    };
    Metric {
        name: row.name().to_owned(),
        description: row.help().to_owned(),
        unit: unit(row).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// Sum, counts per bucket and upper bounds of a histogram; the last bucket has no bound.
fn buckets(value: &Value) -> Option<(f64, Vec<u64>, Vec<f64>)> {
    match value {
        Value::Durations(all) => Some((
            all.sum_ns as f64 / 1e9,
            all.buckets.to_vec(),
            (0..DURATION_BUCKETS).filter_map(Durations::upper_bound).collect(),
        )),
        Value::Sizes(all) => Some((
            all.sum_bytes as f64,
            all.buckets.to_vec(),
            (0..SIZE_BUCKETS).filter_map(Sizes::upper_bound).collect(),
        )),
        Value::Count(_) | Value::Level(_) => None,
    }
}

/// The unit as UCUM has it.
fn unit(row: Row) -> &'static str {
    match row.unit() {
        Some("bytes") => "By",
        Some("seconds") => "s",
        Some("ratio") => "1",
        _ => "",
    }
}

fn attributes(row: Row, values: &Values) -> Vec<KeyValue> {
    let labels = row.labels().iter().zip(values);
    labels
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| text(label.name, value))
        .collect()
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::Collector;
    use crate::outputs::prometheus::continuity::Continuity;
    use crate::outputs::prometheus::gather::samples;
    use nccltap_proto::record::Record;
    use nccltap_proto::v1::{self, agent_message::Message};
    use std::time::Instant;

    fn points(requests: &[ExportMetricsServiceRequest]) -> Vec<(String, usize, Vec<u64>)> {
        let metrics = requests.iter().flat_map(|request| {
            request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics)
        });
        let metrics = metrics.flat_map(|scope| &scope.metrics);
        metrics
            .map(|metric| {
                let starts: Vec<u64> = match metric.data.as_ref().unwrap() {
                    Data::Sum(sum) => {
                        sum.data_points.iter().map(|p| p.start_time_unix_nano).collect()
                    }
                    Data::Gauge(gauge) => {
                        gauge.data_points.iter().map(|p| p.start_time_unix_nano).collect()
                    }
                    Data::Histogram(all) => {
                        all.data_points.iter().map(|p| p.start_time_unix_nano).collect()
                    }
                    other => panic!("{other:?}"),
                };
                (metric.name.clone(), starts.len(), starts)
            })
            .collect()
    }

    fn with_groups(collector: &Collector, pid: u32, groups: std::ops::Range<u32>) {
        let process = v1::Process { host: "node".into(), pid, ..Default::default() };
        let hello = v1::Hello { process: Some(process), ..Default::default() };
        let (stream, _) = collector.hello(hello, 0).unwrap();
        let records: Vec<u8> = groups
            .clone()
            .flat_map(|id| {
                let communicator = u64::from(id) + 1;
                let call =
                    Record { communicator, start: 1, end: 2, function: 1, ..Record::default() };
                call.to_words().into_iter().flat_map(u64::to_le_bytes)
            })
            .collect();
        let facts = groups.map(|id| v1::Communicator {
            id,
            handle: u64::from(id) + 1,
            group: u64::from(id) + 1,
            ..Default::default()
        });
        let report = v1::Report {
            batches: vec![v1::Batch { records: records.into(), ..Default::default() }],
            communicators: facts.collect(),
            ..Default::default()
        };
        collector.take(stream.followed(), Message::Report(report), 0, false);
    }

    #[test]
    fn a_series_counts_from_the_push_before_it_came() {
        let (collector, mut continuity) = (Collector::new(8), Continuity::default());
        let mut requests = Requests::new(100);
        let mut push = |now_ns| {
            let samples = samples(&collector, &mut continuity, None, Instant::now());
            let points = points(&requests.of(&samples, now_ns));
            points.into_iter().find(|(name, ..)| name == "nccltap_operations").map(|(.., s)| s)
        };
        with_groups(&collector, 1, 0..1);
        assert_eq!(push(200), Some(vec![100]));
        with_groups(&collector, 2, 1..2);
        assert_eq!(push(300), Some(vec![100, 200]));
        assert_eq!(push(400), Some(vec![100, 200]));
    }

    #[test]
    fn no_request_has_more_points_than_receivers_take_and_no_point_is_lost() {
        let (collector, mut continuity) = (Collector::new(8), Continuity::default());
        with_groups(&collector, 1, 0..4000);
        with_groups(&collector, 2, 4000..5000);
        let samples = samples(&collector, &mut continuity, None, Instant::now());
        let requests = Requests::new(0).of(&samples, 1);
        assert!(requests.len() > 3);
        for request in &requests {
            let in_it: usize = points(std::slice::from_ref(request)).iter().map(|p| p.1).sum();
            assert!(in_it <= POINTS_IN_A_REQUEST, "{in_it}");
            assert!(prost::Message::encoded_len(request) < 4 << 20);
        }
        let all: usize = points(&requests).iter().map(|p| p.1).sum();
        assert_eq!(all, samples.len());
    }
}
