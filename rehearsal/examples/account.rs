//! Prints the simulator's own account of a run: `cargo run --example account -- COUNTS_DIR`.

use anyhow::Context;
use nccltap_rehearsal::counts::{Counts, Launch};
use nccltap_rehearsal::graphs::Graphs;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).context("which directory?")?);
    let counts = Counts::read(&directory)?;
    let graphs = Graphs::read(&directory)?;
    for process in &counts.processes {
        let mut rows: BTreeMap<_, u64> = BTreeMap::new();
        for row in process.rows.iter().filter(|row| row.datatype >= 0) {
            let (launch, times) = row.carried_out();
            *rows
                .entry((row.function.clone(), row.count, row.peer, row.ranks, launch))
                .or_default() += times;
        }
        println!("process {}", process.pid);
        for ((function, count, peer, ranks, launch), times) in rows {
            let launch = if launch == Launch::Eager { "eager" } else { "graph" };
            println!(
                "  {function:18} {count:>10} elements, peer {peer:>2} of {ranks}, {launch}: {times}"
            );
        }
        let Some(cuda) = graphs.process(process.pid) else { continue };
        println!(
            "  {} captures, {} executables, {} launches",
            cuda.captures.len(),
            cuda.executables.len(),
            cuda.launches()
        );
        for kernel in &cuda.kernels {
            println!(
                "  kernel {:.60} {:?} bytes: {} eager, {} by graphs",
                kernel.name, kernel.bytes, kernel.launched, kernel.replayed
            );
        }
    }
    for difference in graphs.check(&counts) {
        println!("DIFFERENCE: {difference}");
    }
    Ok(())
}
