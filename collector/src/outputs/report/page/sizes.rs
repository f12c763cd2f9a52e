//! How large messages are.

use super::phase_color;
use crate::outputs::report::phase_order;
use crate::outputs::report::plots::{Bars, Mark, Scale, Series, Unit};
use crate::outputs::report::sizes::SizeRow;
use crate::outputs::report::summary::Summary;
use crate::outputs::text::{grouped, size};
use maud::{Markup, html};

pub(super) fn message_sizes(summary: &Summary) -> Markup {
    let mut bounds: Vec<u64> = summary.sizes.iter().map(|row| row.up_to_bytes).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut phases: Vec<&str> = summary.sizes.iter().map(|row| row.phase.as_str()).collect();
    phases.sort_by_key(|phase| phase_order(phase));
    phases.dedup();
    let plot = |label: &str, unit, of: fn(&SizeRow) -> u64, say: fn(u64) -> String| {
        let series = phases.iter().map(|phase| {
            let mark = |bound: &u64| {
                let rows =
                    summary.sizes.iter().filter(|r| r.up_to_bytes == *bound && r.phase == *phase);
                let (mut sum, mut parts) = (0, Vec::new());
                for row in rows {
                    sum += of(row);
                    parts.push(format!("{} {}", row.collective, say(of(row))));
                }
                let title = format!("{phase}, up to {}: {}", size(*bound), parts.join(", "));
                Mark { value: sum as f64, title }
            };
            Series {
                name: (*phase).to_owned(),
                color: phase_color(phase),
                marks: bounds.iter().map(mark).collect(),
            }
        });
        // Of many sizes, not each has room for its label.
        let every = bounds.len().div_ceil(9).max(1);
        let label_of = |(at, bound): (usize, &u64)| match at % every {
            0 => short_size(*bound).replace(' ', "\n"),
            _ => String::new(),
        };
        Bars {
            label: label.to_owned(),
            categories: bounds.iter().enumerate().map(label_of).collect(),
            series: series.collect(),
            scale: Scale::Logarithmic,
            unit,
        }
    };
    let counts = plot("Messages by size", Unit::Count("messages"), |row| row.count, grouped);
    let bytes =
        plot("Message bytes by size", Unit::Bytes("message bytes"), |row| row.message_bytes, size);
    html! {
        h2 id="sizes" { "Message sizes" }
        p.quiet {
            "Each bar holds messages of up to its size and more than half of it, over all ranks. The vertical \
             axes go in powers of ten: many small messages and few large ones are seen together."
        }
        div.pair {
            figure { figcaption { "How many" } (counts.markup()) }
            figure { figcaption { "How many bytes" } (bytes.markup()) }
        }
    }
}

/// A power of two in bytes, without digits behind the point.
fn short_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    format!("{} {}", bytes >> (10 * power), UNITS[(power as usize).min(UNITS.len() - 1)])
}
