//! When a snapshot is made: twice a second while somebody looks, once for all who do.
//!
//! While nobody looks, only the pulse of each process is followed. Rates are means over the last
//! two seconds. Who reads slowly misses snapshots and gets the newest.

use super::look::Look;
use super::pulse::{Beat, Pulses};
use super::view::Live;
use super::{Earlier, SECONDS, SENTENCES, Scene, compose};
use crate::collector::Collector;
use crate::outputs::processes::overview_without_communicators;
use crate::outputs::prometheus::expected::Expected;
use crate::outputs::report::timeline::Lives;
use crate::outputs::text::warnings;
use crate::process::Life;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Between snapshots. Nothing on a page is older than this and the way to it.
const EVERY: Duration = Duration::from_millis(500);

/// Looks that rates reach back over.
const LOOKS: usize = 4;

/// An earlier look that is older says nothing about now.
const STALE: f64 = 5.0;

/// Seconds that go with each event. Who missed more asks for all of them.
const SECONDS_IN_EVENT: usize = 10;

/// How long snapshots are made after the last question.
const KEEP_ON: Duration = Duration::from_secs(10);

/// Listeners at once.
pub const LISTENERS: usize = 256;

/// How long a question waits for a snapshot.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One snapshot, and the same as an event for every listener.
#[derive(Debug)]
struct Frame {
    live: Live,
    event: Bytes,
    made: Instant,
}

/// Makes snapshots of a collector, and hands them out.
#[derive(Debug)]
pub struct Feed {
    maker: Arc<Mutex<Maker>>,
    frames: watch::Sender<Option<Arc<Frame>>>,
    wanted: Notify,
    asked: Mutex<Option<Instant>>,
    listeners: AtomicUsize,
    stop: watch::Receiver<bool>,
}

impl Feed {
    /// Begins to follow `collector`, held against what is `expected` of a named model, until `stop`
    /// changes. Within a runtime.
    pub fn start(
        collector: Arc<Collector>,
        expected: Option<Expected>,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let feed = Arc::new(Self {
            maker: Arc::new(Mutex::new(Maker::new(collector, expected))),
            frames: watch::Sender::new(None),
            wanted: Notify::new(),
            asked: Mutex::default(),
            listeners: AtomicUsize::new(0),
            stop,
        });
        tokio::spawn(Arc::clone(&feed).run());
        feed
    }

    async fn run(self: Arc<Self>) {
        let mut stop = self.stop.clone();
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.wanted.notified() => {}
                _ = stop.changed() => return,
            }
            let looking = self.is_looked_at();
            let maker = Arc::clone(&self.maker);
            let frame = tokio::task::spawn_blocking(move || maker.lock().go_on(looking)).await;
            if let Ok(Some(frame)) = frame {
                self.frames.send_replace(Some(Arc::new(frame)));
            }
        }
    }

    fn is_looked_at(&self) -> bool {
        let asked = self.asked.lock().is_some_and(|asked| asked.elapsed() < KEEP_ON);
        asked || self.listeners.load(Relaxed) > 0
    }

    /// The newest snapshot, with all seconds that are remembered. `None` when the collector stops.
    pub async fn live(&self) -> Option<Live> {
        self.asked.lock().replace(Instant::now());
        let mut frames = self.frames.subscribe();
        if !is_new(&frames.borrow()) {
            self.wanted.notify_one();
        }
        let frame = tokio::time::timeout(ANSWER_WITHIN, frames.wait_for(is_new)).await;
        let frame = frame.ok()?.ok()?.clone()?;
        let recent = self.maker.lock().pulses.last(SECONDS);
        Some(Live { recent, ..frame.live.clone() })
    }

    /// Snapshots as events, from now on; `None` when there are [`LISTENERS`] already. The channel closes when the
    /// collector stops.
    pub fn listen(self: &Arc<Self>) -> Option<mpsc::Receiver<Bytes>> {
        let add = |count| (count < LISTENERS).then_some(count + 1);
        self.listeners.fetch_update(Relaxed, Relaxed, add).ok()?;
        let listener = Listener(Arc::clone(self));
        let (events, listens) = mpsc::channel(1);
        let mut frames = self.frames.subscribe();
        let has_new = is_new(&frames.borrow());
        match has_new {
            true => frames.mark_changed(),
            false => self.wanted.notify_one(),
        }
        tokio::spawn(listener.serve(frames, events));
        Some(listens)
    }
}

/// Whether a snapshot is so new that there is no need to ask for another.
fn is_new(frame: &Option<Arc<Frame>>) -> bool {
    frame.as_ref().is_some_and(|frame| frame.made.elapsed() < 2 * EVERY)
}

/// Counted as long as this lives.
struct Listener(Arc<Feed>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Relaxed);
    }
}

impl Listener {
    async fn serve(
        self,
        mut frames: watch::Receiver<Option<Arc<Frame>>>,
        events: mpsc::Sender<Bytes>,
    ) {
        let mut stop = self.0.stop.clone();
        loop {
            tokio::select! {
                changed = frames.changed() => if changed.is_err() { return },
                _ = stop.changed() => return,
                () = events.closed() => return,
            }
            let event = frames.borrow_and_update().as_ref().map(|frame| frame.event.clone());
            let Some(event) = event else { continue };
            tokio::select! {
                sent = events.send(event) => if sent.is_err() { return },
                _ = stop.changed() => return,
            }
        }
    }
}

/// The state between snapshots.
#[derive(Debug)]
struct Maker {
    collector: Arc<Collector>,
    expected: Option<Expected>,
    began: Instant,
    began_ms: u64,
    pulses: Pulses,
    felt: Option<u64>,
    earlier: VecDeque<Earlier>,
    number: u64,
}

impl Maker {
    fn new(collector: Arc<Collector>, expected: Option<Expected>) -> Self {
        Self {
            collector,
            expected,
            began: Instant::now(),
            began_ms: wall_ms(),
            pulses: Pulses::default(),
            felt: None,
            earlier: VecDeque::new(),
            number: 0,
        }
    }

    /// Feels the pulse when a second is over, and makes a snapshot if somebody looks.
    fn go_on(&mut self, looking: bool) -> Option<Frame> {
        let now = self.began.elapsed().as_secs_f64();
        if self.felt.replace(now as u64) != Some(now as u64) {
            let beats: Vec<Beat> = self.collector.followed().iter().map(Beat::of).collect();
            self.pulses.take(&beats, now);
        }
        if !looking {
            self.earlier.clear();
            return None;
        }
        let made = Instant::now();
        let mut live = self.snapshot(now);
        live.recent = self.pulses.last(SECONDS_IN_EVENT);
        let data = match serde_json::to_string(&live) {
            Ok(data) => data,
            Err(error) => {
                tracing::error!("a snapshot could not be written: {error}");
                return None;
            }
        };
        let event = Bytes::from(format!("event: live\nid: {}\ndata: {data}\n\n", live.number));
        Some(Frame { live, event, made })
    }

    fn snapshot(&mut self, now: f64) -> Live {
        let followed = self.collector.followed();
        let at_ms = wall_ms();
        let looks: Vec<Look> = followed.iter().map(|followed| Look::at(followed)).collect();
        while self.earlier.len() > LOOKS
            || self.earlier.front().is_some_and(|earlier| now - earlier.at > STALE)
        {
            self.earlier.pop_front();
        }
        let scene = Scene::new(&looks, self.earlier.front(), now, |who| self.pulses.of(who, now));
        let mut live = compose(&looks, &scene, self.expected.as_ref());
        drop(scene);
        self.number += 1;
        live.collector = self.began_ms;
        live.number = self.number;
        live.at_ms = at_ms;
        live.second = now as u64;
        let mut lives = Lives::default();
        let any_runs = looks.iter().any(|look| look.life == Life::Running);
        for (followed, look) in followed.iter().zip(&looks) {
            if look.operations > 0 && (look.life == Life::Running || !any_runs) {
                lives.add(&followed.lock());
            }
        }
        live.run = lives.done();
        let mut missing = warnings(&overview_without_communicators(&self.collector));
        live.missing_left_out = missing.len().saturating_sub(SENTENCES) as u64;
        missing.truncate(SENTENCES);
        live.missing = missing;
        let looks = looks.into_iter().map(|look| (look.identity().clone(), look)).collect();
        self.earlier.push_back(Earlier { at: now, looks });
        live
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
