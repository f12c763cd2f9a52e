//! One line for each rank.

use super::view::{Inside, Rank, State};
use super::{Scene, Seen, lag, traffic};
use crate::process::Life;

/// Seconds without a report, of a tap that reports every second.
const SILENT: f64 = 5.0;
/// Seconds without any operation.
const STILL: f64 = 3.0;
/// Seconds inside one call.
const INSIDE: f64 = 5.0;
/// Seconds that a rank is late, at least. The first earlier look is half a second back.
const LATE: f64 = 0.4;

/// Every rank that is shown, in its order.
pub(super) fn ranks(scene: &Scene<'_>) -> Vec<Rank> {
    let lags = lag::lags(scene);
    let tenths = |seconds: f64| (seconds * 10.0).round() / 10.0;
    scene
        .seen
        .iter()
        .zip(lags)
        .map(|(seen, lag)| {
            let look = seen.look;
            let place = scene.groups.place(look.identity());
            let sums = &look.accounting;
            let mut rank = Rank {
                host: look.identity().host.clone(),
                pid: look.identity().pid,
                job: look.job.clone(),
                data: place.map(|place| place.data),
                stage: place.map(|place| place.stage),
                tensor: place.map(|place| place.tensor),
                state: State::Running,
                volume: traffic::of(scene, seen),
                still_seconds: tenths(seen.pulse.still),
                silent_seconds: tenths(seen.pulse.silent),
                behind: lag.map(|lag| lag.behind),
                behind_seconds: lag.map(|lag| tenths(lag.seconds)),
                inside: look.inside.as_ref().map(|inside| Inside {
                    function: inside.function.to_owned(),
                    group: inside.group.map(|group| scene.groups.name(group)),
                    seconds: inside.ns as f64 / 1e9,
                }),
                dropped: sums.dropped + sums.unrecorded + sums.lost,
            };
            rank.state = state(seen, &rank);
            rank
        })
        .collect()
}

fn state(seen: &Seen<'_>, rank: &Rank) -> State {
    let late = rank.behind_seconds >= Some(LATE);
    let inside = rank.inside.as_ref().is_some_and(|inside| inside.seconds >= INSIDE);
    let still = rank.still_seconds >= STILL;
    match seen.look.life {
        Life::Ended => State::Ended,
        Life::Recovered => State::Recovered,
        Life::Running if !seen.look.connected => State::Gone,
        Life::Running if inside => State::Inside,
        Life::Running if rank.silent_seconds >= SILENT => State::Silent,
        Life::Running if late && still => State::Stopped,
        Life::Running if late => State::Late,
        Life::Running if rank.dropped > 0 => State::Drops,
        Life::Running if still => State::Idle,
        Life::Running => State::Running,
    }
}
