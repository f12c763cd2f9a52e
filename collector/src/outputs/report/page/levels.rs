//! Service levels: Figures 8 to 10.

use super::table;
use crate::outputs::report::plots::{Bars, Color, Mark, Scale, Series, Unit};
use crate::outputs::report::serving::{
    KV_TRANSFERS, KvRow, LEVELS, PREDICTED_LEVELS, Predicted, Serving, Times, duration,
};
use crate::outputs::report::text::KV_TITLE;
use maud::{Markup, html};

/// One of the times of a layout.
type Of = fn(&Times) -> f64;

/// The times of a layout, by their names.
const TIMES: [(&str, Of); 3] =
    [("TTFT", |times| times.ttft), ("TPOT", |times| times.tpot), ("E2E", |times| times.e2e)];

pub(super) fn levels(serving: &Serving) -> Markup {
    let measured: Vec<_> = serving.measured.iter().map(|level| level.cells()).collect();
    let predicted: Vec<_> = serving.cells().collect();
    let kv: Vec<_> = serving.kv_transfers.iter().map(KvRow::cells).collect();
    html! {
        h2 id="levels" { "Service levels" }
        p.quiet {
            "As the engine measured them: " (serving.headline()) ". Time to first token, time per output token              after it, end to end."
        }
        (table(LEVELS, &measured))
        @if let Some(predicted_by) = &serving.predicted {
            div.pair {
                @for (at, (name, of)) in TIMES.into_iter().enumerate() {
                    figure {
                        figcaption { "Figures 8 to 10 of the paper: " (name) }
                        (plot(serving, predicted_by, at, name, of).markup())
                    }
                }
                figure {
                    figcaption { "The same in numbers" }
                    (table(PREDICTED_LEVELS, &predicted))
                }
            }
            p.quiet {
                "Predicted by " code { "nccltap advise" } " on " (predicted_by.cluster) ", of layouts with as many                  ranks. Times are a model without the host and so a lower bound; measured is the mean."
            }
        }
        @if !kv.is_empty() {
            h3 id="kv" { (KV_TITLE) }
            (table(KV_TRANSFERS, &kv))
        }
    }
}

fn plot(serving: &Serving, predicted: &Predicted, at: usize, name: &str, of: Of) -> Bars {
    let mean = serving.measured.get(at).and_then(|level| level.mean);
    let mark = |layout: &str, what: &str, seconds: Option<f64>| Mark {
        value: seconds.unwrap_or(0.0) * 1e6,
        title: format!("{layout}, {what}: {}", duration(seconds)),
    };
    let layouts = || predicted.layouts.iter().enumerate();
    let should = layouts().map(|(_, times)| mark(&times.layout, "predicted", Some(of(times))));
    let took = layouts()
        .map(|(number, times)| mark(&times.layout, "measured", mean.filter(|_| number == 0)));
    Bars {
        label: format!("{name} by layout, predicted and measured"),
        categories: predicted.layouts.iter().map(|times| times.layout.clone()).collect(),
        series: vec![
            Series { name: "predicted".to_owned(), color: Color::Grey, marks: should.collect() },
            Series { name: "measured".to_owned(), color: Color::Blue, marks: took.collect() },
        ],
        scale: Scale::Logarithmic,
        unit: Unit::Count("microseconds"),
    }
}
