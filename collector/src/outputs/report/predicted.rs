//! The page of `nccltap predict`: layouts side by side.

use super::compared::{Volume, volume};
use super::page::{document, layouts_plot, table};
use super::plots::{Bars, Color, Mark, Scale, Series, Unit};
use crate::model::{Phase, Prediction};
use crate::outputs::rows::View;
use crate::outputs::text::{grouped, size};
use maud::html;
use nccltap_proto::Operation;

/// The whole page.
pub fn page(predictions: &[Prediction], workload: &str, view: View) -> String {
    let Some(first) = predictions.first() else {
        return document("nccltap predict", &html! { p { "There is nothing to predict." } });
    };
    let deployment = &first.deployment;
    let graphs = if deployment.graphs.is_some() { "CUDA graphs" } else { "eager" };
    let volumes: Vec<Volume> = predictions.iter().map(volume).collect();
    let totals: Vec<_> = predictions
        .iter()
        .zip(&volumes)
        .map(|(prediction, volume)| {
            let all = prediction.totals(|_| true);
            [
                volume.layout.clone(),
                volume.ranks.to_string(),
                grouped(all.operations),
                size(volume.total()),
                volume.equations.map(size).unwrap_or_default(),
            ]
        })
        .collect();
    let head = [
        ("layout", false),
        ("ranks", true),
        ("operations", true),
        ("bus bytes", true),
        ("equations", true),
    ];
    let body = html! {
        header {
            h1 { "nccltap predict" }
            p { (deployment.model.name) ", " (deployment.engine.name()) ", " (graphs) ": " (workload) "." }
            p.quiet {
                "Derived from the model's config.json and the engine's source; nothing was run. Bus bytes of \
                 all ranks together, from the first request on, a transfer counted where it is sent. \
                 \u{201c}Equations\u{201d} is the paper's volume of equations 1 to 3, with its conventions."
            }
        }
        div.pair {
            figure { figcaption { "By collective" } (layouts_plot(&volumes).markup()) }
            figure { figcaption { "By phase" } (phases(predictions).markup()) }
        }
        (table(head, &totals))
        @for prediction in predictions { (layout(prediction, view)) }
    };
    document(&format!("nccltap predict: {}", deployment.model.name), &body)
}

fn phases(predictions: &[Prediction]) -> Bars {
    let phases =
        [(Phase::Prefill, Color::Red), (Phase::Decode, Color::Blue), (Phase::Mixed, Color::Purple)];
    let series = phases.into_iter().filter_map(|(phase, color)| {
        let mark = |prediction: &Prediction| {
            let sent =
                prediction.totals(|call| call.phase == phase && call.operation != Operation::Recv);
            let layout = prediction.deployment.layout;
            let title = format!("{layout}, {}: {}", phase.name(), size(sent.bus_bytes));
            Mark { value: sent.bus_bytes as f64, title }
        };
        let marks: Vec<Mark> = predictions.iter().map(mark).collect();
        let any = marks.iter().any(|mark| mark.value > 0.0);
        any.then(|| Series { name: phase.name().to_owned(), color, marks })
    });
    Bars {
        label: "Bus bytes by layout and phase".into(),
        series: series.collect(),
        categories: predictions.iter().map(|p| p.deployment.layout.to_string()).collect(),
        scale: Scale::Stacked,
        unit: Unit::Bytes("bus bytes"),
    }
}

fn layout(prediction: &Prediction, view: View) -> maud::Markup {
    let rows: Vec<_> = prediction
        .rows(view)
        .iter()
        .map(|row| {
            let shape: Vec<String> = row.shape.iter().map(u64::to_string).collect();
            let what = match (view, row.op) {
                (View::Operations, Some(op)) => op,
                _ => row.collective,
            };
            [
                row.stage.to_string(),
                row.phase.to_owned(),
                what.to_owned(),
                row.path.to_owned(),
                format!("[{}]", shape.join(", ")),
                row.dtype.to_owned(),
                grouped(row.count),
                size(row.message_bytes),
                size(row.bus_bytes),
                crate::outputs::prediction::list(&row.ranks),
            ]
        })
        .collect();
    let head = [
        ("stage", true),
        ("phase", false),
        ("what", false),
        ("path", false),
        ("shape", false),
        ("dtype", false),
        ("count", true),
        ("message", true),
        ("bus", true),
        ("ranks", false),
    ];
    html! {
        h2 { (prediction.deployment.layout) }
        @if rows.is_empty() {
            p { "Nothing is sent." }
        } @else {
            p.quiet { "Counts and bytes are those of one rank." }
            (table(head, &rows))
        }
    }
}
