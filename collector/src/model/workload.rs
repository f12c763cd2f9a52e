//! What is asked of an engine: requests, and the steps that serve them.

use serde::Deserialize;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Sp of the paper: prompt tokens.
    pub prompt: u64,
    /// Sd of the paper: generated tokens.
    pub output: u64,
    /// Prompt tokens that the prefix cache has already.
    #[serde(default)]
    pub cached: u64,
    /// The step of its scheduler, from 0, before which it arrives: in an engine that runs as soon as a
    /// first request is there, the others find it under way.
    #[serde(default)]
    pub arrives: u64,
}

/// One step of an engine: everything that goes through the model at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Prompts, or parts of them.
    pub prompts: Vec<Chunk>,
    /// The length of each sequence that gets its next token, that token counted.
    pub decodes: Vec<u64>,
    /// Guessed tokens that are computed along with the next ones.
    pub drafts: u64,
}

/// A part of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Tokens that are computed.
    pub tokens: u64,
    /// Tokens before them, computed in earlier steps or cached.
    pub context: u64,
    /// The length of the whole prompt.
    pub prompt: u64,
    /// Whether it is the last part, after which a token is sampled.
    pub last: bool,
    /// Whether the prefix cache gave the context.
    #[serde(default)]
    pub cache_hit: bool,
}

/// What a step, or an operation, serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Before the first request: profiling, capture of graphs.
    Startup,
    /// Prompts alone.
    Prefill,
    /// Next tokens alone.
    Decode,
    /// Both at once.
    Mixed,
    /// Nothing: a pass that a replica makes because the others make theirs.
    Idle,
}

impl Phase {
    /// The name in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Mixed => "mixed",
            Self::Idle => "idle",
        }
    }
}

impl Step {
    /// Tokens that go through the model.
    pub fn tokens(&self) -> u64 {
        let prompts: u64 = self.prompts.iter().map(|chunk| chunk.tokens).sum();
        prompts + self.decodes.len() as u64 + self.drafts
    }

    /// Sequences in it.
    pub fn sequences(&self) -> u64 {
        (self.prompts.len() + self.decodes.len()) as u64
    }

    /// Sequences that get a token.
    pub fn sampled(&self) -> u64 {
        let last = self.prompts.iter().filter(|chunk| chunk.last).count();
        (last + self.decodes.len()) as u64
    }

    /// What it serves: nothing, if no request is in it.
    pub fn phase(&self) -> Phase {
        match (self.prompts.is_empty(), self.decodes.is_empty()) {
            (false, true) => Phase::Prefill,
            (true, false) => Phase::Decode,
            (false, false) => Phase::Mixed,
            (true, true) => Phase::Idle,
        }
    }
}
