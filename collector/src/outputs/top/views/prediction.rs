//! What the model must send, beside what it sends.

use super::{amount, name, phase, titled};
use crate::outputs::live::view::Live;
use crate::outputs::text::grouped;
use crate::outputs::top::columns::{Column, plain, wrapped};
use crate::outputs::top::{BAD, DOUBT, GOOD, QUIET};
use ratatui::text::Line;

pub(super) fn prediction(live: &Live, width: usize) -> Vec<Line<'static>> {
    const COLUMNS: [Column; 7] = [
        name("phase", 0),
        name("operation", 0),
        amount("ranks", 3),
        amount("seen", 1),
        amount("predicted", 1),
        amount("ratio", 0),
        amount("furthest rank", 2),
    ];
    let Some(rows) = &live.prediction else {
        let how = "No model was named. Start the collector with what is served: \
                   nccltap serve --model llama-3.1-8b --tp 2";
        return wrapped(how, width, QUIET);
    };
    let off = |ratio: f64, predicted: u64| {
        (ratio - 1.0).abs() > if predicted > 10_000 { 0.01 } else { 0.2 }
    };
    let rows = rows.iter().map(|row| {
        let ratio = (row.predicted > 0).then(|| row.seen as f64 / row.predicted as f64);
        let style = |ratio: Option<f64>| match ratio {
            None => BAD,
            Some(ratio) if off(ratio, row.predicted) => DOUBT,
            Some(_) => GOOD,
        };
        vec![
            phase(&row.phase),
            plain(row.op.as_str()),
            plain(row.ranks.to_string()),
            plain(grouped(row.seen)),
            plain(grouped(row.predicted)),
            (
                ratio.map_or_else(|| "none predicted".to_owned(), |r| format!("{r:.4}")),
                style(ratio),
            ),
            plain(row.furthest.map(|ratio| format!("{ratio:.4}")).unwrap_or_default()),
        ]
    });
    let mut lines =
        titled("Operations seen, against the steps seen", &COLUMNS, rows.collect(), width);
    lines.remove(0);
    lines
}
