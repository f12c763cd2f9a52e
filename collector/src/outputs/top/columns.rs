//! Tables as lines, as many columns as the terminal has room for; and words that fit.

use super::QUIET;
use crate::outputs::text::grouped;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Between columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) is_number: bool,
    /// Columns of the highest number go first where there is no room.
    pub(super) goes: u8,
}

/// What stands in a column, and how it looks.
pub(super) type Cell = (String, Style);

pub(super) fn plain(text: impl Into<String>) -> Cell {
    (text.into(), Style::new())
}

/// Heading and rows in `width`. The widest cell of a column is its width, up to half of what there is.
pub(super) fn table(
    columns: &[Column],
    rows: Vec<Vec<Cell>>,
    width: usize,
) -> (Line<'static>, Vec<Line<'static>>) {
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|row| row.into_iter().map(|(text, style)| (clean(&text), style)).collect())
        .collect();
    let widest = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|(text, _)| wide(text));
        cells.max().unwrap_or(0).min(width / 2).max(wide(columns[at].head))
    };
    let mut kept: Vec<(usize, usize)> = (0..columns.len()).map(|at| (at, widest(at))).collect();
    let all = |kept: &[(usize, usize)]| {
        kept.iter().map(|(_, wide)| wide + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while all(&kept) > width && kept.len() > 1 {
        let first = kept.iter().enumerate().max_by_key(|(_, (at, _))| columns[*at].goes);
        let Some((place, _)) = first else { break };
        kept.remove(place);
    }
    let line = |cells: &dyn Fn(usize) -> Cell| {
        let spans = kept.iter().flat_map(|(at, width)| {
            let (text, style) = cells(*at);
            let text = fitted(&text, *width);
            let gap = " ".repeat(width.saturating_sub(wide(&text)));
            let between = Span::raw(" ".repeat(GAP));
            match columns[*at].is_number {
                true => [Span::raw(gap), Span::styled(text, style), between],
                false => [Span::styled(text, style), Span::raw(gap), between],
            }
        });
        Line::from(spans.collect::<Vec<_>>())
    };
    let head = line(&|at| (columns[at].head.to_owned(), QUIET));
    let rows = rows.iter().map(|row| line(&|at| row.get(at).cloned().unwrap_or_default()));
    (head, rows.collect())
}

fn wide(text: &str) -> usize {
    Span::raw(text).width()
}

/// Names come from other programs; what a terminal would obey is no part of them.
pub(super) fn clean(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_odd(c) { '?' } else { c }).collect()
}

/// As much of a text as has room, with a mark where it is cut.
pub(super) fn fitted(text: &str, room: usize) -> String {
    let text = clean(text);
    if wide(&text) <= room {
        return text;
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if wide(&cut) + 1 > room {
            cut.pop();
            break;
        }
    }
    if room > 0 {
        cut.push('…');
    }
    cut
}

/// A sentence in as many lines as it takes.
pub(super) fn wrapped(sentence: &str, width: usize, style: Style) -> Vec<Line<'static>> {
    let mut lines = vec![String::new()];
    for word in clean(sentence).split(' ') {
        let room = width.saturating_sub(2).max(8);
        let last = lines.last_mut().map(std::mem::take).unwrap_or_default();
        let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
        match wide(&longer) <= room || last.is_empty() {
            true => {
                lines.pop();
                lines.push(fitted(&longer, room));
            }
            false => {
                lines.pop();
                lines.extend([last, fitted(word, room)]);
            }
        }
    }
    let first = |at: usize| if at == 0 { "" } else { "  " };
    lines
        .into_iter()
        .enumerate()
        .map(|(at, line)| Line::styled(format!("{}{line}", first(at)), style))
        .collect()
}

/// A rate; a small one with a tenth.
pub(super) fn rate(value: f64) -> String {
    match value < 100.0 {
        true => format!("{value:.1}"),
        false => grouped(value.round() as u64),
    }
}

pub(super) fn seconds(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{:.0} ms", value * 1e3),
        value if value < 60.0 => format!("{value:.1} s"),
        value if value < 3600.0 => format!("{:.0} min", value / 60.0),
        value => format!("{:.1} h", value / 3600.0),
    }
}

/// Time of day of milliseconds since 1970.
pub(super) fn clock(ms: u64) -> String {
    let of_day = ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { head: "name", is_number: false, goes: 0 },
        Column { head: "count", is_number: true, goes: 1 },
        Column { head: "note", is_number: false, goes: 2 },
    ];

    fn told(width: usize) -> Vec<String> {
        let row = |name: &str, count: &str| vec![plain(name), plain(count), plain("as expected")];
        let (head, rows) = table(&COLUMNS, vec![row("a", "1"), row("long name", "22")], width);
        let all = std::iter::once(head).chain(rows);
        all.map(|line| line.to_string().trim_end().to_owned()).collect()
    }

    #[test]
    fn columns_go_where_there_is_no_room_and_numbers_stand_right() {
        assert_eq!(
            told(40),
            [
                "name       count  note",
                "a              1  as expected",
                "long name     22  as expected"
            ]
        );
        assert_eq!(told(20), ["name       count", "a              1", "long name     22"]);
        assert_eq!(told(12), ["name", "a", "long …"]);
    }

    #[test]
    fn a_name_cannot_speak_to_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\n\u{202e}c"), "a?[2Jb???c");
        assert_eq!(fitted("abcdef", 4), "abc…");
        assert_eq!(fitted("中文字符", 5), "中文…");
        assert_eq!(fitted("abc", 0), "");
    }

    #[test]
    fn sentences_are_wrapped() {
        let lines = wrapped("one two three four", 12, Style::new());
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["one two", "  three four"]);
    }
}
