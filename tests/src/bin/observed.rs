//! The simulator's own account of a run, as the rows of a report: what `nccltap check` can be given
//! without a tap having taken part. `cargo run -p nccltap-tests --bin observed -- COUNTS_DIR`.
#![forbid(unsafe_code)]

use nccltap_rehearsal::counts::Counts;
use nccltap_tests::matrix::observed::rows;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("observed: give the directory that the simulator counted in");
        return ExitCode::FAILURE;
    };
    let counts = Counts::read(Path::new(&directory)).map_err(|error| format!("{error:#}"));
    match counts.and_then(|counts| rows(&counts)) {
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
