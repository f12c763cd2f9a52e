//! What `deploy/` has for Prometheus and Grafana speaks of metrics and labels that there are, and alerts when it must.
//! What its queries give of a real run: `tests/tests/prometheus.rs`.
#![allow(missing_docs)]

mod support;

use nccltap_collector::outputs::prometheus::table::{Kind, LABELS, Metric};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use support::promtool;

fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deployed(path)).unwrap()
}

/// The names under which a metric can be asked for.
fn names(metric: Metric) -> Vec<String> {
    let suffixes: &[&str] = match metric.kind() {
        Kind::Counter => &["_total"],
        Kind::Gauge => &[""],
        Kind::Histogram => &["", "_bucket", "_sum", "_count"],
    };
    suffixes.iter().map(|suffix| format!("{}{suffix}", metric.name())).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let known: BTreeSet<String> = Metric::ALL.iter().flat_map(|metric| names(*metric)).collect();
    for (path, least) in [
        ("prometheus/rules.yml", 10),
        ("prometheus/aggregate.yml", 5),
        ("grafana/nccltap.json", 15),
    ] {
        let text = read(path);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<_> = words.filter(|word| word.starts_with("nccltap_")).collect();
        assert!(named.len() >= least, "{path}: {named:?}");
        let unknown: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "{path}: no metrics: {unknown:?}");
    }
}

#[test]
fn rules_and_dashboard_use_labels_that_there_are() {
    // Of Prometheus itself, of a rule, and of the dashboard's annotation.
    let others = ["instance", "le", "what", "alertname", "alertstate"];
    let is_known =
        |label: &str| LABELS.iter().any(|known| known.name == label) || others.contains(&label);
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let rules = read("prometheus/rules.yml");
    let mut used: Vec<String> = rules.split("$labels.").skip(1).map(word).collect();
    let dashboard = read("grafana/nccltap.json");
    used.extend(dashboard.split("{{").skip(1).map(word));
    assert!(used.len() > 20, "{used:?}");
    for label in used {
        assert!(is_known(&label), "{label} is no label");
    }
}

#[test]
fn every_alert_is_tried_by_promtool() {
    let alerts = |text: &str, key: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(key)).map(str::to_owned).collect()
    };
    let there = alerts(&read("prometheus/rules.yml"), "- alert: ");
    let tried = alerts(&read("prometheus/rules_test.yml"), "- alertname: ");
    assert!(there.len() > 10);
    assert_eq!(there, tried);
}

#[test]
fn the_rules_alert_when_they_must_and_on_nothing_else() {
    let arguments = ["test", "rules", "rules_test.yml"];
    if let Some(said) = promtool::say_in(&deployed("prometheus"), &arguments, b"") {
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn promtool_takes_the_configuration_and_the_sums() {
    let arguments = ["check", "config", "prometheus.yml"];
    if let Some(said) = promtool::say_in(&deployed("prometheus"), &arguments, b"") {
        assert!(said.contains("16 rules found"), "{said}");
    }
    let arguments = ["check", "rules", "aggregate.yml"];
    if let Some(said) = promtool::say_in(&deployed("prometheus"), &arguments, b"") {
        assert!(said.contains("5 rules found"), "{said}");
    }
}

#[test]
fn the_panels_of_the_dashboard_have_titles_descriptions_and_places_of_their_own() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/nccltap.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let number = |panel: &serde_json::Value, name: &str| panel["gridPos"][name].as_u64().unwrap();
    let mut taken = BTreeSet::new();
    let (mut titles, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(titles.insert(title) && ids.insert(panel["id"].as_u64().unwrap()), "{title} twice");
        assert!(
            panel["type"] == "row" || panel["description"].as_str().unwrap().len() > 5,
            "{title}"
        );
        for x in number(panel, "x")..number(panel, "x") + number(panel, "w") {
            for y in number(panel, "y")..number(panel, "y") + number(panel, "h") {
                assert!(x < 24 && taken.insert((x, y)), "{title} lies over another panel");
            }
        }
    }
    assert!(panels.len() > 20);
}
