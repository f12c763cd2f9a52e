//! The simulator's own account of a run, as the rows of a report.

use super::verdict::truth;
use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::graphs::Graphs;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// The rows of what was written into `directory`, as `nccltap report --format json` prints them.
///
/// # Errors
/// When there are none.
pub fn rows(directory: &Path) -> Result<String, String> {
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
