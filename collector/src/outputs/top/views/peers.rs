//! Who sends to whom.

use super::{amount, known, per_second, titled};
use crate::outputs::live::view::Live;
use crate::outputs::text::size;
use crate::outputs::top::QUIET;
use crate::outputs::top::columns::{Column, plain};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

pub(super) fn peers(live: &Live, width: usize) -> Vec<Line<'static>> {
    const COLUMNS: [Column; 6] = [
        amount("from", 0),
        amount("to", 0),
        amount("per second", 0),
        amount("in all", 1),
        amount("named peer", 2),
        amount("by rings", 3),
    ];
    let who =
        |number: Option<u32>| number.map_or_else(|| "not tapped".to_owned(), |n| n.to_string());
    let mut lines = matrix(live, width);
    let mut cells: Vec<_> = live.peers.cells.iter().collect();
    cells.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.ring_bytes.cmp(&a.ring_bytes)));
    let rows = cells.iter().take(256).map(|cell| {
        vec![
            plain(who(cell.from)),
            plain(who(cell.to)),
            known(live, per_second(cell.rate)),
            plain(size(cell.named_bytes.saturating_add(cell.ring_bytes))),
            plain(size(cell.named_bytes)),
            plain(size(cell.ring_bytes)),
        ]
    });
    lines.extend(titled("Pairs of ranks, by bytes per second", &COLUMNS, rows.collect(), width));
    lines
}

/// Two characters a cell, where that has room.
fn matrix(live: &Live, width: usize) -> Vec<Line<'static>> {
    const SHADES: [&str; 5] = ["  ", "░░", "▒▒", "▓▓", "██"];
    let count = live.ranks.len();
    if !(2..=16).contains(&count) || 2 * count + 6 > width {
        return Vec::new();
    }
    let most = live.peers.cells.iter().map(|cell| cell.rate).fold(0.0, f64::max);
    let heads: String = (0..count).map(|number| format!("{number:>2}")).collect();
    let mut lines = vec![
        Line::styled("Bytes from each rank (row) to each (column), now", Style::new().bold()),
        Line::styled(format!("    {heads}"), QUIET),
    ];
    for from in 0..count as u32 {
        let mut spans = vec![Span::styled(format!("{from:>3} "), QUIET)];
        for to in 0..count as u32 {
            let here = |cell: &&crate::outputs::live::view::Cell| {
                cell.from == Some(from) && cell.to == Some(to)
            };
            let value = live.peers.cells.iter().find(here).map_or(0.0, |cell| cell.rate);
            let share = if most > 0.0 { (value / most).sqrt() } else { 0.0 };
            let shade = (share * 4.0).ceil() as usize;
            spans.push(Span::raw(SHADES.get(shade).copied().unwrap_or("██")));
        }
        lines.push(Line::from(spans));
    }
    lines
}
