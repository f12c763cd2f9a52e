//! Ranks of an unmodified engine that wait for each other: one is stopped in the middle, the other waits
//! inside NCCL; the one goes on, and both come to their end.

use super::rows::{Layout, Row, Way};
use super::run::{Place, REST, Rehearsal, generate, generated, patience};
use super::verdict::Verdict;
use crate::tally::Tally;
use nccltap_rehearsal::counts::{Counts, Process};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is run.
const ROW: Row = Row {
    engine: "vllm==0.11.0",
    version: None,
    model: "llama-3.1-8b",
    layout: Layout { tensor: 2, pipeline: 1, data: 1, experts: false },
    nodes: 1,
    graphs: false,
    custom: false,
    way: Way::Offline { requests: REQUEST.0, output: REQUEST.1 },
};

const REQUEST: (u32, u32) = (1, 32);

/// Small steps: all data really pass through the memory of this machine.
const STEPS: &[(&str, u32)] = &[("max_num_batched_tokens", 256), ("max_num_seqs", 8)];

/// AllReduces of each rank before one is stopped: some steps of decode, of 65 each.
const ENOUGH: u64 = 500;

/// How long the other must stand still inside a call.
const STILL: Duration = REST.saturating_mul(3);

/// Runs it with everything it writes in `folder`, and says what was seen.
///
/// # Errors
/// When the other did not wait, or the run did not come to its end, or the report is not what the
/// simulator has counted.
pub fn run(folder: &Path) -> Result<String, String> {
    let place = Place::new(folder)?;
    let began = Instant::now();
    let command = generate(&ROW, &place, REQUEST, STEPS, &["--rendezvous"]);
    let mut rehearsal = Rehearsal::start(command, &place)?;
    let counts = || Counts::read(&place.counts()).unwrap_or_default();
    rehearsal.until(patience(), || {
        let busy = |process: &Process| process.asked("ncclAllReduce") >= ENOUGH;
        counts().processes.iter().filter(|process| busy(process)).count() == 2
    })?;
    let stopped = counts().processes.last().map(|process| process.pid).unwrap_or_default();
    let pid = Pid::from_raw(stopped.cast_signed()).ok_or("there are no ranks")?;
    kill_process(pid, Signal::STOP).map_err(|error| format!("{stopped}: {error}"))?;
    let other = || counts().processes.into_iter().find(|process| process.pid != stopped);
    let mut last = (other(), Instant::now());
    rehearsal.until(patience(), || {
        let now = other();
        if now != last.0 || now.as_ref().and_then(inside).is_none() {
            last = (now, Instant::now());
        }
        last.1.elapsed() >= STILL
    })?;
    let waits = last.0.as_ref().and_then(inside).unwrap_or_default();
    kill_process(pid, Signal::CONT).map_err(|error| format!("{stopped}: {error}"))?;
    generated(&mut rehearsal, &place, REQUEST)?;
    let (report, truth, resident) = place.done()?;
    let (report, seconds) = (Tally::of_report(&report), began.elapsed().as_secs());
    let verdict = Verdict::of(ROW.name(), seconds, resident, &report, &truth);
    if !verdict.is_equal() {
        return Err(format!("the ranks met, but the report differs\n{}", verdict.differences));
    }
    Ok(format!(
        "one rank of {} was stopped; the other waited {} s and more in {waits}; both went on to their \
         end, and the report equals the simulator's account: {} operations, {seconds} s, {}",
        verdict.row,
        STILL.as_secs(),
        verdict.operations,
        verdict.resident
    ))
}

/// The call that a process is in.
fn inside(process: &Process) -> Option<String> {
    let row = process.rows.iter().find(|row| row.asked > row.returned)?;
    Some(format!("{} of {} elements", row.function, row.count))
}
