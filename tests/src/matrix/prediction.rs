//! What a row should have sent, by `nccltap check`: predicted from the steps that the engine's own scheduler
//! logged (`tests/matrix/trace`), and held against the simulator's account. The tap has no part in it.

use super::observed::rows;
use super::rows::{Row, Way};
use crate::artifacts::built;
use nccltap_proto::Datatype;
use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::graphs::Graphs;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A row beside its prediction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicted {
    /// Kinds of operation at a place of the layout that came out exactly as predicted.
    pub equal: usize,
    /// All of them.
    pub kinds: usize,
    /// Message bytes that are predicted, over all ranks, start-up included.
    pub predicted_bytes: u64,
    /// Message bytes that the simulator has counted.
    pub seen_bytes: u64,
    /// Those that are not equal, as `nccltap check` prints them.
    pub differences: String,
}

impl fmt::Display for Predicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { equal, kinds, predicted_bytes, seen_bytes, .. } = self;
        write!(f, "{equal} of {kinds}")?;
        if predicted_bytes != seen_bytes {
            let off = *seen_bytes as f64 / *predicted_bytes as f64 - 1.0;
            write!(f, ", {:+.3} % of bytes", 100.0 * off)?;
        }
        Ok(())
    }
}

/// A row of `nccltap check --format json --all`.
#[derive(Deserialize)]
struct Checked {
    verdict: String,
    ranks: Vec<u32>,
    dtype: String,
    elements: Option<u64>,
    predicted: u64,
}

/// A row of what was seen.
#[derive(Deserialize)]
struct Seen {
    dtype: Option<String>,
    elements: Option<u64>,
    count: u64,
}

/// Where the scheduler of a row logs its steps.
pub fn trace_folder(folder: &Path) -> PathBuf {
    folder.join("trace")
}

/// Holds what a row has left in `folder` against its prediction.
///
/// # Errors
/// When there is nothing to predict from, or the command does not predict it, in a few words.
pub fn check(row: &Row, folder: &Path) -> Result<Predicted, String> {
    let options = options(row)?;
    let workload = workload(row, folder)?;
    let counts = Counts::read(&folder.join("counts")).map_err(|error| error.to_string())?;
    let cuda = Graphs::read(&folder.join("counts")).map_err(|error| error.to_string())?;
    let seen = rows(&counts, &cuda, Some(row.layout.tensor))?;
    let file = folder.join("simulator.json");
    fs::write(&file, &seen).map_err(|error| format!("{}: {error}", file.display()))?;
    let run = |format: &[&str]| {
        Command::new(&built().command)
            .arg("check")
            .arg(&file)
            .args(&options)
            .args(&workload)
            .args(format)
            .output()
            .map_err(|error| format!("nccltap cannot be run: {error}"))
    };
    let output = run(&["--format", "json", "--all"])?;
    let why = |_| String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let rows: Vec<Checked> = serde_json::from_slice(&output.stdout).map_err(why)?;
    let equal = rows.iter().filter(|row| row.verdict == "equal").count();
    let differences = match equal == rows.len() {
        true => String::new(),
        false => String::from_utf8_lossy(&run(&[])?.stdout).into_owned(),
    };
    let seen: Vec<Seen> = serde_json::from_str(&seen).map_err(|error| error.to_string())?;
    let of_seen = |row: &Seen| bytes(row.dtype.as_deref(), row.elements) * row.count;
    let of_predicted = |row: &Checked| {
        bytes(Some(&row.dtype), row.elements) * row.predicted * row.ranks.len() as u64
    };
    Ok(Predicted {
        equal,
        kinds: rows.len(),
        predicted_bytes: rows.iter().map(of_predicted).sum(),
        seen_bytes: seen.iter().map(of_seen).sum(),
        differences,
    })
}

fn bytes(dtype: Option<&str>, elements: Option<u64>) -> u64 {
    let known =
        (0..=u8::MAX).filter_map(Datatype::from_code).find(|known| Some(known.name()) == dtype);
    known.map_or(0, |known| known.size() * elements.unwrap_or(0))
}

/// What is served, where, and by what.
fn options(row: &Row) -> Result<Vec<String>, String> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rehearsal/models");
    let config = config.join(format!("{}.json", row.model)).display().to_string();
    let engine = match (row.engine, row.version) {
        ("vllm==0.8.5.post1", Some(false)) => "--engine vllm-v0",
        ("vllm==0.8.5.post1", _) => "--engine vllm-v1 --engine-version 0.8.5",
        ("vllm==0.11.0", _) => "--engine vllm-v1 --engine-version 0.11",
        ("vllm==0.20.0", _) => "--engine vllm-v1 --engine-version 0.20",
        ("vllm==0.32.0", _) => "--engine vllm-v1 --engine-version 0.32",
        ("sglang==0.5.5", _) => "--engine sglang",
        (other, _) => return Err(format!("not modelled: {other}")),
    };
    let layout = row.layout;
    let mut text = format!(
        "{engine} --tp {} --pp {} --dp {} --max-model-len 2048",
        layout.tensor, layout.pipeline, layout.data
    );
    let v0 = row.version == Some(false);
    // vLLM's default for its class `LLM` on a GPU of 70 GiB or more.
    if matches!(row.way, Way::Offline { .. }) && !v0 {
        text.push_str(" --max-num-batched-tokens 16384");
    }
    for (holds, option) in [
        (layout.experts, " --ep"),
        (row.graphs, " --cuda-graphs"),
        (row.custom, " --custom-all-reduce"),
        (row.agrees_on_the_cpu(), " --disable-nccl-for-dp-synchronization"),
    ] {
        text.push_str(if holds { option } else { "" });
    }
    let mut options = vec!["--model-config".to_owned(), config];
    options.extend(text.split(' ').map(str::to_owned));
    Ok(options)
}

/// The steps as they were logged. Without a log, requests that can only be served in one way.
fn workload(row: &Row, folder: &Path) -> Result<Vec<String>, String> {
    let mut traces: Vec<PathBuf> = fs::read_dir(trace_folder(folder))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    traces.sort();
    if !traces.is_empty() {
        let option = |file: &PathBuf| ["--trace".to_owned(), file.display().to_string()];
        return Ok(traces.iter().flat_map(option).collect());
    }
    match row.way {
        Way::Offline { requests, output } if requests == 1 || row.version == Some(false) => {
            let text = format!("--prompt 128 --output {output} --concurrent {requests}");
            Ok(text.split(' ').map(str::to_owned).collect())
        }
        _ => Err("no steps were logged".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::rows::ROWS;

    #[test]
    fn every_row_has_options_and_a_model() {
        for row in ROWS {
            let options = options(row).unwrap();
            assert!(Path::new(&options[1]).is_file(), "{}", row.name());
        }
    }

    #[test]
    fn requests_that_depend_on_the_moment_are_predicted_from_a_trace_alone() {
        let folder = tempfile::tempdir().unwrap();
        let several =
            ROWS.iter().find(|row| row.name().ends_with("0.11.0-llama-2-13b-tp4-eager-4x32"));
        assert!(several.is_none_or(|row| workload(row, folder.path()).is_err()));
        let served = ROWS.iter().find(|row| matches!(row.way, Way::Served { .. })).unwrap();
        assert_eq!(workload(served, folder.path()), Err("no steps were logged".to_owned()));
        fs::create_dir(trace_folder(folder.path())).unwrap();
        fs::write(trace_folder(folder.path()).join("7.jsonl"), "").unwrap();
        assert_eq!(workload(served, folder.path()).unwrap()[0], "--trace");
    }

    #[test]
    fn what_is_off_is_said_in_bytes() {
        let predicted = Predicted {
            equal: 7,
            kinds: 9,
            predicted_bytes: 1000,
            seen_bytes: 1001,
            differences: String::new(),
        };
        assert_eq!(predicted.to_string(), "7 of 9, +0.100 % of bytes");
        assert_eq!(bytes(Some("bfloat16"), Some(8)), 16);
    }
}
