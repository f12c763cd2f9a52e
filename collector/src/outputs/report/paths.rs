//! Which way the data took: NCCL, or a kernel beside it. And how much of what was predicted was seen on any way.

use super::compared::Compared;
use super::{STARTUP, collective, is_sender, phase_order};
use crate::outputs::rows::Row;
use nccltap_proto::Path;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one collective of one phase sent on one way, over all ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRow {
    /// The phase.
    pub phase: String,
    /// The collective.
    pub collective: String,
    /// The way.
    pub path: String,
    /// How many, each counted at each rank that sends.
    pub count: u64,
    /// Their message bytes, null where those of some are not known.
    pub message_bytes: Option<u64>,
}

/// The ways of the rows of view collectives. Start-up is not in it.
pub fn taken(rows: &[Row]) -> Vec<PathRow> {
    type Kind = (usize, String, String, String);
    let mut sums: BTreeMap<Kind, (u64, Option<u64>)> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.phase != STARTUP && is_sender(row) && row.count > 0) {
        let collective = collective(row).to_owned();
        let kind = (phase_order(&row.phase), row.phase.clone(), collective, row.path.clone());
        let (count, bytes) = sums.entry(kind).or_insert((0, Some(0)));
        *count = count.saturating_add(row.count);
        *bytes = bytes.zip(row.message_bytes).map(|(sum, more)| sum.saturating_add(more));
    }
    sums.into_iter()
        .map(|((_, phase, collective, path), (count, message_bytes))| PathRow {
            phase,
            collective,
            path,
            count,
            message_bytes,
        })
        .collect()
}

/// A sentence for each collective of each phase that went past NCCL, wholly or in part, or of which not as much was
/// seen as was predicted.
pub fn sentences(paths: &[PathRow], compared: Option<&Compared>) -> Vec<String> {
    let mut kinds: Vec<(&str, &str)> =
        paths.iter().map(|row| (row.phase.as_str(), row.collective.as_str())).collect();
    let cells = compared.map(|compared| compared.cells.as_slice()).unwrap_or_default();
    kinds.extend(cells.iter().map(|cell| (cell.phase.as_str(), cell.collective.as_str())));
    kinds.sort_by_key(|(phase, collective)| (phase_order(phase), *collective));
    kinds.dedup();
    let sentence = |(phase, collective): (&str, &str)| {
        // Where the run's phases are not known, both sides are summed over phases.
        let here =
            |row: &&PathRow| row.collective == collective && (row.phase == phase || phase == "all");
        let rows: Vec<&PathRow> = paths.iter().filter(here).collect();
        let cell =
            cells.iter().find(|cell| (&*cell.phase, &*cell.collective) == (phase, collective));
        let predicted = cell.map_or(0, |cell| cell.predicted_count);
        let seen = cell.map_or(0, |cell| cell.seen_count);
        if predicted > 0 && rows.is_empty() {
            return Some(format!("{collective} of {phase}: predicted, and not seen on any path"));
        }
        let past_nccl = rows.iter().any(|row| row.path != Path::Nccl.name());
        if !past_nccl && (predicted == 0 || predicted == seen) {
            return None;
        }
        let of_prediction = match predicted {
            0 => String::new(),
            _ => format!("{} of the predicted operations seen, ", percent(seen, predicted)),
        };
        Some(format!("{collective} of {phase}: {of_prediction}{}", shares(&rows)))
    };
    kinds.into_iter().filter_map(sentence).collect()
}

/// `92 % custom_all_reduce, 8 % nccl`: of the bytes, or of the operations where bytes are not known.
fn shares(rows: &[&PathRow]) -> String {
    let known = rows.iter().all(|row| row.message_bytes.is_some());
    let weight = |row: &PathRow| row.message_bytes.filter(|_| known).unwrap_or(row.count);
    let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        let sum = weights.entry(&row.path).or_default();
        *sum = sum.saturating_add(weight(row));
    }
    let all = weights.values().fold(0, |sum: u64, more| sum.saturating_add(*more));
    let mut weights: Vec<_> = weights.into_iter().collect();
    weights.sort_by_key(|(path, weight)| (std::cmp::Reverse(*weight), *path));
    let parts: Vec<String> =
        weights.iter().map(|(path, weight)| format!("{} {path}", percent(*weight, all))).collect();
    let of = if known { "message bytes" } else { "operations; bytes are not known of all" };
    format!("{} ({of})", parts.join(", "))
}

/// Whole where it is, and never 0 or 100 where it is not quite.
fn percent(part: u64, whole: u64) -> String {
    let share = part as f64 * 100.0 / whole.max(1) as f64;
    let rounded = share.round();
    let whole = (share - rounded).abs() < 1e-9 || (1.0..=99.0).contains(&share);
    if whole { format!("{rounded} %") } else { format!("{share:.2} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(phase: &str, path: &str, count: u64, bytes: Option<u64>) -> PathRow {
        let (phase, path) = (phase.to_owned(), path.to_owned());
        let collective = "AllReduce".to_owned();
        PathRow { phase, collective, path, count, message_bytes: bytes }
    }

    #[test]
    fn what_went_past_nccl_is_said_with_its_share() {
        let paths = [
            row("prefill", "nccl", 65, Some(900)),
            row("decode", "custom_all_reduce", 92, Some(92)),
            row("decode", "nccl", 8, Some(8)),
        ];
        assert_eq!(
            sentences(&paths, None),
            ["AllReduce of decode: 92 % custom_all_reduce, 8 % nccl (message bytes)"]
        );
    }

    #[test]
    fn where_bytes_are_not_known_operations_are_weighed() {
        let paths = [row("decode", "deepep_ll", 1, None), row("decode", "nccl", 3, Some(8))];
        let said = sentences(&paths, None);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("75 % nccl, 25 % deepep_ll (operations;"), "{said:?}");
    }

    #[test]
    fn a_run_that_never_left_nccl_needs_no_sentence() {
        assert_eq!(sentences(&[row("decode", "nccl", 3, Some(8))], None), [""; 0]);
    }

    #[test]
    fn what_is_not_quite_all_is_not_rounded_to_all() {
        assert_eq!((percent(9999, 10000), percent(1, 10000)), ("99.99 %".into(), "0.01 %".into()));
        assert_eq!((percent(3, 3), percent(2, 3)), ("100 %".into(), "67 %".into()));
    }
}
