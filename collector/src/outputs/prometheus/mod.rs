//! `/metrics`: computed from the ledgers when somebody asks.
//!
//! [`table`] declares each metric once; [`samples`] computes them, with what [`continuity`] knows of the scrapes
//! before; here they are written in the [`format`](Format) that the client wants. Where a model is named,
//! [`expected`] says what each engine step must do.

pub mod continuity;
pub mod expected;
mod format;
pub mod gather;
mod native;
pub(super) mod prediction;
pub mod samples;
pub mod table;

use crate::collector::Collector;
use crate::ledger::{DURATION_BUCKETS, Durations, SIZE_BUCKETS, Sizes};
use continuity::Continuity;
use expected::Expected;
pub use format::Format;
use parking_lot::Mutex;
use prometheus_client::encoding::prometheus_protobuf::EncodeError;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::encoding::{prometheus_protobuf, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use samples::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use table::{Kind, Label, Metric};

/// Writes a collector's metrics.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// Metrics of `collector`.
    pub fn new(collector: Arc<Collector>) -> Self {
        Self::against(collector, None)
    }

    /// Metrics of `collector`, held against what is `expected` of a named model.
    pub fn against(collector: Arc<Collector>, expected: Option<Expected>) -> Self {
        let mut registry = Registry::default();
        let scrape = Scrape { collector, expected, continuity: Mutex::default() };
        registry.register_collector(Box::new(scrape));
        Self { registry }
    }

    /// The metrics as they are now.
    pub fn write(&self, format: Format) -> Result<Vec<u8>, EncodeError> {
        if format == Format::Protobuf {
            return prometheus_protobuf::encode_to_vec(&self.registry);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(match format {
            Format::Text => format::plain(&text),
            Format::OpenMetrics | Format::Protobuf => text,
        }
        .into_bytes())
    }
}

#[derive(Debug)]
struct Scrape {
    collector: Arc<Collector>,
    expected: Option<Expected>,
    continuity: Mutex<Continuity>,
}

impl prometheus_client::collector::Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let samples = gather::samples(
            &self.collector,
            &mut self.continuity.lock(),
            self.expected.as_ref(),
            Instant::now(),
        );
        for metric in Metric::ALL {
            let kind = match metric.kind() {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            // The library puts the unit behind the name.
            let unit = metric.unit().map(|unit| Unit::Other(unit.to_owned()));
            let name = metric.name_without_unit();
            let mut family = encoder.encode_descriptor(name, metric.help(), unit.as_ref(), kind)?;
            for (values, value) in samples.of(*metric) {
                let labels = Labels { labels: metric.labels(), values };
                match values.is_empty() {
                    true => encode(&mut family, value)?,
                    false => encode(&mut family.encode_family(&labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder<'_>, value: &Value) -> Result<(), fmt::Error> {
    match value {
        Value::Count(count) => encoder.encode_counter::<NoLabelSet, _, f64>(count, None),
        Value::Level(level) => encoder.encode_gauge(level),
        Value::Durations(all) => {
            let buckets: Vec<_> = (0..DURATION_BUCKETS)
                .map(|at| (Durations::upper_bound(at).unwrap_or(f64::INFINITY), all.buckets[at]))
                .collect();
            let seconds = all.sum_ns as f64 / 1e9;
            encoder.encode_histogram::<NoLabelSet>(seconds, all.count(), &buckets, None)
        }
        Value::Sizes(all) => {
            let buckets: Vec<_> = (0..SIZE_BUCKETS)
                .map(|at| (Sizes::upper_bound(at).unwrap_or(f64::INFINITY), all.buckets[at]))
                .collect();
            let bytes = all.sum_bytes as f64;
            let native = native::of_sizes(all);
            encoder.encode_histogram_with_native::<NoLabelSet>(
                bytes,
                all.count(),
                &buckets,
                None,
                native.borrowed(),
            )
        }
    }
}

#[derive(Debug)]
struct Labels<'a> {
    labels: &'a [Label],
    values: &'a [String],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        use prometheus_client::encoding::EncodeLabel;
        for (label, value) in self.labels.iter().zip(self.values) {
            (label.name, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}
