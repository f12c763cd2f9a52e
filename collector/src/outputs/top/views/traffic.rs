//! Rates by phase and collective, and message sizes.

use super::{amount, known, name, per_second, phase, titled};
use crate::outputs::live::view::Live;
use crate::outputs::text::{grouped, size};
use crate::outputs::top::columns::{Column, plain, rate};
use ratatui::text::Line;

pub(super) fn traffic(live: &Live, width: usize) -> Vec<Line<'static>> {
    const COLUMNS: [Column; 8] = [
        name("phase", 0),
        name("collective", 0),
        name("group", 3),
        amount("op/s", 2),
        amount("message/s", 5),
        amount("bus/s", 0),
        amount("operations", 4),
        amount("bus bytes", 1),
    ];
    let rows = live.traffic.iter().map(|row| {
        vec![
            phase(&row.phase),
            plain(row.collective.as_str()),
            plain(row.role.as_deref().unwrap_or("?")),
            known(live, rate(row.volume.operations_rate)),
            known(live, per_second(row.volume.message_rate)),
            known(live, per_second(row.volume.bus_rate)),
            plain(grouped(row.volume.operations)),
            plain(size(row.volume.bus_bytes)),
        ]
    });
    let mut lines =
        titled("By phase and collective, all ranks together", &COLUMNS, rows.collect(), width);
    lines.remove(0);
    const SIZES: [Column; 6] = [
        name("phase", 0),
        name("collective", 0),
        amount("up to", 0),
        amount("messages/s", 1),
        amount("messages", 2),
        amount("bytes", 1),
    ];
    let rows = live.sizes.iter().map(|row| {
        vec![
            phase(&row.phase),
            plain(row.collective.as_str()),
            plain(size(row.up_to_bytes)),
            known(live, rate(row.rate)),
            plain(grouped(row.count)),
            plain(size(row.message_bytes)),
        ]
    });
    lines.extend(titled("Message sizes, start-up left out", &SIZES, rows.collect(), width));
    lines
}
