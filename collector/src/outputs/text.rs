//! Reports for people.

use super::backends::differences;
use super::processes::{Overview, ProcessView};
use super::rows::{Row, View};
use crate::process::Life;
use nccltap_proto::Function;
use nccltap_proto::record::UNWOUND;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Rows and accounting as a text of at most a few columns, with every warning there is reason for.
pub fn report(rows: &[Row], overview: &Overview, view: View) -> String {
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str("Counts and bytes are those of one rank.\n\n");
    }
    let mut groups: BTreeMap<(bool, Option<&str>), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let group = row.group.as_deref();
        groups.entry((group.is_none(), group)).or_default().push(row);
    }
    for rows in groups.values() {
        write_group(&mut text, rows, view);
    }
    text + &accounts(overview)
}

/// Engine steps and accounting of each process.
pub fn processes(overview: &Overview) -> String {
    let mut text = String::new();
    let with_steps: Vec<_> = overview.processes.iter().filter(|p| !p.steps.is_empty()).collect();
    let cells = with_steps.iter().flat_map(|process| {
        process.steps.iter().map(|steps| {
            [
                name(process),
                steps.phase.clone(),
                steps.phase_source.clone().unwrap_or_default(),
                grouped(steps.count),
                grouped(steps.prefill_tokens),
                grouped(steps.decode_tokens),
            ]
        })
    });
    if !with_steps.is_empty() {
        let head = ["process", "phase", "known by", "steps", "prefill tokens", "decode tokens"];
        write_table(&mut text, head, &[false, false, false, true, true, true], cells.collect());
        text.push('\n');
    }
    text + &accounts(overview)
}

/// Where the calls of each process have gone, with every warning there is reason for.
fn accounts(overview: &Overview) -> String {
    let mut text = String::new();
    if overview.processes.is_empty() {
        text.push_str("No process has called NCCL under the tap.\n");
    }
    write_processes(&mut text, overview);
    for warning in warnings(overview) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn write_group(text: &mut String, rows: &[&Row], view: View) {
    let Some(first) = rows.first() else { return };
    let _ = match (&first.group, first.ranks_in_group) {
        (Some(group), Some(ranks)) => writeln!(text, "group {group}, {ranks} ranks"),
        (Some(group), None) => writeln!(text, "group {group}, size not known"),
        (None, _) => writeln!(text, "communicators that the tap never saw made"),
    };
    let what = match view {
        View::Operations => "op",
        View::Collectives => "collective",
    };
    let head =
        [what, "elements", "dtype", "peer", "launch", "phase", "count", "message", "bus", "ranks"];
    const RIGHT: [bool; 10] = [false, true, false, true, false, false, true, true, true, false];
    // Ranks that did the same stand in one line.
    let mut lines: Vec<([String; 9], Vec<&Row>)> = Vec::new();
    let mut index: HashMap<[String; 9], usize> = HashMap::new();
    for row in rows {
        let line = line(row);
        let at = *index.entry(line.clone()).or_insert(lines.len());
        match lines.get_mut(at) {
            Some((_, ranks)) => ranks.push(row),
            None => lines.push((line, vec![row])),
        }
    }
    let cells = lines.into_iter().map(|(line, rows)| {
        let [what, elements, dtype, peer, launch, phase, count, message, bus] = line;
        let ranks = ranks(&rows);
        [what, elements, dtype, peer, launch, phase, count, message, bus, ranks]
    });
    write_table(text, head, &RIGHT, cells.collect());
    text.push('\n');
}

/// The cells of a row but its rank.
fn line(row: &Row) -> [String; 9] {
    let unknown = || "?".to_owned();
    [
        row.op.clone().or_else(|| row.collective.clone()).unwrap_or_default(),
        match (row.elements, row.elements_up_to) {
            (Some(elements), _) => elements.to_string(),
            (None, Some(bound)) => format!("<= {bound}"),
            (None, None) => String::new(),
        },
        row.dtype.clone().unwrap_or_else(unknown),
        row.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        row.launch.clone(),
        row.phase.clone(),
        format!("{}{}", if row.at_least { ">= " } else { "" }, grouped(row.count)),
        row.message_bytes.map_or_else(unknown, size),
        row.bus_bytes.map_or_else(unknown, size),
    ]
}

/// Who did it: ranks, or processes where ranks are not known.
fn ranks(rows: &[&Row]) -> String {
    let mut known: Vec<i32> = rows.iter().filter_map(|row| row.rank).collect();
    if known.len() < rows.len() {
        let pids: Vec<_> = rows.iter().map(|row| format!("pid {}", row.pid)).collect();
        return pids.join(" ");
    }
    known.sort_unstable();
    known.dedup();
    let mut text = String::new();
    for run in known.chunk_by(|a, b| a + 1 == *b) {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = match run {
            [] => Ok(()),
            [one] => write!(text, "{comma}{one}"),
            [first, .., last] => write!(text, "{comma}{first}-{last}"),
        };
    }
    text
}

/// Writes columns as wide as their widest cell, numbers to the right.
pub(crate) fn write_table<const N: usize>(
    text: &mut String,
    head: [&str; N],
    right: &[bool; N],
    cells: Vec<[String; N]>,
) {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |row: [&str; N]| {
        let mut line = String::from(" ");
        for ((cell, width), right) in row.iter().zip(widths).zip(right) {
            let _ = match right {
                true => write!(line, " {cell:>width$}"),
                false => write!(line, " {cell:<width$}"),
            };
            line.push(' ');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(head);
    for row in &cells {
        line(std::array::from_fn(|at| row[at].as_str()));
    }
}

fn write_processes(text: &mut String, overview: &Overview) {
    for process in &overview.processes {
        let _ = writeln!(text, "{}{}: {}", name(process), places(process), accounting(process));
    }
    if overview.departed_processes > 0 {
        let sums = &overview.departed_accounting;
        let _ = writeln!(
            text,
            "{} processes that made room for others: made {}, seen {}; their operations are not \
             in the tables",
            overview.departed_processes,
            grouped(sums.made),
            grouped(sums.seen)
        );
    }
}

/// The ranks a process has, by group; of many groups the first few.
fn places(process: &ProcessView) -> String {
    const SHOWN: usize = 4;
    let known = process.communicators.iter().filter_map(|communicator| {
        let (rank, group) = (communicator.rank?, communicator.group.as_ref()?);
        Some(format!("rank {rank} of {group}"))
    });
    let known: Vec<String> = known.collect();
    match known.len() {
        0 => String::new(),
        many if many > SHOWN => {
            format!(" ({} and {} more)", known[..SHOWN].join(", "), many - SHOWN)
        }
        _ => format!(" ({})", known.join(", ")),
    }
}

fn name(process: &ProcessView) -> String {
    format!("{} pid {}", process.host, process.pid)
}

/// `made = seen + dropped`, and whatever else took calls away.
fn accounting(process: &ProcessView) -> String {
    let sums = &process.accounting;
    let mut text = format!(
        "made {} = seen {} + dropped {}",
        grouped(sums.made),
        grouped(sums.seen),
        grouped(sums.dropped)
    );
    for (what, count) in [
        ("not recorded", sums.unrecorded),
        ("before this collector", sums.before),
        ("lost", sums.lost),
        ("pending", sums.pending),
    ] {
        if count > 0 {
            let _ = write!(text, " + {what} {}", grouped(count));
        }
    }
    let _ = write!(text, "; {} operations", grouped(sums.operations));
    for (what, count) in [
        ("of them in graph launches", sums.graph_operations),
        ("captured", sums.captured_operations),
        ("refused by NCCL", sums.failed_operations),
        ("simulated", sums.simulated_operations),
        ("waiting for the end of their group", sums.held_operations),
    ] {
        if count > 0 {
            let _ = write!(text, ", {} {what}", grouped(count));
        }
    }
    text
}

/// Everything that makes the tables less than the whole truth.
pub(crate) fn warnings(overview: &Overview) -> Vec<String> {
    let mut all = Vec::new();
    for process in &overview.processes {
        let who = name(process);
        let sums = &process.accounting;
        if !sums.balanced {
            all.push(format!(
                "{who}: the counts do not agree with the positions of the records; this is a \
                 defect of nccltap"
            ));
        }
        let uncounted = sums.dropped + sums.unrecorded;
        if uncounted > 0 {
            all.push(format!(
                "{who}: made but in no count: {}; a larger NCCLTAP_RING_RECORDS gives the \
                 collector more time",
                grouped(uncounted)
            ));
        }
        if sums.before > 0 {
            let before = grouped(sums.before);
            all.push(format!(
                "{who}: taken by another collector before, and not in here: {before}"
            ));
        }
        if sums.lost > 0 {
            all.push(format!("{who}: recorded, and never arrived: {}", grouped(sums.lost)));
        }
        if process.life == Life::Running && !process.connected {
            all.push(format!("{who}: it said no Goodbye, and nothing was heard of it since"));
        }
        for call in &process.in_flight {
            let function = call.function.as_deref().unwrap_or("an unknown function");
            let since = call.seconds.map(|s| format!(" for {s:.1} s")).unwrap_or_default();
            all.push(match process.life {
                Life::Running => format!("{who}: {function} has not come back{since}"),
                Life::Ended => format!("{who}: it ended inside {function}"),
                Life::Recovered => format!("{who}: it died inside {function}"),
            });
        }
        let launches = &process.launches;
        if launches.unknown > 0 {
            all.push(format!(
                "{who}: graphs were launched of which it is not known what they carry out, and that is \
                 in no count: {} launches",
                grouped(launches.unknown)
            ));
        }
        if let Some(calls) = process.calls.get(Function::ncclDevCommCreate.name()) {
            all.push(format!(
                "{who}: kernels of its own may send by NCCL's device API ({} calls of {}), and nobody sees \
                 what they send",
                grouped(*calls),
                Function::ncclDevCommCreate.name()
            ));
        }
        for (op, count) in &process.conditional {
            all.push(format!(
                "{who}: {op} in conditional nodes of graphs may have run any number of times, and is \
                 counted as not run: {} of them launched",
                grouped(*count)
            ));
        }
        for failed in &process.failed {
            let (function, name) = (&failed.function, &failed.name);
            let count = grouped(failed.count);
            all.push(match failed.result {
                UNWOUND => format!(
                    "{who}: {function} was left by an exception or the end of its thread: {count}"
                ),
                _ => format!("{who}: {function} was refused with {name}: {count}"),
            });
        }
        for setting in &process.settings_problems {
            let (name, value, problem) = (&setting.name, &setting.value, &setting.problem);
            all.push(format!("{who}: {name}: {problem} (`{value}` is in force)"));
        }
        for (fault, count) in &process.faults {
            all.push(format!("{who}: the tap stepped around {fault}: {}", grouped(*count)));
        }
    }
    all.extend(differences(overview));
    if let Some(recording) = &overview.recording
        && let Some(why) = &recording.stopped
    {
        all.push(format!("the recording {} has stopped: {why}", recording.path.display()));
    }
    if overview.entries_left_out > 0 {
        let first = overview.first_left_out.as_deref().unwrap_or("?");
        let count = grouped(overview.entries_left_out);
        all.push(format!(
            "entries of the recording that are left out: {count}; the first, since {first}"
        ));
    }
    all.extend(overview.recording_tail.clone());
    for (why, count) in &overview.refused {
        all.push(format!("peers refused ({why}): {}", grouped(*count)));
    }
    all
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a unit, to four digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.2} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1 << 30, "1.00 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
