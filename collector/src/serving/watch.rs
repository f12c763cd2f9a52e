//! Asks an engine for its metrics while it serves.

use super::kv::KvTransfers;
use super::requests::Requests;
use super::window::{Communication, Snapshot, Window};
use crate::client::{Target, get};
use crate::collector::Collector;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often it is asked. What is served in the last moments of an engine may be missed.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// An engine that is asked from now on.
#[derive(Debug)]
pub struct Watch {
    engine: Target,
    seen: Arc<Mutex<Option<Seen>>>,
    asking: JoinHandle<()>,
}

impl Watch {
    /// Asks the engine at `engine` again and again, and notes what its workers have communicated by then.
    pub fn start(engine: Target, collector: Arc<Collector>) -> Self {
        let seen = Arc::new(Mutex::new(None));
        let asking = tokio::spawn(ask(engine.clone(), collector, Arc::clone(&seen)));
        Self { engine, seen, asking }
    }

    /// Ends it. `None` when the engine was never reached.
    pub fn stop(self) -> Option<Served> {
        self.asking.abort();
        let Seen { window, metrics } = self.seen.lock().take()?;
        Some(Served { text: window.text(&self.engine.to_string()), metrics })
    }
}

/// What an engine has served.
#[derive(Debug)]
pub struct Served {
    /// For people; empty when it served nothing.
    pub text: String,
    /// Its `/metrics` as they were last.
    pub metrics: String,
}

#[derive(Debug)]
struct Seen {
    window: Window,
    metrics: String,
}

async fn ask(engine: Target, collector: Arc<Collector>, seen: Arc<Mutex<Option<Seen>>>) {
    let began = Instant::now();
    let mut tick = tokio::time::interval(ASK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // An engine that does not answer has not started yet, or has ended.
        let Ok(text) = get(&engine, "/metrics", None).await else { continue };
        let Some(requests) = Requests::of_exposition(&text) else { continue };
        let kv = KvTransfers::of_exposition(&text);
        let communication = Communication::of(&collector);
        let now = Snapshot { at: began.elapsed(), requests, kv, communication };
        let mut seen = seen.lock();
        let first = seen.take().map_or_else(|| now.clone(), |seen| seen.window.first);
        *seen = Some(Seen { window: Window { first, last: now }, metrics: text });
    }
}
