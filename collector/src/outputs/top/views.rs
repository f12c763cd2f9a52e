//! The lines of each view, the same as on the page.

use super::bars::{self, PHASE_COLORS};
use super::columns::{Cell, Column, plain, rate, seconds, table, wrapped};
use super::{BAD, DOUBT, GOOD, QUIET};
use crate::outputs::live::view::{Live, Rank, Second, Severity};
use crate::outputs::report::phase_order;
use crate::outputs::report::summary::LayoutView;
use crate::outputs::text::{grouped, size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

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

fn overview(live: &Live, width: usize) -> Vec<Line<'static>> {
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
        let connected = live.ranks.iter().filter(|rank| rank.state == "connected").count() as u64;
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

fn traffic(live: &Live, width: usize) -> Vec<Line<'static>> {
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

/// How a rank is, as on the page.
fn state(rank: &Rank) -> (String, Style) {
    let none = Style::new();
    let is_inside = |rank: &Rank| rank.inside.as_ref().is_some_and(|inside| inside.seconds >= 5.0);
    let stands =
        rank.behind > Some(0) && rank.behind_seconds.is_none() && rank.still_seconds >= 3.0;
    let (words, style) = match rank.state.as_str() {
        "disconnected" => ("gone", BAD),
        "connected" if is_inside(rank) => ("inside", BAD),
        "connected" if rank.silent_seconds >= 5.0 => ("silent", BAD),
        "connected" if stands => ("stopped", BAD),
        "connected" if rank.behind_seconds >= Some(0.25) => ("late", DOUBT),
        "connected" if rank.dropped > 0 => ("drops", DOUBT),
        "connected" if rank.still_seconds >= 3.0 => ("idle", none),
        "connected" => ("running", none),
        other => (other, QUIET),
    };
    (words.to_owned(), style)
}

fn place(live: &Live, rank: &Rank) -> String {
    let (Some(data), Some(stage), Some(tensor)) = (rank.data, rank.stage, rank.tensor) else {
        return String::new();
    };
    let sizes = match live.layouts.as_slice() {
        [one] => [one.data, one.pipeline, one.tensor],
        _ => [2; 3],
    };
    let parts = [("DP", data), ("PP", stage), ("TP", tensor)].into_iter().zip(sizes);
    let parts = parts.filter(|(_, size)| *size > 1).map(|((name, at), _)| format!("{name} {at}"));
    parts.collect::<Vec<_>>().join(" ")
}

fn ranks(live: &Live, order: Order, width: usize) -> Panel {
    const COLUMNS: [Column; 9] = [
        amount("rank", 0),
        name("place", 2),
        name("process", 5),
        name("state", 0),
        amount("op/s", 3),
        amount("bus/s", 1),
        amount("behind", 0),
        amount("last op", 4),
        name("inside", 6),
    ];
    let mut all: Vec<(usize, &Rank)> = live.ranks.iter().enumerate().collect();
    match order {
        Order::Number => {}
        Order::Behind => all.sort_by(|(_, a), (_, b)| {
            let late = |rank: &Rank| match (rank.behind_seconds, rank.behind) {
                (Some(seconds), _) => seconds,
                (None, Some(1..)) => f64::INFINITY,
                (None, _) => -1.0,
            };
            late(b).total_cmp(&late(a)).then(b.behind.cmp(&a.behind))
        }),
        Order::Busiest => {
            all.sort_by(|(_, a), (_, b)| b.volume.bus_rate.total_cmp(&a.volume.bus_rate));
        }
    }
    let rows = all.into_iter().map(|(number, rank)| {
        let behind = match (rank.behind, rank.behind_seconds) {
            (None, _) => "?".to_owned(),
            (Some(0), _) => "0".to_owned(),
            (Some(many), None) => format!("{}, stands", grouped(many)),
            (Some(many), Some(late)) => format!("{}, {}", grouped(many), seconds(late)),
        };
        let inside = rank.inside.as_ref().map(|inside| {
            let group = inside.group.as_deref().unwrap_or("?");
            format!("{} of {group}, {}", inside.function, seconds(inside.seconds))
        });
        let last = match rank.still_seconds {
            still if still < 1.5 => "now".to_owned(),
            still => seconds(still),
        };
        vec![
            plain(number.to_string()),
            plain(place(live, rank)),
            plain(format!("{} pid {}", rank.host, rank.pid)),
            state(rank),
            known(live, rate(rank.volume.operations_rate)),
            known(live, per_second(rank.volume.bus_rate)),
            plain(behind),
            plain(last),
            plain(inside.unwrap_or_default()),
        ]
    });
    let (head, mut lines) = table(&COLUMNS, rows.collect(), width);
    if live.ranks_left_out > 0 {
        let more = number(live.ranks_left_out, "more rank", "more ranks");
        lines.push(Line::styled(format!("and {more}, in the sums alone"), QUIET));
    }
    const GROUPS: [Column; 5] = [
        name("group", 0),
        name("for", 2),
        amount("ranks", 1),
        amount("collectives/s", 3),
        amount("furthest behind", 0),
    ];
    let groups = live.groups.iter().map(|group| {
        let unknown = group.behind == 0 && group.members.iter().any(|m| m.behind.is_none());
        vec![
            plain(group.name.as_str()),
            plain(group.role.as_deref().unwrap_or("?")),
            plain(format!("{} of {}", group.members.len(), group.ranks)),
            known(live, rate(group.rate)),
            plain(if unknown { "?".to_owned() } else { grouped(group.behind) }),
        ]
    });
    lines.extend(titled("Groups, by who is furthest behind", &GROUPS, groups.collect(), width));
    Panel { fixed: vec![head], lines }
}

fn peers(live: &Live, width: usize) -> Vec<Line<'static>> {
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

fn steps(live: &Live, width: usize) -> Vec<Line<'static>> {
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

fn coverage(live: &Live, width: usize) -> Vec<Line<'static>> {
    const PATHS: [Column; 4] =
        [name("path", 0), name("launched", 0), amount("op/s", 1), amount("operations", 0)];
    let seen = &live.coverage;
    let mut lines = Vec::new();
    for sentence in &live.missing {
        lines.extend(wrapped(&format!("!  {sentence}"), width, DOUBT));
    }
    if live.missing_left_out > 0 {
        lines.push(Line::styled(format!("and {} more", grouped(live.missing_left_out)), QUIET));
    } else if live.missing.is_empty() && live.accounting.made > 0 {
        lines.push(Line::styled("Nothing is missing, as far as nccltap can know.", GOOD));
    }
    let rows = seen.paths.iter().map(|path| {
        vec![
            plain(path.path.as_str()),
            plain(path.launch.as_str()),
            known(live, rate(path.rate)),
            plain(grouped(path.operations)),
        ]
    });
    lines.extend(titled("Paths that data took", &PATHS, rows.collect(), width));
    let marked = format!(
        "{} of {} mark their steps",
        seen.marked_workers,
        number(seen.engine_workers.into(), "engine worker", "engine workers")
    );
    lines.push(Line::styled(marked, QUIET));
    if let Some(share) = seen.unknown_share {
        let style = if share > 0.05 { DOUBT } else { QUIET };
        let percent = share * 100.0;
        lines.push(Line::styled(format!("{percent:.1} % of operations of unknown phase"), style));
    }
    let launches = &seen.launches;
    let graphs = format!(
        "graph launches: {} with operations, {} without, {} of unknown content",
        grouped(launches.with_operations),
        grouped(launches.without),
        grouped(launches.unknown)
    );
    lines.extend(wrapped(&graphs, width, QUIET));
    const LIBRARIES: [Column; 5] = [
        name("file", 0),
        amount("version", 2),
        amount("processes", 1),
        amount("by linkage table", 0),
        amount("by dlsym", 0),
    ];
    let rows = seen.libraries.iter().map(|library| {
        vec![
            plain(library.file.as_str()),
            plain(library.version.map_or_else(|| "?".to_owned(), |version| version.to_string())),
            plain(library.processes.to_string()),
            plain(library.plt.to_string()),
            plain(library.dlsym.to_string()),
        ]
    });
    lines.extend(titled("Libraries, and functions reached", &LIBRARIES, rows.collect(), width));
    const FATES: [Column; 3] = [name("calls", 0), amount("count", 0), name("", 1)];
    let sums = &live.accounting;
    let rows = [
        ("made", sums.made, "= the sum of the rest"),
        ("seen", sums.seen, "in the counts"),
        ("dropped", sums.dropped, "their ring was full"),
        ("unrecorded", sums.unrecorded, "no ring could be had"),
        ("before", sums.before, "another collector took them"),
        ("lost", sums.lost, "recorded, and never arrived"),
        ("pending", sums.pending, "still on their way"),
    ];
    let rows = rows.map(|(fate, count, meaning)| {
        let bad = count > 0 && matches!(fate, "dropped" | "unrecorded" | "lost");
        let style = if bad { DOUBT } else { Style::new() };
        vec![plain(fate), (grouped(count), style), (meaning.to_owned(), QUIET)]
    });
    lines.extend(titled("What became of every call", &FATES, rows.into(), width));
    lines
}

fn prediction(live: &Live, width: usize) -> Vec<Line<'static>> {
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
