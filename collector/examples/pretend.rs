//! Pretends to be the ranks of an engine that serves, to look at the page and at `nccltap top` without one:
//! `cargo run --example pretend -- SOCKET [TENSOR [STAGES [STEPS_PER_SECOND [SECONDS]]]]`, where SOCKET is that
//! of `nccltap serve`.

#[path = "../tests/support/mod.rs"]
mod support;

use anyhow::Context;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::engine::Shape;
use support::job::Job;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(arguments.next().context("which socket?")?);
    let mut number = |usual: u64| -> anyhow::Result<u64> {
        arguments.next().map_or(Ok(usual), |text| text.parse().context(text))
    };
    let shape = Shape { tensor: number(2)? as i32, stages: number(1)? as i32 };
    let every = Duration::from_secs(1) / number(20)? as u32;
    let lasts = Duration::from_secs(number(3600)?);

    let mut job = Job::start(&socket, shape).await;
    let began = Instant::now();
    let mut next = tokio::time::interval(every);
    for step in 0.. {
        next.tick().await;
        if began.elapsed() > lasts {
            break;
        }
        match step % 40 {
            0 => job.step(128 + step % 7 * 96, 0).await,
            decoded => job.step(1, 8 + decoded / 16).await,
        }
    }
    println!("{} calls in {:.1} s", job.sent, began.elapsed().as_secs_f64());
    Ok(())
}
