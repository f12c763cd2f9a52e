//! The simulator's own account of a run, as the rows of a report: what `nccltap check` can be given
//! without a tap having taken part. `cargo run -p nccltap-tests --bin observed -- COUNTS_DIR`.
#![forbid(unsafe_code)]

use nccltap_rehearsal::counts::{Counts, CountsError};
use nccltap_rehearsal::graphs::Graphs;
use nccltap_tests::matrix::observed::rows;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("observed: give the directory that the simulator counted in");
        return ExitCode::FAILURE;
    };
    match observed(Path::new(&directory)) {
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

fn observed(directory: &Path) -> Result<String, String> {
    let why = |error: CountsError| format!("{error:#}");
    let counts = Counts::read(directory).map_err(why)?;
    rows(&counts, &Graphs::read(directory).map_err(why)?, None)
}
