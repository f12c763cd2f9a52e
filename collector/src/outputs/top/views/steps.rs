//! Engine steps by phase.

use super::{amount, chart, known, name, per_second, phase, titled};
use crate::outputs::live::view::Live;
use crate::outputs::text::grouped;
use crate::outputs::top::columns::{Column, plain, rate};
use ratatui::text::Line;

pub(super) fn steps(live: &Live, width: usize) -> Vec<Line<'static>> {
    const COLUMNS: [Column; 6] = [
        name("phase", 0),
        amount("steps/s", 0),
        amount("tokens/s", 1),
        amount("steps", 0),
        amount("tokens", 2),
        name("known by", 3),
    ];
    let rows = live.steps.iter().map(|row| {
        vec![
            phase(&row.phase),
            known(live, rate(row.rate)),
            known(live, rate(row.tokens_rate)),
            plain(grouped(row.steps)),
            plain(row.tokens.map_or_else(|| "?".to_owned(), grouped)),
            plain(row.source.as_deref().unwrap_or("not known")),
        ]
    });
    let mut lines = titled(
        "Engine steps, of the worker that has most of a phase",
        &COLUMNS,
        rows.collect(),
        width,
    );
    lines.remove(0);
    let count = |most| format!("{}/s", grouped(most));
    lines.extend(chart("steps per second", live, |second| second.steps, width, 4, count));
    lines.extend(chart("operations per second", live, |s| s.operations, width, 3, count));
    lines.extend(chart(
        "message bytes per second",
        live,
        |s| s.message_bytes,
        width,
        3,
        |most| per_second(most as f64),
    ));
    lines
}
