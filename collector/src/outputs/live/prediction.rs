//! What was seen against what a named model does in each step.

use super::view::Prediction;
use super::{Scene, traffic};
use crate::outputs::prometheus::expected::Expected;
use crate::outputs::prometheus::prediction::compared;
use crate::steps::Phase;
use nccltap_proto::Operation;
use std::collections::BTreeMap;

pub(super) fn prediction(scene: &Scene<'_>, expected: &Expected) -> Vec<Prediction> {
    let mut rows: BTreeMap<(Phase, Operation), Prediction> = BTreeMap::new();
    for seen in &scene.seen {
        let look = seen.look;
        let Some(place) = scene.groups.place(look.identity()) else { continue };
        let steps = |phase| {
            let counts = look.steps.iter().filter(|(label, _)| label.phase == phase);
            counts.map(|(_, count)| count.steps).sum()
        };
        for one in compared(place, &traffic::done(look), steps, expected) {
            let row = rows.entry((one.phase, one.operation)).or_insert_with(|| Prediction {
                phase: one.phase.name().to_owned(),
                op: one.operation.name().to_owned(),
                ranks: 0,
                seen: 0,
                predicted: 0,
                furthest: None,
            });
            row.ranks += 1;
            row.seen = row.seen.saturating_add(one.seen);
            row.predicted = row.predicted.saturating_add(one.predicted);
            if one.predicted > 0 {
                let ratio = one.seen as f64 / one.predicted as f64;
                let ratio = (ratio * 1e4).round() / 1e4;
                let off = |ratio: f64| (ratio - 1.0).abs();
                if row.furthest.is_none_or(|known| off(ratio) > off(known)) {
                    row.furthest = Some(ratio);
                }
            }
        }
    }
    rows.into_values().collect()
}
