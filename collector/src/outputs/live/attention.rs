//! What stands out, in sentences: the first thing that page and terminal say.

use super::view::{Attention, Live, Rank, Severity};
use crate::outputs::text::grouped;

/// Seconds without a report, of a tap that reports every second.
const SILENT: f64 = 5.0;
/// Seconds without any operation, of a rank that is behind its group.
const STUCK: f64 = 3.0;
/// Seconds inside one call.
const INSIDE: f64 = 5.0;
/// Seconds that a rank is behind the others. Looks and reports differ by a few hundredths.
const LATE: f64 = 0.25;
/// Share of operations whose phase is not known.
const UNKNOWN: f64 = 0.05;
/// Seen / predicted may be off by a step under way; a hundredth is more than that once it runs.
const OFF: f64 = 0.01;
/// Operations below which a step under way may be a hundredth.
const FEW: u64 = 10_000;

/// Sentences of one kind name so many groups of ranks; the rest are counted.
const NAMED: usize = 8;

/// What somebody should look at, worst first.
pub(super) fn attention(live: &Live, ranks: &[Rank]) -> Vec<Attention> {
    let mut all = Vec::new();
    let mut say = |severity, view: &str, sentence: String| {
        all.push(Attention { severity, sentence, view: view.to_owned() });
    };
    let ranks = || (0u32..).zip(ranks);
    let gone: Vec<u32> =
        ranks().filter(|(_, rank)| rank.state == "disconnected").map(|(n, _)| n).collect();
    if !gone.is_empty() {
        say(Severity::Bad, "ranks", format!("{} left without a Goodbye.", named(&gone)));
    }
    let silent = |rank: &Rank| rank.state == "connected" && rank.silent_seconds >= SILENT;
    let quiet: Vec<u32> = ranks().filter(|(_, rank)| silent(rank)).map(|(n, _)| n).collect();
    if !quiet.is_empty() {
        let least = ranks().filter(|(_, rank)| silent(rank)).map(|(_, rank)| rank.silent_seconds);
        let least = least.fold(f64::INFINITY, f64::min);
        let sentence =
            format!("{}: no report for {least:.0} s, of one each second.", named(&quiet));
        say(Severity::Bad, "ranks", sentence);
    }
    let held = ranks().filter_map(|(number, rank)| {
        let inside = rank.inside.as_ref().filter(|inside| inside.seconds >= INSIDE)?;
        Some((number, inside))
    });
    let held: Vec<_> = held.collect();
    for (number, inside) in held.iter().take(NAMED) {
        let group = inside.group.as_ref().map(|group| format!(" of {group}")).unwrap_or_default();
        say(
            Severity::Bad,
            "ranks",
            format!(
                "Rank {number} has been inside {}{group} for {:.0} s.",
                inside.function, inside.seconds
            ),
        );
    }
    if held.len() > NAMED {
        let more = held.len() - NAMED;
        say(Severity::Bad, "ranks", format!("{more} more ranks are inside calls of NCCL."));
    }
    let is_stuck = |rank: &Rank| {
        rank.behind > Some(0)
            && rank.behind_seconds.is_none()
            && rank.still_seconds >= STUCK
            && rank.state == "connected"
    };
    let stuck: Vec<u32> = ranks().filter(|(_, rank)| is_stuck(rank)).map(|(n, _)| n).collect();
    if !stuck.is_empty() {
        let sentence = format!("{} stopped before the others of a group did.", named(&stuck));
        say(Severity::Bad, "ranks", sentence);
    }
    let late = |rank: &Rank| rank.behind_seconds.filter(|seconds| *seconds >= LATE);
    let slow: Vec<u32> = ranks().filter(|(_, r)| late(r).is_some()).map(|(n, _)| n).collect();
    if !slow.is_empty() {
        let most = ranks().filter_map(|(_, rank)| late(rank)).fold(0.0, f64::max);
        let sentence =
            format!("{} behind the others of a group, by up to {most:.1} s.", named(&slow));
        say(Severity::Doubt, "ranks", sentence);
    }
    numbers(live, &mut say);
    all.sort_by_key(|one| one.severity);
    all
}

/// What makes the numbers less than the whole truth.
fn numbers(live: &Live, say: &mut impl FnMut(Severity, &str, String)) {
    let sums = &live.accounting;
    let dropped = sums.dropped + sums.unrecorded + sums.lost;
    if dropped > 0 {
        let share = dropped as f64 * 100.0 / sums.made.max(1) as f64;
        let calls = grouped(dropped);
        let sentence = format!("{calls} calls are in no count, {share:.2} % of those made.");
        say(Severity::Doubt, "coverage", sentence);
    }
    if !sums.balanced {
        let sentence =
            "The counts do not agree with the positions of the records: a defect of nccltap.";
        say(Severity::Doubt, "coverage", sentence.to_owned());
    }
    if let Some(share) = live.coverage.unknown_share.filter(|share| *share > UNKNOWN) {
        let percent = share * 100.0;
        let sentence = format!(
            "Of {percent:.0} % of the operations it is not known whether they serve prefill or decode."
        );
        say(Severity::Doubt, "coverage", sentence);
    }
    let launches = live.coverage.launches.unknown;
    if launches > 0 {
        let launches = grouped(launches);
        let sentence = format!("{launches} launches of graphs carried out what is in no count.");
        say(Severity::Doubt, "coverage", sentence);
    }
    let expected: u32 = live.layouts.iter().map(|l| l.tensor * l.pipeline * l.data).sum();
    let workers: u32 = live.layouts.iter().map(|layout| layout.workers).sum();
    if expected != workers {
        let sentence = format!("The layout has {expected} ranks, and {workers} of them were seen.");
        say(Severity::Doubt, "ranks", sentence);
    }
    for row in live.prediction.iter().flatten() {
        let off = match row.furthest {
            Some(ratio) => (ratio - 1.0).abs() > OFF && row.predicted > FEW,
            None => row.seen > 0,
        };
        if off {
            let what = format!("{} of {}", row.op, row.phase);
            let sentence = match row.furthest {
                Some(ratio) => {
                    format!("{what}: {ratio:.3} of what the model predicts, at one rank.")
                }
                None => format!("{what}: seen, and the model has none."),
            };
            say(Severity::Doubt, "prediction", sentence);
        }
    }
}

/// `Rank 3`, `Ranks 0-3, 7`.
fn named(numbers: &[u32]) -> String {
    let runs: Vec<&[u32]> = numbers.chunk_by(|a, b| a + 1 == *b).collect();
    let words = runs.iter().take(NAMED).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run.iter().map(u32::to_string).collect(),
    });
    let mut text = words.collect::<Vec<_>>().join(", ");
    let more: usize = runs.iter().skip(NAMED).map(|run| run.len()).sum();
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    match numbers.len() {
        1 => format!("Rank {text}"),
        _ => format!("Ranks {text}"),
    }
}
