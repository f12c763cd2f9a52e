//! Calls at a steady rate in one process, and counts what the collector got.
//!
//! ```text
//! cargo run --release -p nccltap-tests --bin soak [RATE [SECONDS [THREADS]]]
//! cargo run --release -p nccltap-tests --bin soak highest
//! ```
//! RATE is calls per second (500000), for SECONDS (60), by THREADS together (1). `highest` raises
//! the rate, five seconds each, until a call is dropped or the host cannot keep the pace.
//! Fails when a call was dropped, or is missing.
#![forbid(unsafe_code)]

use nccltap_tests::Stage;
use nccltap_tests::steady::{Soaked, soak};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "highest") {
        return highest();
    }
    let number = |index: usize, default: u64| {
        arguments.get(index).map_or(Some(default), |text| text.parse().ok().filter(|n| *n > 0))
    };
    let (Some(rate), Some(seconds), Some(threads)) =
        (number(0, 500_000), number(1, 60), number(2, 1))
    else {
        eprintln!("soak takes RATE, SECONDS and THREADS, each a number above 0, or `highest`");
        return ExitCode::from(2);
    };
    let soaked = once(rate, seconds, threads);
    println!("{}", line(&soaked, seconds));
    match soaked.dropped == 0 && soaked.counted == soaked.asked {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn once(rate: u64, seconds: u64, threads: u64) -> Soaked {
    let stage = Stage::new();
    let collector = stage.collector();
    soak(&stage, &collector, rate, seconds, threads)
}

fn highest() -> ExitCode {
    const SECONDS: u64 = 5;
    let mut held = 0;
    for rate in (1..=20).map(|step| step * 500_000) {
        let soaked = once(rate, SECONDS, 1);
        println!("{}", line(&soaked, SECONDS));
        let kept_pace = soaked.asked >= rate * SECONDS * 98 / 100;
        if soaked.dropped > 0 || !kept_pace {
            break;
        }
        held = rate;
    }
    println!("highest rate at which nothing was dropped: {held} calls/s for {SECONDS} s");
    if held > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(soaked: &Soaked, seconds: u64) -> String {
    let Soaked { host, asked, counted, dropped } = soaked;
    format!(
        "calls {asked} ({} per second), counted {counted}, dropped {dropped}, missing {}, \
         p99.9 of a call {:?}, longest {:?}",
        asked / seconds,
        asked - (counted + dropped).min(*asked),
        host.p999,
        host.longest,
    )
}
