//! The lines of each view, the same as on the page.

mod coverage;
mod overview;
mod peers;
mod prediction;
mod ranks;
mod steps;
mod traffic;

use crate::outputs::live::view::{Live, Second};
use crate::outputs::report::phase_order;
use crate::outputs::report::summary::LayoutView;
use crate::outputs::text::{grouped, size};
use crate::outputs::top::QUIET;
use crate::outputs::top::bars::{self, PHASE_COLORS};
use crate::outputs::top::columns::{Cell, Column, plain, table};
use coverage::coverage;
use overview::overview;
use peers::peers;
use prediction::prediction;
use ranks::ranks;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use steps::steps;
use traffic::traffic;

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Overview,
    Traffic,
    Ranks,
    Peers,
    Steps,
    Coverage,
    Prediction,
}

/// How ranks are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Number,
    Behind,
    Busiest,
}

impl Order {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Number => Self::Behind,
            Self::Behind => Self::Busiest,
            Self::Busiest => Self::Number,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Number => "by rank",
            Self::Behind => "latest first",
            Self::Busiest => "busiest first",
        }
    }
}

/// Lines that stay, and lines below that scroll.
#[derive(Debug, Default)]
pub(super) struct Panel {
    pub(super) fixed: Vec<Line<'static>>,
    pub(super) lines: Vec<Line<'static>>,
}

impl Panel {
    pub(super) fn of(lines: Vec<Line<'static>>) -> Self {
        Self { fixed: Vec::new(), lines }
    }
}

impl View {
    pub(super) const ALL: [Self; 7] = [
        Self::Overview,
        Self::Traffic,
        Self::Ranks,
        Self::Peers,
        Self::Steps,
        Self::Coverage,
        Self::Prediction,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Traffic => "Traffic",
            Self::Ranks => "Ranks",
            Self::Peers => "Peers",
            Self::Steps => "Steps",
            Self::Coverage => "Coverage",
            Self::Prediction => "Prediction",
        }
    }

    /// The view so many further on.
    pub(super) fn beside(self, by: usize) -> Self {
        Self::ALL.get((self as usize + by) % Self::ALL.len()).copied().unwrap_or_default()
    }

    pub(super) fn panel(self, live: &Live, order: Order, width: usize) -> Panel {
        match self {
            Self::Overview => Panel::of(overview(live, width)),
            Self::Traffic => Panel::of(traffic(live, width)),
            Self::Ranks => ranks(live, order, width),
            Self::Peers => Panel::of(peers(live, width)),
            Self::Steps => Panel::of(steps(live, width)),
            Self::Coverage => Panel::of(coverage(live, width)),
            Self::Prediction => Panel::of(prediction(live, width)),
        }
    }
}

/// Jobs, layout, ranks and hosts.
pub(super) fn subject(live: &Live) -> String {
    let all = live.ranks.len() as u64 + live.ranks_left_out;
    let ranks = match (all, live.hosts, live.ranks.first()) {
        (0, ..) => "no rank has called NCCL yet".to_owned(),
        (_, 1, Some(first)) => format!("{} on {}", number(all, "rank", "ranks"), first.host),
        (_, hosts, _) => format!("{} on {hosts} hosts", number(all, "rank", "ranks")),
    };
    let layouts = live.layouts.iter().map(layout).collect::<Vec<_>>().join(", ");
    let parts = [live.jobs.join(", "), layouts, ranks];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

fn layout(layout: &LayoutView) -> String {
    let LayoutView { tensor, pipeline, data, expert, .. } = *layout;
    let sizes = [("TP", tensor), ("PP", pipeline), ("DP", data), ("EP", expert)];
    let sizes = sizes.into_iter().filter(|(_, size)| *size > 1);
    let words: Vec<String> = sizes.map(|(name, size)| format!("{name} {size}")).collect();
    if words.is_empty() { "1 rank".to_owned() } else { words.join(" × ") }
}

fn number(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

fn per_second(bytes: f64) -> String {
    format!("{}/s", size(bytes.max(0.0) as u64))
}

fn phase(name: &str) -> Cell {
    let color = PHASE_COLORS.get(phase_order(name)).copied();
    (name.to_owned(), Style::new().fg(color.unwrap_or_default()))
}

/// A dash before there are rates.
fn known(live: &Live, text: String) -> Cell {
    plain(if live.window_seconds > 0.0 { text } else { "-".to_owned() })
}

fn titled(
    title: &str,
    columns: &[Column],
    rows: Vec<Vec<Cell>>,
    width: usize,
) -> Vec<Line<'static>> {
    let mut lines = vec![Line::raw(""), Line::styled(title.to_owned(), Style::new().bold())];
    if rows.is_empty() {
        lines.push(Line::styled("nothing yet", QUIET));
        return lines;
    }
    let (head, rows) = table(columns, rows, width);
    lines.push(head);
    lines.extend(rows);
    lines
}

const fn name(head: &'static str, goes: u8) -> Column {
    Column { head, is_number: false, goes }
}

const fn amount(head: &'static str, goes: u8) -> Column {
    Column { head, is_number: true, goes }
}

fn chart(
    title: &str,
    live: &Live,
    of: impl Fn(&Second) -> [u64; 5],
    width: usize,
    height: usize,
    words: impl Fn(u64) -> String,
) -> Vec<Line<'static>> {
    let (columns, most) = bars::columns(&live.recent, of, live.second, width.min(300), height);
    let mut title = vec![Span::styled(title.to_owned(), Style::new().bold())];
    title.push(Span::styled(format!(", up to {}  ", words(most)), QUIET));
    let phases = crate::outputs::report::PHASES.iter().zip(PHASE_COLORS);
    title.extend(
        phases.map(|(name, color)| Span::styled(format!("{name} "), Style::new().fg(color))),
    );
    let mut lines = vec![Line::raw(""), Line::from(title)];
    lines.extend(columns);
    lines
}
