//! Steps that the engine itself marks, by the plugin or by the functions of `nccltap.h`.
//!
//! Nothing is inferred here. What ended between the begin of a step and its end belongs to it, on whatever
//! thread. Of a step that is described late, everything is held until then. Where marks may be missing,
//! everything up to the next one is unknown.

use super::StepCount;
use super::phase::{Label, Phase, Source, Tokens};
use super::turn::{Settled, Turn};
use nccltap_proto::{Mark, MarkedStep};

/// Where in the engine's steps a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Now {
    /// Between steps.
    #[default]
    Outside,
    /// In a step of which it has not been said what it is.
    NotDescribed { holds: bool },
    /// In a step that is known.
    In(Label, Tokens),
    /// Marks may be missing.
    Lost,
}

/// The marks of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marked {
    now: Now,
    /// A step that serves requests has been marked, or may have been.
    serving: bool,
}

impl Marked {
    /// An operation, or several that were launched together. `None` while the marks say nothing: between those
    /// of an engine's start-up.
    #[inline]
    pub(super) fn operation(&mut self) -> Option<Turn> {
        match &mut self.now {
            Now::In(label, tokens) => Some(Turn::now(*label, *tokens)),
            Now::NotDescribed { holds } => {
                *holds = true;
                Some(Turn::HOLD)
            }
            Now::Outside if !self.serving => None,
            Now::Outside | Now::Lost => Some(Turn::unknown()),
        }
    }

    /// Whether the marks say nothing of what is done now.
    pub(super) fn is_silent(&self) -> bool {
        self.now == Now::Outside && !self.serving
    }

    /// Takes a mark. Says what is held serves, if anything is settled, and tells `count` of steps.
    pub(super) fn mark(
        &mut self,
        mark: &Mark,
        mut count: impl FnMut(Label, StepCount),
    ) -> Option<Settled> {
        match *mark {
            Mark::Begin(None) => {
                let settled = self.leave(&mut count);
                self.now = Now::NotDescribed { holds: false };
                settled
            }
            Mark::Begin(Some(step)) => {
                let settled = self.leave(&mut count);
                self.enter(&step);
                if !step.is_continued() {
                    count(label_of(&step), count_of(&step));
                }
                settled
            }
            Mark::Describe(Some(step)) => {
                let before = self.now;
                self.enter(&step);
                if !matches!(before, Now::In(..)) && !step.is_continued() {
                    count(label_of(&step), count_of(&step));
                }
                let late = matches!(before, Now::NotDescribed { .. });
                late.then(|| Settled::Now(label_of(&step), tokens_of(&step)))
            }
            // Says nothing of steps.
            Mark::Describe(None) | Mark::Place(_) | Mark::Chosen(_) => None,
            Mark::End => {
                let settled = self.leave(&mut count);
                self.now = Now::Outside;
                settled
            }
        }
    }

    /// Marks may be missing here.
    pub(super) fn gap(&mut self) {
        self.now = Now::Lost;
        self.serving = true;
    }

    fn enter(&mut self, step: &MarkedStep) {
        self.serving |= !step.is_startup();
        self.now = Now::In(label_of(step), tokens_of(step));
    }

    /// The step under way is over. One that was never described and did nothing was none.
    fn leave(&mut self, count: &mut impl FnMut(Label, StepCount)) -> Option<Settled> {
        let Now::NotDescribed { holds: true } = self.now else { return None };
        count(Label::UNKNOWN, StepCount { steps: 1, ..StepCount::default() });
        Some(Settled::UNKNOWN)
    }
}

fn label_of(step: &MarkedStep) -> Label {
    let prefill = step.prefill_tokens > 0 || step.prefill_requests > 0;
    let decode = step.decode_tokens > 0 || step.decode_requests > 0;
    let phase = match (prefill, decode) {
        _ if step.is_startup() => Phase::Startup,
        (true, true) => Phase::Mixed,
        (true, false) => Phase::Prefill,
        (false, true) => Phase::Decode,
        (false, false) => return Label::UNKNOWN,
    };
    Label::known(phase, Source::Plugin)
}

fn tokens_of(step: &MarkedStep) -> Tokens {
    Tokens { prefill: step.prefill_tokens.into(), decode: step.decode_tokens.into() }
}

fn count_of(step: &MarkedStep) -> StepCount {
    if step.is_startup() {
        // Its tokens are nobody's.
        return StepCount { steps: 1, ..StepCount::default() };
    }
    StepCount {
        steps: 1,
        tokens: tokens_of(step),
        prefill_requests: step.prefill_requests.into(),
        decode_requests: step.decode_requests.into(),
        speculative_tokens: step.speculative_tokens.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::turn::Place;
    use super::*;
    use proptest::prelude::*;

    const PREFILL: MarkedStep = MarkedStep {
        prefill_requests: 1,
        decode_requests: 0,
        prefill_tokens: 128,
        decode_tokens: 0,
        speculative_tokens: 0,
        flags: 0,
    };
    const DECODE: MarkedStep = MarkedStep {
        prefill_requests: 0,
        decode_requests: 3,
        prefill_tokens: 0,
        decode_tokens: 3,
        ..PREFILL
    };
    const MIXED: MarkedStep = MarkedStep { decode_requests: 3, decode_tokens: 3, ..PREFILL };
    const PROFILE: MarkedStep = MarkedStep { flags: nccltap_proto::marks::PROFILE, ..PREFILL };

    /// What a process does, one thing after the other.
    #[derive(Clone, Copy, Debug)]
    enum Does {
        Begin(Option<MarkedStep>),
        Describe(MarkedStep),
        End,
        Operation,
        Gap,
    }
    use Does::{Begin, Describe, End, Gap, Operation};

    /// The phases under which operations are counted, in order, and the steps.
    fn follow(all: &[Does]) -> (Vec<Phase>, Vec<(Phase, StepCount)>) {
        let (mut marked, mut phases, mut steps) = (Marked::default(), Vec::new(), Vec::new());
        let mut held = 0;
        for does in all {
            let mark = match *does {
                Begin(step) => Mark::Begin(step),
                Describe(step) => Mark::Describe(Some(step)),
                End => Mark::End,
                Operation => {
                    match marked.operation().map(|turn| turn.place) {
                        Some(Place::Hold) => held += 1,
                        Some(Place::Now(label, _)) => phases.push(label.phase),
                        None => phases.push(Phase::Unknown),
                    }
                    continue;
                }
                Gap => {
                    marked.gap();
                    phases.extend(std::iter::repeat_n(Phase::Unknown, std::mem::take(&mut held)));
                    continue;
                }
            };
            let settled = marked.mark(&mark, |label, count| steps.push((label.phase, count)));
            if let Some(Settled::Now(label, _)) = settled {
                phases.extend(std::iter::repeat_n(label.phase, std::mem::take(&mut held)));
            }
        }
        phases.extend(std::iter::repeat_n(Phase::Unknown, held));
        (phases, steps)
    }

    #[test]
    fn operations_take_the_phase_of_the_step_they_are_in() {
        let (phases, steps) = follow(&[
            Begin(Some(PREFILL)),
            Operation,
            End,
            Begin(Some(MIXED)),
            Operation,
            Operation,
            End,
            Begin(Some(DECODE)),
            Operation,
            End,
        ]);
        assert_eq!(phases, [Phase::Prefill, Phase::Mixed, Phase::Mixed, Phase::Decode]);
        let tokens = |prefill, decode| Tokens { prefill, decode };
        let seen: Vec<_> = steps.iter().map(|(phase, count)| (*phase, count.tokens)).collect();
        let expected = [
            (Phase::Prefill, tokens(128, 0)),
            (Phase::Mixed, tokens(128, 3)),
            (Phase::Decode, tokens(0, 3)),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_step_that_is_described_late_is_held_until_then() {
        let (phases, steps) =
            follow(&[Begin(None), Operation, Operation, Describe(DECODE), Operation, End]);
        assert_eq!(phases, [Phase::Decode; 3]);
        assert_eq!(steps.len(), 1);
    }

    #[test]
    fn a_step_that_is_never_described_is_unknown_and_one_that_did_nothing_was_none() {
        let (phases, steps) = follow(&[Begin(None), Operation, End, Begin(None), End]);
        assert_eq!(phases, [Phase::Unknown]);
        assert_eq!(steps.len(), 1);
    }

    #[test]
    fn a_run_at_start_up_is_marked_as_that_and_between_steps_nothing_is_known() {
        let profile = [Begin(Some(PROFILE)), Operation, End];
        let step = [Begin(Some(PREFILL)), End, Operation];
        let (phases, _) = follow(&[profile.as_slice(), step.as_slice()].concat());
        assert_eq!(phases, [Phase::Startup, Phase::Unknown]);
    }

    #[test]
    fn until_a_request_is_served_the_sizes_speak_where_the_marks_do_not() {
        let mut marked = Marked::default();
        assert_eq!(marked.operation(), None);
        marked.mark(&Mark::Begin(Some(PROFILE)), |_, _| ());
        assert!(marked.operation().is_some());
        marked.mark(&Mark::End, |_, _| ());
        assert_eq!(marked.operation(), None);
        marked.mark(&Mark::Begin(Some(PREFILL)), |_, _| ());
        marked.mark(&Mark::End, |_, _| ());
        assert_eq!(marked.operation(), Some(Turn::unknown()));
    }

    #[test]
    fn sampling_that_is_marked_apart_is_no_step_of_its_own() {
        let rest = MarkedStep { flags: nccltap_proto::marks::CONTINUED, ..MIXED };
        let (phases, steps) = follow(&[Begin(Some(MIXED)), End, Begin(Some(rest)), Operation, End]);
        assert_eq!((phases, steps.len()), (vec![Phase::Mixed], 1));
    }

    #[test]
    fn a_step_without_end_ends_where_the_next_begins() {
        let (phases, _) = follow(&[Begin(Some(PREFILL)), Begin(Some(DECODE)), Operation]);
        assert_eq!(phases, [Phase::Decode]);
    }

    #[test]
    fn an_empty_step_is_unknown() {
        let (phases, _) = follow(&[Begin(Some(MarkedStep::default())), Operation]);
        assert_eq!(phases, [Phase::Unknown]);
    }

    #[test]
    fn after_a_gap_nothing_is_known_until_the_next_mark_that_says_it() {
        let (phases, _) = follow(&[
            Begin(Some(PREFILL)),
            Gap,
            Operation,
            End,
            Operation,
            Begin(Some(DECODE)),
            Operation,
        ]);
        assert_eq!(phases, [Phase::Unknown, Phase::Unknown, Phase::Decode]);
    }

    fn anything() -> impl Strategy<Value = Vec<Does>> {
        let step = prop_oneof![Just(PREFILL), Just(DECODE), Just(MIXED), Just(PROFILE)];
        let one = prop_oneof![
            prop::option::of(step.clone()).prop_map(Begin),
            step.prop_map(Describe),
            Just(End),
            Just(Operation),
        ];
        prop::collection::vec(one, 0..60)
    }

    proptest! {
        /// Wherever marks are lost: an operation is counted once, and as what it is or as unknown.
        #[test]
        fn lost_marks_make_operations_unknown_and_never_wrong(
            all in anything(),
            lost in prop::collection::vec(any::<bool>(), 60),
        ) {
            let (expected, _) = follow(&all);
            let rest: Vec<Does> = all
                .iter()
                .zip(&lost)
                .map(|(does, lost)| match does {
                    Operation => Operation,
                    _ if *lost => Gap,
                    does => *does,
                })
                .collect();
            let (found, _) = follow(&rest);
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.into_iter().zip(expected) {
                prop_assert!(found == expected || found == Phase::Unknown, "{found:?} for {expected:?}");
            }
        }
    }
}
