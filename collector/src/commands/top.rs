//! `nccltap top`: a running collector in the terminal.

use super::{runtime, usual_target};
use crate::client::{self, Target};
use crate::outputs::live::view::Live;
use crate::outputs::top::screen::{self, Screen};
use crate::outputs::top::{Next, Top as Picture};
use anyhow::{Context, ensure};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// Between snapshots, and so between pictures.
const EVERY: Duration = Duration::from_millis(500);

/// Shows a running collector in the terminal, live
///
/// Without --to, asks the collector named by NCCLTAP_COLLECTOR, or the one that `nccltap serve` starts for this
/// user. Ends on q, Esc or Ctrl-C. The page that the collector serves shows the same.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// A running collector: unix:/PATH, tcp:HOST:PORT, or http://HOST:PORT
    #[arg(long, value_name = "ADDRESS", visible_alias = "collector")]
    to: Option<Target>,
}

impl Top {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(
            std::io::stdout().is_terminal() && std::io::stdin().is_terminal(),
            "nccltap top draws on a terminal, and this is none; nccltap report prints"
        );
        let target = self.to.map_or_else(usual_target, Ok)?;
        runtime()?.block_on(show(target))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn show(target: Target) -> anyhow::Result<()> {
    // Who misspells the address wants to read so, and not in a picture.
    ask(&target).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut picture = Picture::new(&target);
    let mut screen = Screen::open().context("the terminal cannot be drawn on")?;
    let mut events = screen::events()?;
    let mut snapshots = follow(target);
    let mut tick = tokio::time::interval(EVERY);
    let mut taken = Instant::now();
    loop {
        screen.terminal.draw(|frame| picture.draw(frame, taken.elapsed()))?;
        let next = tokio::select! {
            event = events.recv() => match event {
                Some(event) => picture.event(&event),
                // The terminal has gone away.
                None => Next::Quit,
            },
            snapshot = snapshots.recv() => match snapshot {
                Some(Ok(live)) => {
                    taken = Instant::now();
                    picture.take(live);
                    Next::Draw
                }
                Some(Err(error)) => {
                    picture.lose(format!("{error:#}"));
                    Next::Draw
                }
                None => Next::Quit,
            },
            _ = tick.tick() => Next::Draw,
            _ = terminate.recv() => Next::Quit,
            _ = hang_up.recv() => Next::Quit,
            _ = interrupt.recv() => Next::Quit,
        };
        if next == Next::Quit {
            return Ok(());
        }
    }
}

/// Asks again and again. A collector that does not answer is asked again too.
fn follow(target: Target) -> mpsc::Receiver<anyhow::Result<Live>> {
    let (answers, snapshots) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if answers.send(ask(&target).await).await.is_err() {
                return;
            }
        }
    });
    snapshots
}

async fn ask(target: &Target) -> anyhow::Result<Live> {
    let token = std::env::var("NCCLTAP_TOKEN").ok();
    let answer = client::get(target, "/api/v1/live", token.as_deref()).await?;
    let odd = || format!("the collector at {target} answered with something else");
    serde_json::from_str(&answer).with_context(odd)
}
