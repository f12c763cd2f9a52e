//! How much memory of this machine a rehearsal takes.

use crate::doctor::procfs;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The shortest time between two looks. What comes and goes between them is missed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look goes through all pages of all processes, which wait for it where they ask for memory: it takes one part in so many of the time.
const ONE_PART_IN: u32 = 50;

/// The most that was seen at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Peak {
    /// Resident memory, what processes share counted once (PSS).
    pub(super) bytes: u64,
    /// In how many processes it was.
    pub(super) processes: usize,
}

/// Looks at this process and all that descend from it, until it is stopped.
#[derive(Debug)]
pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    looks: JoinHandle<Peak>,
}

impl Watch {
    pub(super) fn start() -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let looks = tokio::spawn(async move {
            let mut peak = Peak::default();
            loop {
                let began = Instant::now();
                let now = tokio::task::spawn_blocking(resident).await.unwrap_or_default();
                if now.bytes > peak.bytes {
                    peak = now;
                }
                let pause = LOOK_EVERY.max(began.elapsed() * ONE_PART_IN);
                if tokio::time::timeout(pause, &mut stopped).await.is_ok() {
                    return peak;
                }
            }
        });
        Self { stop, looks }
    }

    pub(super) async fn stop(self) -> Peak {
        let _ = self.stop.send(());
        self.looks.await.unwrap_or_default()
    }
}

fn resident() -> Peak {
    let all = procfs::descendants(std::process::id());
    let sizes: Vec<u64> = all.iter().filter_map(|pid| proportional(*pid)).collect();
    Peak { bytes: sizes.iter().sum(), processes: sizes.len() }
}

/// The resident memory of a process, with its share of what it shares, in bytes.
fn proportional(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_counted() {
        let peak = resident();
        assert!(peak.bytes > 1 << 20, "{peak:?}");
        assert!(peak.processes >= 1, "{peak:?}");
    }

    #[tokio::test]
    async fn what_was_seen_is_told_at_the_end() {
        let watch = Watch::start();
        tokio::task::yield_now().await;
        let _ = watch.stop().await;
    }
}
