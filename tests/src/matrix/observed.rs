//! The simulator's own account of a run, as the rows of a report.

use super::verdict::truth;
use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::graphs::Graphs;
use serde_json::json;
use std::collections::BTreeMap;

/// The rows, as `nccltap report --format json` prints them. `tensor` is the size of the group that kernels beside NCCL
/// work for, which the simulator does not know.
///
/// # Errors
/// When there are none.
pub fn rows(counts: &Counts, cuda: &Graphs, tensor: Option<u32>) -> Result<String, String> {
    let tally = truth(counts, cuda);
    // Communicators and peers are not compared.
    let mut rows: BTreeMap<_, u64> = BTreeMap::new();
    for (call, count) in &tally.0 {
        let of = (&call.op, &call.path, &call.dtype, call.elements);
        let tensor = tensor.map(u32::cast_signed).filter(|_| call.path != "nccl");
        let key = (call.pid, of, call.ranks.or(tensor), &call.launch);
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
