//! What an engine says of its all-reduce backends beside what was seen of them, and where the two differ.

use super::processes::Overview;
use super::text::grouped;
use crate::backends::{Calls, Testimony};
use crate::process::Process;
use nccltap_proto::Backend;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A backend of one process, by both witnesses: calls of the host as they stood when the engine spoke last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    /// The backend, by vLLM's word.
    pub backend: String,
    /// What the engine says it gave to it.
    pub said: Calls,
    /// What was seen on its paths.
    pub seen: Calls,
    /// Whether both are the same. `None` where calls of the process were lost.
    pub agrees: Option<bool>,
}

/// A backend, summed over processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRow {
    /// The backend, by vLLM's word.
    pub backend: String,
    /// The paths of its all-reduces.
    pub paths: Vec<String>,
    /// What the engines say they gave to it.
    pub said: Calls,
    /// What was seen.
    pub seen: Calls,
    /// Calls that an engine speaks of and that were not seen, of processes of which no call was lost.
    pub not_seen: u64,
    /// Calls that were seen and that their engine does not speak of, likewise.
    pub not_said: u64,
    /// Whether calls agree in each of these processes, and bytes do not.
    pub bytes_differ: bool,
    /// Processes of which calls were lost, so that the two cannot be held against each other.
    pub processes_not_compared: u64,
}

/// The backends of a process. None where its engine does not speak of them.
pub fn of(process: &Process) -> Vec<BackendView> {
    let sums = process.accounting();
    let complete = sums.dropped + sums.unrecorded + sums.before + sums.lost == 0;
    let view = |one: Testimony| BackendView {
        backend: one.backend.name().to_owned(),
        said: one.said,
        seen: one.seen,
        agrees: complete.then(|| one.agrees()),
    };
    process.backends().testimonies().map(view).collect()
}

/// The backends of all processes.
pub fn of_all(overview: &Overview) -> Vec<BackendRow> {
    sums(overview.processes.iter().flat_map(|process| &process.backends))
}

fn sums<'a>(views: impl Iterator<Item = &'a BackendView>) -> Vec<BackendRow> {
    let mut rows: BTreeMap<&str, BackendRow> = BTreeMap::new();
    for view in views {
        let row = rows.entry(&view.backend).or_insert_with(|| empty(&view.backend));
        row.said.add(view.said);
        row.seen.add(view.seen);
        let (said, seen) = (view.said.calls, view.seen.calls);
        match view.agrees {
            None => row.processes_not_compared += 1,
            Some(agrees) => {
                row.not_seen = row.not_seen.saturating_add(said.saturating_sub(seen));
                row.not_said = row.not_said.saturating_add(seen.saturating_sub(said));
                row.bytes_differ |= !agrees && said == seen;
            }
        }
    }
    let order = |row: &BackendRow| known(&row.backend).map_or(u32::MAX, Backend::id);
    let mut rows: Vec<BackendRow> = rows.into_values().collect();
    rows.sort_by_key(order);
    rows
}

fn known(name: &str) -> Option<Backend> {
    Backend::ALL.into_iter().find(|backend| backend.name() == name)
}

fn empty(backend: &str) -> BackendRow {
    let none = Calls { calls: 0, message_bytes: Some(0) };
    let paths = known(backend).map(Backend::paths).unwrap_or_default();
    BackendRow {
        backend: backend.to_owned(),
        paths: paths.iter().map(|path| path.name().to_owned()).collect(),
        said: none,
        seen: none,
        not_seen: 0,
        not_said: 0,
        bytes_differ: false,
        processes_not_compared: 0,
    }
}

/// A sentence for each way in which engines and tap differ.
pub(crate) fn differences(overview: &Overview) -> Vec<String> {
    let not_known = overview.processes.iter().map(|process| process.backends_not_known).sum();
    sentences(&of_all(overview), not_known)
}

fn sentences(rows: &[BackendRow], not_known: u64) -> Vec<String> {
    let mut all = Vec::new();
    for row in rows {
        let BackendRow { backend, said, not_seen, not_said, .. } = row;
        if *not_seen > 0 {
            all.push(format!(
                "of {} all-reduces that the engine says it gave to {backend}, {} were not seen on its path",
                grouped(said.calls),
                grouped(*not_seen)
            ));
        }
        if *not_said > 0 {
            all.push(format!(
                "{} all-reduces were seen on the path of {backend} that the engine does not speak of",
                grouped(*not_said)
            ));
        }
        if row.bytes_differ {
            let bytes = |calls: &Calls| calls.message_bytes.map_or_else(|| "?".to_owned(), grouped);
            all.push(format!(
                "all-reduces of {backend} have {} message bytes as the engine says, and {} as seen",
                bytes(said),
                bytes(&row.seen)
            ));
        }
    }
    if not_known > 0 {
        all.push(format!(
            "the engine says it gave {} all-reduces to backends that this version of nccltap does not know",
            grouped(not_known)
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(calls: u64, bytes: u64) -> Calls {
        Calls { calls, message_bytes: Some(bytes) }
    }

    fn process(said: Calls, seen: Calls, agrees: Option<bool>) -> BackendView {
        BackendView { backend: "custom".to_owned(), said, seen, agrees }
    }

    fn of_processes(views: &[BackendView]) -> (Vec<BackendRow>, Vec<String>) {
        let rows = sums(views.iter());
        let said = sentences(&rows, 0);
        (rows, said)
    }

    #[test]
    fn witnesses_that_agree_need_no_sentence() {
        let one = calls(65, 65 * 8192);
        let (rows, said) =
            of_processes(&[process(one, one, Some(true)), process(one, one, Some(true))]);
        assert_eq!(said, [""; 0]);
        assert_eq!(
            (rows.len(), rows[0].said, rows[0].seen.calls),
            (1, calls(130, 130 * 8192), 130)
        );
        assert_eq!(rows[0].paths, ["custom_all_reduce"]);
    }

    #[test]
    fn differences_of_two_processes_do_not_cancel_out() {
        let (more, less) = (calls(2, 32), calls(1, 16));
        let both = [process(more, less, Some(false)), process(less, more, Some(false))];
        let (rows, said) = of_processes(&both);
        assert_eq!((rows[0].not_seen, rows[0].not_said), (1, 1));
        assert_eq!(
            said,
            [
                "of 3 all-reduces that the engine says it gave to custom, 1 were not seen on its path",
                "1 all-reduces were seen on the path of custom that the engine does not speak of"
            ]
        );
    }

    #[test]
    fn bytes_that_differ_are_said_where_calls_agree() {
        let (_, said) = of_processes(&[process(calls(1, 32), calls(1, 16), Some(false))]);
        assert_eq!(
            said,
            ["all-reduces of custom have 32 message bytes as the engine says, and 16 as seen"]
        );
    }

    #[test]
    fn where_calls_were_lost_nothing_is_held_against_anything() {
        let (rows, said) = of_processes(&[process(calls(9, 9), calls(1, 1), None)]);
        assert_eq!((said.len(), rows[0].processes_not_compared, rows[0].not_seen), (0, 1, 0));
    }

    #[test]
    fn a_backend_that_is_not_known_is_said() {
        let said = sentences(&[], 5);
        assert!(said[0].contains("5 all-reduces to backends that this version"), "{said:?}");
    }
}
