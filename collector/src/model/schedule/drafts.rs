//! What a draft model sends: its own passes, on the ranks of the model that it guesses for.

use super::forward::Forward;
use super::{Part, Schedule};

impl Forward<'_> {
    /// Behind a step: a pass of as many tokens as the step, and then for each further guess one of a
    /// token per request; each ends in the logits of every request, which a part of a prompt has too
    /// (`propose`).
    pub(super) fn draft(&self, schedule: &mut Schedule, requests: u64) {
        let Some(draft) = self.deployment.draft() else { return };
        let further = draft.tokens.saturating_sub(1);
        self.draft_passes(schedule, self.tokens(), 1);
        self.draft_passes(schedule, requests, further);
        self.logits_of(schedule, requests, draft.vocabulary, 1 + further);
    }

    /// Behind a pass that serves nobody: passes of as many tokens, without logits.
    pub(super) fn draft_without_requests(&self, schedule: &mut Schedule) {
        let Some(draft) = self.deployment.draft() else { return };
        let passes = draft.passes_without_requests(self.deployment.engine);
        self.draft_passes(schedule, self.tokens(), passes);
    }

    /// All-reduces of the embedding and of two linears per layer, as in the model itself.
    fn draft_passes(&self, schedule: &mut Schedule, tokens: u64, times: u64) {
        let Some(draft) = self.deployment.draft() else { return };
        if self.deployment.layout.tensor > 1 {
            let (hidden, count) = (draft.hidden_size, 1 + 2 * draft.layers);
            let call = self.all_reduce(tokens, hidden);
            schedule.add(self.ranks(self.last_stage(), Part::Every), call, count * times);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::presets::preset;
    use crate::model::{
        Deployment, Draft, Engine, Layout, Prediction, Settings, Speculation, Step,
    };
    use crate::outputs::rows::View;

    /// Counts of (operation, elements) in a phase, at rank 0.
    fn counts(engine: Engine, phase: &str) -> Vec<(&'static str, u64, u64)> {
        let draft = Draft { tokens: 3, hidden_size: 1024, layers: 1, vocabulary: 32_000 };
        let settings = Settings {
            engine,
            max_num_seqs: Some(16),
            max_num_batched_tokens: Some(512),
            speculation: Some(Speculation::Draft(draft)),
            ..Settings::PAPER
        };
        let model = preset("llama-3.1-8b").unwrap();
        let deployment = Deployment::new(model, Layout::new(2, 1), settings).unwrap();
        // Two requests, each with its next token and three guesses.
        let step = Step { decodes: vec![9, 9], drafts: 6, ..Step::default() };
        let prediction = Prediction::of_steps(deployment, &[vec![step]]).unwrap();
        let rows = prediction.rows(View::Operations).into_iter().filter(|row| row.phase == phase);
        rows.map(|row| (row.op.unwrap(), row.elements, row.count)).collect()
    }

    #[test]
    fn a_draft_model_passes_over_the_step_and_then_over_a_token_of_each_request() {
        let counts = counts(Engine::V1Release0_11, "decode");
        for row in [
            ("AllReduce", 8 * 4096, 65),
            ("AllGather", 8 * 64_128, 1),
            ("AllReduce", 8 * 1024, 3),
            ("AllReduce", 2 * 1024, 6),
            ("AllGather", 2 * 16_000, 3),
        ] {
            assert!(counts.contains(&row), "{row:?}: {counts:?}");
        }
        assert_eq!(counts.len(), 5);
    }

    #[test]
    fn passes_that_serve_nobody_have_drafts_without_logits() {
        for (engine, passes) in [(Engine::V1Release0_11, 1), (Engine::V1Release0_20, 3)] {
            let counts = counts(engine, "startup");
            assert!(counts.contains(&("AllReduce", 512 * 1024, 3 * passes)), "profiling");
            assert!(counts.contains(&("AllReduce", 16 * 1024, 3 * passes)), "sampler");
        }
    }
}
