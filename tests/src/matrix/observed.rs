//! The simulator's own account of a run, as the rows of a report.

use super::verdict::truth;
use nccltap_rehearsal::counts::Counts;
use serde_json::json;
use std::collections::BTreeMap;

/// The rows, as `nccltap report --format json` prints them.
///
/// # Errors
/// When there are none.
pub fn rows(counts: &Counts) -> Result<String, String> {
    let tally = truth(counts);
    // Communicators and peers are not compared.
    let mut rows: BTreeMap<_, u64> = BTreeMap::new();
    for (call, count) in &tally.0 {
        let key = (call.pid, &call.op, &call.dtype, call.elements, call.ranks, &call.launch);
        *rows.entry(key).or_default() += count;
    }
    if rows.is_empty() {
        return Err("the simulator was asked for nothing".to_owned());
    }
    let rows: Vec<String> = rows
        .into_iter()
        .map(|((pid, op, dtype, elements, ranks, launch), count)| {
            let row = json!({
                "host": "simulator", "pid": pid, "rank": null, "stage": null, "phase": "unknown",
                "group": null, "role": null, "op": op, "collective": null, "path": "nccl",
                "launch": launch, "dtype": dtype, "elements": elements, "peer": null,
                "ranks_in_group": ranks, "count": count, "message_bytes": null, "bus_bytes": null,
            });
            row.to_string()
        })
        .collect();
    Ok(format!("[\n{}\n]", rows.join(",\n")))
}
