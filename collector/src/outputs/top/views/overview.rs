//! What stands out, rates, and where the bytes go now.

use super::ranks::state;
use super::{amount, chart, known, name, number, per_second, phase, titled};
use crate::outputs::live::view::{Live, Severity};
use crate::outputs::text::grouped;
use crate::outputs::top::bars;
use crate::outputs::top::columns::{Column, plain, rate, table, wrapped};
use crate::outputs::top::{BAD, DOUBT, GOOD, QUIET};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

pub(super) fn overview(live: &Live, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for one in &live.attention {
        let (mark, style) = match one.severity {
            Severity::Bad => ("!! ", BAD),
            Severity::Doubt => ("!  ", DOUBT),
        };
        lines.extend(wrapped(&format!("{mark}{}", one.sentence), width, style));
    }
    let sums = &live.accounting;
    if live.ranks.is_empty() {
        lines.push(Line::styled("No rank has called NCCL under the tap yet.", QUIET));
    } else if live.attention.is_empty() {
        let connected = live.ranks.iter().filter(|rank| rank.state.is_here()).count() as u64;
        let made = grouped(sums.made);
        lines.push(Line::styled(
            match connected {
                0 => "Nothing stands out: all ranks have ended, and every call is counted."
                    .to_owned(),
                _ => format!(
                    "Nothing stands out: {} report, and all {made} calls are counted.",
                    number(connected, "rank", "ranks")
                ),
            },
            GOOD,
        ));
    }
    let serving = || live.steps.iter().filter(|steps| steps.phase != "startup");
    let per = |of: fn(&crate::outputs::live::view::Steps) -> f64| serving().map(of).sum::<f64>();
    let away = sums.dropped + sums.unrecorded + sums.lost;
    lines.push(Line::raw(""));
    let rates = [
        ("bus bytes", per_second(live.totals.bus_rate)),
        ("operations", format!("{}/s", rate(live.totals.operations_rate))),
        ("steps", format!("{}/s", rate(per(|steps| steps.rate)))),
        ("tokens", format!("{}/s", rate(per(|steps| steps.tokens_rate)))),
        ("not counted", grouped(away)),
    ];
    let columns = rates.each_ref().map(|(head, _)| amount(head, 0));
    let (head, row) = table(&columns, vec![rates.map(|(_, text)| known(live, text)).into()], width);
    lines.push(head);
    lines.extend(row);
    lines.extend(chart(
        "message bytes per second",
        live,
        |s| s.message_bytes,
        width,
        3,
        |most| per_second(most as f64),
    ));
    let mut busy: Vec<_> = live
        .traffic
        .iter()
        .filter(|row| row.phase != "startup" && row.volume.bus_rate > 0.0)
        .collect();
    busy.sort_by(|a, b| b.volume.bus_rate.total_cmp(&a.volume.bus_rate));
    let most = busy.first().map_or(0.0, |row| row.volume.bus_rate);
    let rows = busy.iter().take(6).map(|row| {
        vec![
            phase(&row.phase),
            plain(row.collective.as_str()),
            plain(row.role.as_deref().unwrap_or("?")),
            plain(rate(row.volume.operations_rate)),
            plain(per_second(row.volume.bus_rate)),
            (wide_bar(row.volume.bus_rate / most, 16), QUIET),
        ]
    });
    const COLUMNS: [Column; 6] = [
        name("phase", 0),
        name("collective", 0),
        name("group", 2),
        amount("op/s", 1),
        amount("bus/s", 0),
        name("", 3),
    ];
    lines.extend(titled("Where the bytes go now", &COLUMNS, rows.collect(), width));
    lines.extend(strip(live, width));
    lines
}

fn wide_bar(share: f64, width: usize) -> String {
    "▇".repeat((share.clamp(0.0, 1.0) * width as f64).ceil() as usize)
}

/// A character for each rank: as high as its share of what the busiest sends, in the colour of how it is.
fn strip(live: &Live, width: usize) -> Vec<Line<'static>> {
    if live.ranks.is_empty() {
        return Vec::new();
    }
    let most = live.ranks.iter().map(|rank| rank.volume.bus_rate).fold(0.0, f64::max);
    let mut lines = vec![Line::raw(""), Line::styled("Ranks, by bus bytes", Style::new().bold())];
    let a_line = (width.saturating_sub(6) / 8 * 8).clamp(8, 64);
    for (at, ranks) in live.ranks.chunks(a_line).enumerate() {
        let mut spans = vec![Span::styled(format!("{:>4}  ", at * a_line), QUIET)];
        for rank in ranks {
            let share = if most > 0.0 { rank.volume.bus_rate / most } else { 0.0 };
            let (_, style) = state(rank);
            // Who sends nothing is seen all the same.
            let bar = if share > 0.0 { bars::bar(share) } else { "·" };
            spans.push(Span::styled(bar, if style == Style::new() { GOOD } else { style }));
        }
        lines.push(Line::from(spans));
    }
    lines
}
