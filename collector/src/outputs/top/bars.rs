//! Values as bars of one character each.

use crate::outputs::live::view::Second;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};

const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// Prefill, decode, mixed, startup, unknown.
pub(super) const PHASE_COLORS: [Color; 5] =
    [Color::LightRed, Color::Blue, Color::Magenta, Color::DarkGray, Color::Yellow];

/// A bar of `share` of the whole, from 0 to 1, one line high. Something is never nothing.
pub(super) fn bar(share: f64) -> &'static str {
    let eighths = (share.clamp(0.0, 1.0) * 8.0).ceil() as usize;
    EIGHTHS.get(eighths).copied().unwrap_or(" ")
}

/// The seconds that end with `last` and have room, a column each, in lines from the top down; the
/// colour is that of the phase that has most of it. Gives what the full height stands for, too.
pub(super) fn columns(
    seconds: &[Second],
    of: impl Fn(&Second) -> [u64; 5],
    last: u64,
    width: usize,
    height: usize,
) -> (Vec<Line<'static>>, u64) {
    let first = (last + 1).saturating_sub(width as u64);
    let mut values = vec![(0u64, 0usize); width];
    for second in seconds.iter().filter(|second| (first..=last).contains(&second.second)) {
        let by_phase = of(second);
        let sum = by_phase.iter().fold(0u64, |sum, value| sum.saturating_add(*value));
        let phase = (0..by_phase.len()).max_by_key(|at| (by_phase[*at], by_phase.len() - at));
        if let Some(value) = values.get_mut((second.second - first) as usize) {
            *value = (sum, phase.unwrap_or(0));
        }
    }
    let most = values.iter().map(|(value, _)| *value).max().unwrap_or(0);
    let line = |row: usize| {
        let below = (height - 1 - row) as f64;
        let spans = values.iter().map(|(value, phase)| {
            let high = *value as f64 / most.max(1) as f64 * height as f64;
            let style = Style::new().fg(PHASE_COLORS[*phase]);
            Span::styled(bar(high - below), style)
        });
        Line::from(spans.collect::<Vec<_>>())
    };
    ((0..height).map(line).collect(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_are_on_the_right_and_missing_ones_are_gaps() {
        let second =
            |second, steps| Second { second, steps: [0, steps, 0, 0, 0], ..Second::default() };
        let seconds = [second(3, 8), second(4, 16), second(6, 1)];
        let (lines, most) = columns(&seconds, |second| second.steps, 6, 5, 2);
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["  █  ", " ██ ▁"]);
        assert_eq!(most, 16);
    }
}
