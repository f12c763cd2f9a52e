//! Kills processes in the middle of calls, at random moments, and counts what is known of them.
//!
//! ```text
//! cargo run --release -p nccltap-tests --bin kill_storm [graphs] [KILLS [SEED]]
//! ```
//! With `graphs`, in the middle of launches of CUDA graphs. KILLS is 300 unless given. The seed is printed, and gives the same moments again. Fails when a
//! completed call is neither in the collector's counts nor counted as dropped, when one is counted
//! twice or torn, and when a call in flight is named that was not made.
#![forbid(unsafe_code)]

use nccltap_tests::Stage;
use nccltap_tests::kills::{
    Killed, KilledLaunches, Load, kill_under_load, kill_while_launching, launches_known,
};
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::Duration;

/// Longest time between a host's first call and its end.
const LONGEST_LIFE_US: u64 = 30_000;
/// Turns of an empty loop between two calls of a thread: none to some ten microseconds.
const LONGEST_GAP: u64 = 30_000;
/// Time the simulator keeps busy in a call.
const LONGEST_CALL_NS: u64 = 5000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let graphs = arguments.next_if(|word| word == "graphs").is_some();
    let mut number = |default: u64| match arguments.next() {
        Some(text) => text.parse().ok(),
        None => Some(default),
    };
    let (Some(kills), Some(seed)) = (number(300), number(RandomState::new().hash_one(0))) else {
        eprintln!("kill_storm takes the word `graphs`, or not, a number of kills and a seed");
        return ExitCode::from(2);
    };
    println!("seed {seed}");
    let random = Random(seed);
    let well = if graphs { storm_of_launches(kills, random) } else { storm(kills, random) };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Kills in the middle of launches of CUDA graphs. True when all were exact.
fn storm_of_launches(kills: u64, mut random: Random) -> bool {
    let stage = Stage::new();
    let collector = stage.collector();
    let (mut total, mut inexact) = (KilledLaunches::default(), 0);
    for kill in 1..=kills {
        let life = Duration::from_micros(random.below(LONGEST_LIFE_US));
        let (pid, counted) = kill_while_launching(&stage, life);
        let killed = launches_known(&collector, pid, counted);
        if !killed.is_exact() {
            println!("kill {kill}, {life:?} after the first launch: {killed:?}");
            inexact += 1;
        }
        total.add(&killed);
        stage.forget_counts();
    }
    println!(
        "kills {kills}, launches begun {}, completed {}, recovered {}, dropped {}, of unknown content {}, \
         operations in them {}, kills with a loss or a launch too many {inexact}",
        total.begun,
        total.completed,
        total.recovered,
        total.dropped,
        total.unknown,
        total.operations,
    );
    inexact == 0
}

/// Kills in the middle of calls. True when all were exact.
fn storm(kills: u64, mut random: Random) -> bool {
    let stage = Stage::new();
    let collector = stage.collector();
    let mut total = Killed::default();
    for kill in 1..=kills {
        let life = Duration::from_micros(random.below(LONGEST_LIFE_US));
        let load = Load { gap: random.below(LONGEST_GAP), call_ns: random.below(LONGEST_CALL_NS) };
        let killed = kill_under_load(&stage, &collector, life, load);
        if !killed.is_exact() {
            println!("kill {kill}, {life:?} after the first call, {load:?}: {killed:?}");
        }
        total.add(&killed);
    }
    println!(
        "kills {kills}, calls begun {}, completed {}, recovered {}, dropped {}, \
         threads with a loss {}, threads with too many {}, torn or lost records {}, \
         in flight named {}, named wrongly {}, not named {}",
        total.begun,
        total.completed,
        total.recovered,
        total.dropped,
        total.threads_with_a_loss,
        total.threads_with_too_many,
        total.lost,
        total.in_flight,
        total.in_flight_wrong,
        total.in_flight_unnamed,
    );
    total.is_exact()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}
