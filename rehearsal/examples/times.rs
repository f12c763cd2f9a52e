//! Prints when each operation of a run was, by the simulator's own account, as JSON, one a line:
//! `cargo run --example times -- COUNTS_DIR`.

use anyhow::Context;
use nccltap_rehearsal::counts::Launch;
use nccltap_rehearsal::times;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).context("which directory?")?);
    let mut out = BufWriter::new(std::io::stdout().lock());
    for process in times::read(&directory)? {
        for operation in process.operations {
            let line = serde_json::json!({
                "pid": process.pid,
                "ns": operation.ns,
                "function": operation.function,
                "elements": operation.count,
                "datatype": operation.datatype,
                "communicator": format!("{:016x}", operation.communicator),
                "ranks": operation.ranks,
                "rank": operation.rank,
                "peer": operation.peer,
                "graph": operation.launch == Launch::Graph,
            });
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}
