//! Engine steps. Every worker counts each step of its engine: the one that has most of a phase stands for all.

use super::view::Steps;
use super::{Scene, Seen, order};
use crate::steps::{Phase, Source, StepCount};

/// The steps of each phase that there are.
pub(super) fn steps(scene: &Scene<'_>) -> Vec<Steps> {
    let mut phases = Phase::ALL;
    phases.sort_by_key(|phase| order(*phase));
    let most = |phase: Phase| -> Option<Steps> {
        let of = |seen: &&Seen<'_>| sum(&seen.look.steps, phase).map(|sum| (sum.0, sum.1));
        let seen = scene.seen.iter().max_by_key(of)?;
        let (steps, tokens, source) = sum(&seen.look.steps, phase)?;
        let before = seen.before.and_then(|before| sum(&before.steps, phase));
        let (steps_before, tokens_before) =
            before.map_or((0, 0), |(steps, tokens, _)| (steps, tokens));
        Some(Steps {
            phase: phase.name().to_owned(),
            source: source.map(|source| source.name().to_owned()),
            steps,
            rate: scene.rate(steps.saturating_sub(steps_before).into()),
            tokens: (tokens > 0).then_some(tokens),
            tokens_rate: scene.rate(tokens.saturating_sub(tokens_before).into()),
        })
    };
    phases.into_iter().filter_map(most).collect()
}

/// Steps and tokens of a phase, and how most of its steps are known.
fn sum(
    counts: &[(crate::steps::Label, StepCount)],
    phase: Phase,
) -> Option<(u64, u64, Option<Source>)> {
    let mine = || counts.iter().filter(|(label, _)| label.phase == phase);
    let steps = mine().fold(0u64, |sum, (_, count)| sum.saturating_add(count.steps));
    let tokens = mine().fold(0u64, |sum, (_, count)| {
        sum.saturating_add(count.tokens.prefill).saturating_add(count.tokens.decode)
    });
    let source = mine().max_by_key(|(_, count)| count.steps).and_then(|(label, _)| label.source);
    (steps > 0).then_some((steps, tokens, source))
}
