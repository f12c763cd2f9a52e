//! The simulator's own account of a run, as the rows of a report: what `nccltap check` can be given
//! without a tap having taken part. `cargo run -p nccltap-tests --bin observed -- COUNTS_DIR`.
#![forbid(unsafe_code)]

use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::graphs::Graphs;
use nccltap_tests::matrix::verdict::truth;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("observed: give the directory that the simulator counted in");
        return ExitCode::FAILURE;
    };
    match rows(Path::new(&directory)) {
        Ok(rows) => {
            println!("{rows}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("observed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn rows(directory: &Path) -> Result<String, String> {
    let counts = Counts::read(directory).map_err(|error| format!("{error:#}"))?;
    let cuda = Graphs::read(directory).map_err(|error| format!("{error:#}"))?;
    let tally = truth(&counts, &cuda);
    // Communicators and peers are not compared.
    let mut rows: BTreeMap<_, u64> = BTreeMap::new();
    for (call, count) in &tally.0 {
        let of = (&call.op, &call.path, &call.dtype, call.elements);
        let key = (call.pid, of, call.ranks, &call.launch);
        *rows.entry(key).or_default() += count;
    }
    if rows.is_empty() {
        return Err("the simulator was asked for nothing".to_owned());
    }
    let rows: Vec<String> = rows
        .into_iter()
        .map(|((pid, (op, path, dtype, elements), ranks, launch), count)| {
            let row = json!({
                "host": "simulator", "pid": pid, "rank": null, "stage": null, "phase": "unknown",
                "group": null, "role": null, "op": op, "collective": null, "path": path,
                "launch": launch, "dtype": dtype, "elements": elements, "peer": null,
                "ranks_in_group": ranks, "count": count, "message_bytes": null, "bus_bytes": null,
            });
            row.to_string()
        })
        .collect();
    Ok(format!("[\n{}\n]", rows.join(",\n")))
}
