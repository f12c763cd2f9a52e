//! Steps and bytes over time.

use super::phase_color;
use crate::outputs::report::PHASES;
use crate::outputs::report::plots::{Bars, Mark, Scale, Series, Unit};
use crate::outputs::report::summary::Summary;
use crate::outputs::report::timeline::Bin;
use crate::outputs::text::{grouped, size};
use maud::{Markup, html};

/// One plot of the timeline: a bar for each bin, by phase.
fn bins(
    summary: &Summary,
    label: &str,
    unit: Unit,
    of: fn(&Bin) -> &[u64; 5],
    say: fn(u64) -> String,
) -> Bars {
    let timeline = &summary.timeline;
    let last = timeline.bins.iter().map(|bin| bin.number as usize + 1).max().unwrap_or(0);
    let mut all = vec![None; last];
    for bin in &timeline.bins {
        if let Some(place) = all.get_mut(bin.number as usize) {
            *place = Some(bin);
        }
    }
    let seconds = |bin: usize| bin as f64 * timeline.bin_seconds;
    // Labels at round seconds, six at most.
    let every = round_up(seconds(last) / 6.0);
    let labels = (0..last).map(|at| {
        let next = (seconds(at) / every).ceil() * every;
        let is_here = next < seconds(at + 1);
        if is_here { duration(next) } else { String::new() }
    });
    let series = PHASES.iter().enumerate().filter_map(|(phase, name)| {
        let marks: Vec<Mark> = all
            .iter()
            .enumerate()
            .map(|(at, bin)| {
                let value = bin.map_or(0, |bin| of(bin)[phase]);
                let title = format!("{}, {name}: {}", duration(seconds(at)), say(value));
                Mark { value: value as f64, title }
            })
            .collect();
        marks.iter().any(|mark| mark.value > 0.0).then(|| Series {
            name: (*name).to_owned(),
            color: phase_color(name),
            marks,
        })
    });
    Bars {
        label: label.to_owned(),
        series: series.collect(),
        categories: labels.collect(),
        scale: Scale::Stacked,
        unit,
    }
}

/// 1, 2 or 5 times a power of ten.
fn round_up(number: f64) -> f64 {
    let power = 10f64.powf(number.max(1e-6).log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= number);
    digit.unwrap_or(10.0) * power
}

/// Seconds with the unit that fits, and no more than two digits behind the point.
fn duration(seconds: f64) -> String {
    let (number, unit) = match seconds {
        0.0 => (0.0, "s"),
        short if short < 1e-3 => (short * 1e6, "\u{b5}s"),
        short if short < 1.0 => (short * 1e3, "ms"),
        long => (long, "s"),
    };
    let text = format!("{number:.2}");
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

pub(super) fn over_time(summary: &Summary) -> Markup {
    let timeline = &summary.timeline;
    let width = duration(timeline.bin_seconds);
    let steps = bins(
        summary,
        "Engine steps over time",
        Unit::Count("steps"),
        |bin| &bin.steps,
        |steps| format!("{} steps", grouped(steps)),
    );
    let bytes = bins(
        summary,
        "Message bytes over time",
        Unit::Bytes("message bytes"),
        |bin| &bin.message_bytes,
        size,
    );
    html! {
        h2 id="time" { "Over time" }
        p.quiet {
            "Each bar is " (width) ". Time is that of the calls on the host, from the first call after \
             start-up."
            @if timeline.startup_operations_before > 0 {
                " Start-up before it had " (grouped(timeline.startup_operations_before)) " operations."
            }
        }
        div.pair {
            @if steps.series.is_empty() {
                p.note { "No engine steps were recognised." }
            } @else {
                figure { figcaption { "Engine steps by phase" } (steps.markup()) }
            }
            figure { figcaption { "Message bytes by phase, all ranks" } (bytes.markup()) }
        }
    }
}
