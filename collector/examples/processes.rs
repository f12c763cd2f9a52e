//! Prints what a recording says of each process, as `/api/v1/processes` does of a live one:
//! `cargo run --example processes -- RECORDING`.

use anyhow::Context;
use nccltap_collector::collector::PROCESSES;
use nccltap_collector::outputs::processes::overview;
use nccltap_collector::replay::replay;
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let recording = PathBuf::from(std::env::args_os().nth(1).context("which recording?")?);
    println!("{}", serde_json::to_string_pretty(&overview(&replay(&recording, PROCESSES)?))?);
    Ok(())
}
