//! One line for each rank.

use super::view::{Inside, Rank};
use super::{Scene, Seen, lag, traffic};
use crate::process::Life;

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
            Rank {
                host: look.identity().host.clone(),
                pid: look.identity().pid,
                job: look.job.clone(),
                data: place.map(|place| place.data),
                stage: place.map(|place| place.stage),
                tensor: place.map(|place| place.tensor),
                state: state(seen).to_owned(),
                volume: traffic::of(scene, seen),
                still_seconds: tenths(seen.pulse.still),
                silent_seconds: tenths(seen.pulse.silent),
                behind: lag.map(|lag| lag.behind),
                // A thousandth of a second is less than two looks differ by.
                behind_seconds: lag
                    .and_then(|lag| lag.seconds)
                    .map(|seconds| (seconds * 1e3).round() / 1e3),
                inside: look.inside.as_ref().map(|inside| Inside {
                    function: inside.function.to_owned(),
                    group: inside.group.map(|group| scene.groups.name(group)),
                    seconds: inside.ns as f64 / 1e9,
                }),
                dropped: sums.dropped + sums.unrecorded + sums.lost,
            }
        })
        .collect()
}

fn state(seen: &Seen<'_>) -> &'static str {
    match seen.look.life {
        Life::Running if seen.look.connected => "connected",
        Life::Running => "disconnected",
        Life::Ended => "ended",
        Life::Recovered => "recovered",
    }
}
