//! Samples: values by metric and labels.

use super::table::Metric;
use crate::ledger::{Durations, Sizes};
use std::collections::BTreeMap;

/// The values of a sample's labels, in the order of the table.
pub type Values = Vec<String>;

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Level(f64),
    /// Of a histogram of durations.
    Durations(Durations),
    /// Of a histogram of sizes.
    Sizes(Sizes),
}

/// All samples, by metric and labels.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<Metric, BTreeMap<Values, Value>>);

impl Samples {
    /// The samples of a metric, in order of their labels.
    pub fn of(&self, metric: Metric) -> impl Iterator<Item = (&Values, &Value)> {
        self.0.get(&metric).into_iter().flatten()
    }

    /// The values of a counter, in order of their labels.
    pub(super) fn counts(&self, metric: Metric) -> impl Iterator<Item = (&Values, u64)> {
        self.of(metric).filter_map(|(labels, value)| match value {
            Value::Count(count) => Some((labels, *count)),
            _ => None,
        })
    }

    pub(super) fn count(&mut self, metric: Metric, labels: Values, more: u64) {
        let value = self.at(metric, labels, || Value::Count(0));
        if let Value::Count(count) = value {
            *count = count.saturating_add(more);
        }
    }

    pub(super) fn level(
        &mut self,
        metric: Metric,
        labels: Values,
        change: impl FnOnce(f64) -> f64,
    ) {
        if let Value::Level(level) = self.at(metric, labels, || Value::Level(0.0)) {
            *level = change(*level);
        }
    }

    pub(super) fn at(
        &mut self,
        metric: Metric,
        labels: Values,
        new: impl FnOnce() -> Value,
    ) -> &mut Value {
        debug_assert_eq!(labels.len(), metric.labels().len(), "{}", metric.name());
        self.0.entry(metric).or_default().entry(labels).or_insert_with(new)
    }

    /// How many there are, whatever the metric: a histogram counts as one.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leaves what only grows.
    pub(super) fn drop_levels(&mut self) {
        for of_metric in self.0.values_mut() {
            of_metric.retain(|_, value| !matches!(value, Value::Level(_)));
        }
    }

    /// Leaves what `other` has too.
    pub(super) fn keep_only_series_of(&mut self, other: &Self) {
        self.0.retain(|metric, samples| {
            let others = other.0.get(metric);
            samples.retain(|labels, _| others.is_some_and(|others| others.contains_key(labels)));
            !samples.is_empty()
        });
    }

    /// Adds the counts of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        for (metric, samples) in &other.0 {
            for (labels, value) in samples {
                let mine = self.0.entry(*metric).or_default();
                match mine.get_mut(labels) {
                    Some(mine) => mine.add(value),
                    None => drop(mine.insert(labels.clone(), value.clone())),
                }
            }
        }
    }
}

impl Value {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Count(mine), Self::Count(more)) => *mine = mine.saturating_add(*more),
            (Self::Durations(mine), Self::Durations(more)) => mine.merge(more),
            (Self::Sizes(mine), Self::Sizes(more)) => mine.merge(more),
            // Levels are not summed over time.
            _ => {}
        }
    }
}
