//! From what a scheduler logged to the steps that it made.

use super::{Chunk, Step};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// One step as its scheduler logged it: a line of a trace. One without tokens is a pass that a replica
/// makes because the others make theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduled {
    /// Requests that it schedules for the first time, or anew after it had taken them back.
    #[serde(default)]
    pub new: BTreeMap<String, New>,
    /// The tokens of each request that are computed, drafts counted.
    pub tokens: BTreeMap<String, u64>,
    /// Of these, tokens that a draft model or an n-gram guessed.
    #[serde(default)]
    pub drafts: BTreeMap<String, u64>,
}

/// A request at the time when it is scheduled for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// Tokens that are known: the prompt, and what it generated before it was taken back.
    pub prompt: u64,
    /// Of these, how many the prefix cache has.
    #[serde(default)]
    pub cached: u64,
}

/// Why a trace is no trace. Each names the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceError {
    /// Scheduled, and was never new.
    Unknown(String),
    /// A new request with no prompt, or one that the cache has all of.
    Prompt(String),
    /// Scheduled with no token.
    NoToken(String),
    /// Several tokens behind the prompt which are not all but one drafts.
    SeveralTokens(String),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(request) => {
                write!(f, "request {request} has tokens and was never in `new`")
            }
            Self::Prompt(request) => {
                write!(f, "request {request} must have a prompt of which not all is cached")
            }
            Self::NoToken(request) => write!(f, "request {request} is scheduled with no token"),
            Self::SeveralTokens(request) => write!(
                f,
                "request {request} is past its prompt, where one token more than its `drafts` is computed"
            ),
        }
    }
}

impl std::error::Error for TraceError {}

/// The requests of a trace, as far as it is read.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    requests: BTreeMap<String, Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    prompt: u64,
    computed: u64,
    fresh: bool,
}

impl Trace {
    /// The step of the next line. A request is done with its prompt when so many tokens are computed;
    /// drafts count as computed only as far as they are accepted, which the next line tells by what
    /// it computes, so that only lengths, never counts of a step, depend on it.
    pub fn step(&mut self, line: &Scheduled) -> Result<Step, TraceError> {
        for (request, New { prompt, cached }) in &line.new {
            if cached >= prompt {
                return Err(TraceError::Prompt(request.clone()));
            }
            let progress = Progress { prompt: *prompt, computed: *cached, fresh: true };
            self.requests.insert(request.clone(), progress);
        }
        let mut step = Step::default();
        for (request, tokens) in &line.tokens {
            let Some(progress) = self.requests.get_mut(request) else {
                return Err(TraceError::Unknown(request.clone()));
            };
            if *tokens == 0 {
                return Err(TraceError::NoToken(request.clone()));
            }
            let drafts = line.drafts.get(request).copied().unwrap_or(0);
            let context = progress.computed;
            if context < progress.prompt {
                progress.computed = context.saturating_add(*tokens);
                step.prompts.push(Chunk {
                    tokens: *tokens,
                    context,
                    prompt: progress.prompt,
                    last: progress.computed >= progress.prompt,
                    cache_hit: progress.fresh && context > 0,
                });
            } else {
                if drafts.checked_add(1) != Some(*tokens) {
                    return Err(TraceError::SeveralTokens(request.clone()));
                }
                progress.computed = context.saturating_add(1);
                step.decodes.push(progress.computed);
                step.drafts += drafts;
            }
            progress.fresh = false;
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Phase;
    use proptest::prelude::*;

    fn line(text: &str) -> Scheduled {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_prompt_in_two_parts_and_the_tokens_behind_it() {
        let mut trace = Trace::default();
        let lines = [
            r#"{"new": {"a": {"prompt": 100}}, "tokens": {"a": 60}}"#,
            r#"{"new": {"b": {"prompt": 48, "cached": 32}}, "tokens": {"a": 40, "b": 16}}"#,
            r#"{"tokens": {"a": 1, "b": 1}}"#,
        ];
        let steps: Vec<Step> = lines.iter().map(|text| trace.step(&line(text)).unwrap()).collect();
        let chunk = |tokens, context, prompt, last, cache_hit| Chunk {
            tokens,
            context,
            prompt,
            last,
            cache_hit,
        };
        assert_eq!(steps[0].prompts, [chunk(60, 0, 100, false, false)]);
        assert_eq!(
            steps[1].prompts,
            [chunk(40, 60, 100, true, false), chunk(16, 32, 48, true, true)]
        );
        assert_eq!((steps[2].phase(), steps[2].decodes.clone()), (Phase::Decode, vec![101, 49]));
    }

    #[test]
    fn drafts_are_computed_with_the_token_that_they_follow() {
        let mut trace = Trace::default();
        trace.step(&line(r#"{"new": {"a": {"prompt": 8}}, "tokens": {"a": 8}}"#)).unwrap();
        let step = trace.step(&line(r#"{"tokens": {"a": 4}, "drafts": {"a": 3}}"#)).unwrap();
        assert_eq!((step.tokens(), step.sequences(), step.sampled()), (4, 1, 1));
    }

    #[test]
    fn a_request_that_was_taken_back_begins_anew() {
        let mut trace = Trace::default();
        trace.step(&line(r#"{"new": {"a": {"prompt": 8}}, "tokens": {"a": 8}}"#)).unwrap();
        trace.step(&line(r#"{"tokens": {"a": 1}}"#)).unwrap();
        let step = trace.step(&line(r#"{"new": {"a": {"prompt": 10}}, "tokens": {"a": 10}}"#));
        assert_eq!(step.unwrap().prompts[0].prompt, 10);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_request() {
        let of = |text| Trace::default().step(&line(text)).unwrap_err().to_string();
        assert!(of(r#"{"tokens": {"a": 1}}"#).contains("request a"));
        assert!(of(r#"{"new": {"a": {"prompt": 0}}, "tokens": {"a": 1}}"#).contains("prompt"));
        assert!(of(r#"{"new": {"a": {"prompt": 1}}, "tokens": {"a": 0}}"#).contains("no token"));
        let mut trace = Trace::default();
        trace.step(&line(r#"{"new": {"a": {"prompt": 8}}, "tokens": {"a": 8}}"#)).unwrap();
        let error = trace.step(&line(r#"{"tokens": {"a": 2}}"#)).unwrap_err();
        assert!(error.to_string().contains("drafts"));
    }

    proptest! {
        #[test]
        fn no_token_of_a_trace_is_lost(tokens in prop::collection::vec(1u64..500, 1..30)) {
            let mut trace = Trace::default();
            let prompt: u64 = tokens.iter().sum();
            for (at, tokens) in tokens.iter().enumerate() {
                let mut line = Scheduled::default();
                if at == 0 {
                    line.new.insert("a".to_owned(), New { prompt, cached: 0 });
                }
                line.tokens.insert("a".to_owned(), *tokens);
                let step = trace.step(&line).unwrap();
                prop_assert_eq!((step.tokens(), step.sequences()), (*tokens, 1));
            }
        }
    }
}
