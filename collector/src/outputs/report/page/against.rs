//! What was seen beside what was predicted: Figures 4 to 7.

use super::{collective_color, table};
use crate::outputs::comparison;
use crate::outputs::report::compared::{CellRow, Compared, Growth, Volume};
use crate::outputs::report::plots::{Bars, Color, Mark, Scale, Series, Unit};
use crate::outputs::report::text::{ratio, verdict};
use crate::outputs::text::{grouped, size};
use maud::{Markup, html};
use std::collections::BTreeMap;

pub(super) fn without_model() -> Markup {
    html! {
        p.note id="without-model" {
            "Figures 4 to 7 put a run beside its prediction. Name what was served, as for "
            code { "nccltap check" } ", to have them: "
            code { "--model NAME --tp N --pp N --prompt N --output N" } "."
        }
    }
}

pub(super) fn verdict_of(compared: &Compared) -> Markup {
    let class = if compared.agrees { "said good" } else { "said bad" };
    html! { div class=(class) id="verdict" { p { (verdict(compared)) } } }
}

pub(super) fn against(compared: &Compared) -> Markup {
    let rows: Vec<_> = compared
        .cells
        .iter()
        .map(|cell| {
            [
                cell.phase.clone(),
                cell.collective.clone(),
                grouped(cell.predicted_count),
                grouped(cell.seen_count),
                size(cell.predicted_bytes),
                size(cell.seen_bytes),
                ratio(cell.seen_count, cell.predicted_count),
            ]
        })
        .collect();
    let head = [
        ("phase", false),
        ("collective", false),
        ("predicted", true),
        ("seen", true),
        ("predicted bytes", true),
        ("seen bytes", true),
        ("operations, seen / predicted", true),
    ];
    let counts = cells(
        compared,
        "Counts",
        Unit::Count("operations"),
        |c| c.predicted_count,
        |c| c.seen_count,
        grouped,
    );
    let bytes = cells(
        compared,
        "Message bytes",
        Unit::Bytes("message bytes"),
        |c| c.predicted_bytes,
        |c| c.seen_bytes,
        size,
    );
    html! {
        h2 id="predicted" { "Against the prediction" }
        p.quiet {
            "Of " (compared.model) " on " (compared.engine) ", " (compared.layout) ", " (compared.workload)
            ". Over all ranks, after start-up; a transfer counts once, where it is sent."
        }
        div.pair {
            figure { figcaption { "Figure 4 of the paper: counts" } (counts.markup()) }
            figure { figcaption { "Figure 5 of the paper: message bytes" } (bytes.markup()) }
        }
        (table(head, &rows))
        (differing(compared))
        div.pair {
            figure {
                figcaption { "Figure 6 of the paper: volume by layout" }
                (layouts_plot(&compared.layouts).markup())
            }
            @if !compared.growth.is_empty() {
                figure {
                    figcaption { "Figure 7 of the paper: volume by generated tokens" }
                    (growth_plot(&compared.growth).markup())
                }
            }
        }
        p.quiet {
            "Volumes are bus bytes of all ranks after start-up. What was seen stands beside what is predicted \
             of the layout and the length that ran; other bars are predictions."
        }
    }
}

/// The rows that are not as predicted, if there are any.
fn differing(compared: &Compared) -> Markup {
    let rows: Vec<_> = compared.differing.iter().map(comparison::cells).collect();
    html! {
        @if !rows.is_empty() {
            h3 id="differing" { "Rows that are not as predicted, each of one rank" }
            (table(comparison::HEAD, &rows))
        }
    }
}

fn cells(
    compared: &Compared,
    label: &str,
    unit: Unit,
    predicted: fn(&CellRow) -> u64,
    seen: fn(&CellRow) -> u64,
    say: fn(u64) -> String,
) -> Bars {
    let series = [("predicted", Color::Grey, predicted), ("seen", Color::Blue, seen)];
    let series = series.into_iter().map(|(name, color, of)| {
        let mark = |cell: &CellRow| Mark {
            value: of(cell) as f64,
            title: format!("{} {}, {name}: {}", cell.phase, cell.collective, say(of(cell))),
        };
        Series { name: name.to_owned(), color, marks: compared.cells.iter().map(mark).collect() }
    });
    Bars {
        label: format!("{label}, predicted and seen"),
        categories: compared
            .cells
            .iter()
            .map(|cell| format!("{}\n{}", cell.collective, cell.phase))
            .collect(),
        series: series.collect(),
        scale: Scale::Logarithmic,
        unit,
    }
}

/// Stacked by collective, with what was seen beside the prediction.
pub(in crate::outputs::report) fn layouts_plot(volumes: &[Volume]) -> Bars {
    // What was seen has a column of its own, beside that of its layout.
    let columns: Vec<(&Volume, &str, &BTreeMap<String, u64>)> = volumes
        .iter()
        .flat_map(|volume| {
            let seen = volume.seen.as_ref().map(|seen| (volume, "seen", seen));
            [Some((volume, "predicted", &volume.bus_bytes)), seen].into_iter().flatten()
        })
        .collect();
    let mut names: Vec<&str> =
        columns.iter().flat_map(|(.., bytes)| bytes.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let series = names.iter().map(|name| {
        let mark = |(volume, what, bytes): &(&Volume, &str, &BTreeMap<String, u64>)| {
            let bytes = bytes.get(*name).copied().unwrap_or(0);
            let title = format!("{}, {name}, {what}: {}", volume.layout, size(bytes));
            Mark { value: bytes as f64, title }
        };
        Series {
            name: (*name).to_owned(),
            color: collective_color(name),
            marks: columns.iter().map(mark).collect(),
        }
    });
    let with_seen = volumes.iter().any(|volume| volume.seen.is_some());
    let category = |(volume, what, _): &(&Volume, &str, &BTreeMap<String, u64>)| match with_seen {
        true => format!("{}\n{what}", volume.layout),
        false => volume.layout.clone(),
    };
    Bars {
        label: "Bus bytes by layout and collective".into(),
        categories: columns.iter().map(category).collect(),
        series: series.collect(),
        scale: Scale::Stacked,
        unit: Unit::Bytes("bus bytes"),
    }
}

fn growth_plot(growth: &[Growth]) -> Bars {
    let of = |name: &str, color, of: fn(&Growth) -> Option<u64>| Series {
        name: name.to_owned(),
        color,
        marks: growth
            .iter()
            .map(|one| {
                let bytes = of(one).unwrap_or(0);
                let title = format!("{} tokens, {name}: {}", one.output, size(bytes));
                Mark { value: bytes as f64, title }
            })
            .collect(),
    };
    Bars {
        label: "Bus bytes by generated tokens".into(),
        categories: growth.iter().map(|one| format!("{} tokens", one.output)).collect(),
        series: vec![
            of("predicted", Color::Grey, |one| Some(one.bus_bytes)),
            of("seen", Color::Blue, |one| one.seen),
        ],
        scale: Scale::Grouped,
        unit: Unit::Bytes("bus bytes"),
    }
}
