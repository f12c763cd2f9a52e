//! The `nccltap` command: parses, runs, and gives the exit code.
#![forbid(unsafe_code)]

use clap::Parser;
use nccltap_collector::commands::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    Cli::parse().run()
}
