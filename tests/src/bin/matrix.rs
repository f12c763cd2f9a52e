//! Unmodified engines on simulated GPUs: does the report equal the simulator's own account?
//!
//! ```text
//! cargo run --release -p nccltap-tests --bin matrix list
//! cargo run --release -p nccltap-tests --bin matrix [ROW...]       the row, or those whose names contain ROW; all
//! cargo run --release -p nccltap-tests --bin matrix served64       64 requests at once by HTTP, of random lengths
//! cargo run --release -p nccltap-tests --bin matrix check [ROW...] rows that were run last, against `nccltap check` again
//! cargo run --release -p nccltap-tests --bin matrix paper          Tables III to VI, cell by cell
//! cargo run --release -p nccltap-tests --bin matrix paper kept     the same, from the rows run last
//! cargo run --release -p nccltap-tests --bin matrix stopped        one rank is stopped, the other waits for it
//! cargo run --release -p nccltap-tests --bin matrix table          what came of the rows run last
//! ```
//! Engines come from `nccltap rehearse install`. What rows write lies in
//! `target/nccltap-tests/matrix/ROW`. With `NCCLTAP_BLESS=1`, `table` writes docs/rehearsal.md.
#![forbid(unsafe_code)]

use nccltap_tests::Tally;
use nccltap_tests::artifacts::workshop;
use nccltap_tests::matrix::paper;
use nccltap_tests::matrix::prediction;
use nccltap_tests::matrix::rows::{ROWS, Row};
use nccltap_tests::matrix::run::run;
use nccltap_tests::matrix::stopped;
use nccltap_tests::matrix::table::{markdown, replaced};
use nccltap_tests::matrix::verdict::Verdict;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let first = arguments.first().map(String::as_str);
    let well = match first {
        Some("list") => {
            ROWS.iter().for_each(|row| println!("{}", row.name()));
            true
        }
        Some("paper") => compare_with_paper(arguments.get(1).is_some_and(|word| word == "kept")),
        Some("stopped") => stopped_rank(),
        Some("check") => check(&arguments[1..]),
        Some("table") => table(),
        _ => run_rows(&arguments),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn folder(row: &str) -> PathBuf {
    workshop().join("matrix").join(row)
}

/// The rows whose names contain one of `wanted`; that of exactly that name, where there is one.
fn chosen(wanted: &[String]) -> Vec<&'static Row> {
    let whole = |part: &String| ROWS.iter().any(|row| row.name() == *part);
    let chosen = |row: &&Row| {
        let name = row.name();
        let is_meant = |part: &String| name == *part || (!whole(part) && name.contains(part));
        wanted.is_empty() || wanted.iter().any(is_meant)
    };
    let rows: Vec<&Row> = ROWS.iter().filter(chosen).collect();
    if rows.is_empty() {
        eprintln!("no row is called so; `matrix list` has their names");
    }
    rows
}

fn run_rows(wanted: &[String]) -> bool {
    let rows = chosen(wanted);
    let verdicts: Vec<Verdict> = rows.into_iter().map(|row| run_row(row).0).collect();
    let equal = verdicts.iter().filter(|verdict| verdict.is_equal()).count();
    println!("{equal} of {} rows equal", verdicts.len());
    !verdicts.is_empty() && equal == verdicts.len() && verdicts.iter().all(Verdict::is_as_predicted)
}

/// Rows that were run last, held against their prediction anew.
fn check(wanted: &[String]) -> bool {
    let mut well = true;
    for row in chosen(wanted) {
        let Some(verdict) = kept_verdict(row).filter(Verdict::is_equal) else { continue };
        let verdict = verdict.beside(prediction::check(row, &folder(&row.name())));
        say_prediction(&verdict);
        well &= verdict.is_as_predicted();
        keep(row, &verdict);
    }
    well
}

fn say_prediction(verdict: &Verdict) {
    let mark = match (&verdict.prediction, verdict.is_as_predicted()) {
        (Some(Ok(_)), true) => "predicted",
        (Some(Ok(_)), false) => "OFF      ",
        _ => "unknown  ",
    };
    println!("{mark} {}: {}", verdict.row, verdict.prediction_in_words());
    if let Some(Ok(predicted)) = &verdict.prediction {
        print!("{}", predicted.differences);
    }
}

fn keep(row: &Row, verdict: &Verdict) {
    let folder = folder(&row.name());
    let kept = serde_json::to_string_pretty(verdict).unwrap_or_default();
    if let Err(error) = fs::write(folder.join("verdict.json"), kept) {
        eprintln!("{}: {error}", folder.display());
    }
}

/// Runs a row, prints and keeps what came of it.
fn run_row(row: &Row) -> (Verdict, Tally) {
    let folder = folder(&row.name());
    let (verdict, report) = run(row, &folder);
    let Verdict { seconds, resident, operations, processes, communicators, .. } = &verdict;
    if verdict.is_equal() {
        println!(
            "equal    {}: {operations} operations of {processes} processes in {communicators} \
             communicators; {seconds} s, {resident}",
            verdict.row
        );
    } else {
        println!("DIFFERS  {}: {seconds} s\n{}", verdict.row, verdict.differences.trim_end());
    }
    say_prediction(&verdict);
    keep(row, &verdict);
    (verdict, report)
}

fn compare_with_paper(kept: bool) -> bool {
    let mut runs = paper::Runs::new();
    let mut well = true;
    for row in paper::rows() {
        let done = if kept { kept_verdict(row).zip(kept_report(row)) } else { Some(run_row(row)) };
        if let Some((verdict, report)) = done {
            well &= verdict.is_equal();
            runs.insert(row.name(), report);
        }
    }
    let cells = paper::cells();
    for cell in &cells {
        let (mark, observed) = match cell.observed(&runs) {
            Ok(observed) if observed == cell.expected => ("ok  ", observed.to_string()),
            Ok(observed) => ("FAIL", observed.to_string()),
            Err(why) => ("FAIL", why),
        };
        well &= mark == "ok  ";
        println!("{mark}  {cell}  paper {:>5}  reported {observed:>5}", cell.expected);
    }
    println!("{} cells, {}", cells.len(), if well { "all equal" } else { "NOT all equal" });
    well
}

/// What came of a row when it was run last.
fn kept_verdict(row: &Row) -> Option<Verdict> {
    let text = fs::read_to_string(folder(&row.name()).join("verdict.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// What was reported of it then.
fn kept_report(row: &Row) -> Option<Tally> {
    let text = fs::read_to_string(folder(&row.name()).join("report.json")).ok()?;
    Some(Tally::of_report(&text))
}

fn stopped_rank() -> bool {
    let outcome = stopped::run(&folder("stopped"));
    match &outcome {
        Ok(seen) => println!("well     {seen}"),
        Err(why) => println!("DIFFERS  {why}"),
    }
    outcome.is_ok()
}

fn table() -> bool {
    let verdicts: Vec<Verdict> = ROWS.iter().filter_map(kept_verdict).collect();
    let table = markdown(&verdicts);
    if std::env::var_os("NCCLTAP_BLESS").is_none() {
        print!("{table}");
        return true;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rehearsal.md");
    let document = fs::read_to_string(&path).unwrap_or_default();
    match replaced(&document, &table).map(|document| fs::write(&path, document)) {
        Some(Ok(())) => true,
        Some(Err(error)) => {
            eprintln!("{}: {error}", path.display());
            false
        }
        None => {
            eprintln!("{} has no place for the table", path.display());
            false
        }
    }
}
