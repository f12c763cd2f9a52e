//! What is seen, and by which doors; what is not.

use super::{amount, known, name, number, titled};
use crate::outputs::live::view::Live;
use crate::outputs::text::grouped;
use crate::outputs::top::columns::{Column, plain, rate, wrapped};
use crate::outputs::top::{DOUBT, GOOD, QUIET};
use ratatui::style::Style;
use ratatui::text::Line;

pub(super) fn coverage(live: &Live, width: usize) -> Vec<Line<'static>> {
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
    for way in &seen.ways {
        lines.extend(wrapped(way, width, Style::new()));
    }
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
