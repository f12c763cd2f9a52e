//! Each rank: how it is, what it sends, and who is behind.

use super::{Order, Panel, amount, known, name, number, per_second, titled};
use crate::outputs::live::view::{Live, Rank, Severity};
use crate::outputs::text::grouped;
use crate::outputs::top::columns::{Cell, Column, plain, rate, seconds, table};
use crate::outputs::top::{BAD, DOUBT, QUIET};
use ratatui::style::Style;
use ratatui::text::Line;

/// How a rank is.
pub(super) fn state(rank: &Rank) -> Cell {
    let style = match rank.state.severity() {
        Some(Severity::Bad) => BAD,
        Some(Severity::Doubt) => DOUBT,
        None if rank.state.is_here() => Style::new(),
        None => QUIET,
    };
    (rank.state.name().to_owned(), style)
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

pub(super) fn ranks(live: &Live, order: Order, width: usize) -> Panel {
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
        Order::Behind => {
            let late = |rank: &Rank| rank.behind_seconds.unwrap_or(-1.0);
            all.sort_by(|(_, a), (_, b)| late(b).total_cmp(&late(a)).then(b.behind.cmp(&a.behind)));
        }
        Order::Busiest => {
            all.sort_by(|(_, a), (_, b)| b.volume.bus_rate.total_cmp(&a.volume.bus_rate));
        }
    }
    let rows = all.into_iter().map(|(number, rank)| {
        let behind = match (rank.behind, rank.behind_seconds) {
            (None, _) => "?".to_owned(),
            (Some(many), Some(late)) if late > 0.0 => {
                format!("{}, {}+", grouped(many), seconds(late))
            }
            (Some(many), _) => grouped(many),
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
