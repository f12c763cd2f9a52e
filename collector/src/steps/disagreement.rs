//! Whether what sizes show agrees with what the engine says, operation by operation.
//!
//! Where steps are marked, the marks count; what the sizes alone would have said is followed beside them. Each
//! of both may know it only later, so that operations wait here until both have spoken.

use super::phase::Phase;
use super::turn::{Place, Settled, Turn};

const PHASES: usize = Phase::ALL.len();

/// Operations of which both have said what they serve, and which differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Disagreement {
    /// Operations of this phase by the marks, of which the sizes have not shown it yet.
    by_marks: [u64; PHASES],
    /// Operations of this phase by the sizes, of which the marks have not said it yet.
    by_sizes: [u64; PHASES],
    /// Operations of which neither is known yet.
    open: u64,
    differing: u64,
}

impl Disagreement {
    /// Operations of which the sizes show another phase than the marks.
    pub(super) fn differing(&self) -> u64 {
        self.differing
    }

    /// So many operations, launched together: what the sizes say of them, and what the marks do.
    #[inline]
    pub(super) fn operations(&mut self, count: u64, sizes: &Turn, marks: &Turn) {
        if let Some(settled) = sizes.before {
            self.sizes_settle(settled);
        }
        match (sizes.place, marks.place) {
            (Place::Now(sizes, _), Place::Now(marks, _)) => {
                self.compare(sizes.phase, marks.phase, count)
            }
            (Place::Hold, Place::Now(marks, _)) => self.by_marks[marks.phase as usize] += count,
            (Place::Now(sizes, _), Place::Hold) => self.by_sizes[sizes.phase as usize] += count,
            (Place::Hold, Place::Hold) => self.open += count,
        }
        if let Some(settled) = sizes.after {
            self.sizes_settle(settled);
        }
    }

    /// The marks say what the operations serve that were held for them.
    pub(super) fn marks_settle(&mut self, settled: Settled) {
        let phase = phase_of(settled);
        for (sizes, count) in Phase::ALL.into_iter().zip(std::mem::take(&mut self.by_sizes)) {
            self.compare(sizes, phase, count);
        }
        self.by_marks[phase as usize] += std::mem::take(&mut self.open);
    }

    /// The sizes show what the operations serve that were held for them.
    pub(super) fn sizes_settle(&mut self, settled: Settled) {
        let phase = phase_of(settled);
        for (marks, count) in Phase::ALL.into_iter().zip(std::mem::take(&mut self.by_marks)) {
            self.compare(phase, marks, count);
        }
        self.by_sizes[phase as usize] += std::mem::take(&mut self.open);
    }

    fn compare(&mut self, sizes: Phase, marks: Phase, count: u64) {
        if sizes != marks && sizes != Phase::Unknown && marks != Phase::Unknown {
            self.differing += count;
        }
    }
}

/// What is left to another stage to say is not compared.
fn phase_of(settled: Settled) -> Phase {
    match settled {
        Settled::Now(label, _) => label.phase,
        Settled::Later(_) => Phase::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::phase::{Label, Source, Tokens};
    use super::*;

    fn now(phase: Phase) -> Turn {
        Turn::now(Label::known(phase, Source::Plugin), Tokens::default())
    }

    fn settled(phase: Phase) -> Settled {
        Settled::Now(Label::known(phase, Source::Plugin), Tokens::default())
    }

    #[test]
    fn operations_are_compared_when_both_have_spoken_in_whatever_order() {
        let (prefill, mixed) = (Phase::Prefill, Phase::Mixed);
        let mut both_now = Disagreement::default();
        both_now.operations(3, &now(prefill), &now(mixed));
        assert_eq!(both_now.differing(), 3);

        let mut sizes_late = Disagreement::default();
        sizes_late.operations(3, &Turn::HOLD, &now(mixed));
        sizes_late.operations(1, &now(mixed).settling(settled(prefill)), &now(mixed));
        assert_eq!(sizes_late.differing(), 3);

        let mut marks_late = Disagreement::default();
        marks_late.operations(3, &now(prefill), &Turn::HOLD);
        marks_late.marks_settle(settled(mixed));
        assert_eq!(marks_late.differing(), 3);

        for marks_first in [true, false] {
            let mut both_late = Disagreement::default();
            both_late.operations(3, &Turn::HOLD, &Turn::HOLD);
            match marks_first {
                true => {
                    both_late.marks_settle(settled(mixed));
                    both_late.sizes_settle(settled(prefill));
                }
                false => {
                    both_late.sizes_settle(settled(prefill));
                    both_late.marks_settle(settled(mixed));
                }
            }
            assert_eq!(both_late.differing(), 3);
        }
    }

    #[test]
    fn who_does_not_know_does_not_disagree() {
        let mut disagreement = Disagreement::default();
        disagreement.operations(1, &now(Phase::Unknown), &now(Phase::Mixed));
        disagreement.operations(1, &now(Phase::Decode), &now(Phase::Unknown));
        disagreement.operations(1, &now(Phase::Decode), &now(Phase::Decode));
        assert_eq!(disagreement.differing(), 0);
    }
}
