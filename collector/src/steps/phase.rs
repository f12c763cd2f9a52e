//! What a step is for, and how that is known.

/// The part of a request that an operation serves. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Tokens of prompts, and nothing else.
    Prefill,
    /// One token or more for each of some running sequences, and nothing else.
    Decode,
    /// Both in one step.
    Mixed,
    /// No request: warm-up, profiling, capture, idle partners of a data-parallel group.
    Startup,
    /// Not known.
    Unknown,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 5] =
        [Self::Prefill, Self::Decode, Self::Mixed, Self::Startup, Self::Unknown];

    /// The name in reports and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Mixed => "mixed",
            Self::Startup => "startup",
            Self::Unknown => "unknown",
        }
    }
}

/// How a phase is known. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The engine marked the step: by the plugin, or by the functions of nccltap.h.
    Plugin,
    /// No step had begun, and the process had shown that it is an engine's worker.
    Startup,
    /// Sizes of the step's metadata, which vLLM's V0 engine broadcasts before the forward pass.
    Metadata,
    /// The forward pass was a CUDA graph of a kind that holds decode only.
    Graph,
    /// Rows of the logits against tokens of the forward pass.
    Rows,
    /// The same, where tokens are known but for the padding of a CUDA graph.
    Padding,
    /// The pipeline stage that sees the logits knows it of the same step.
    Pipeline,
    /// Sizes of what pipeline stages send, and nothing else.
    Sizes,
}

impl Source {
    /// The name in reports and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Startup => "startup",
            Self::Metadata => "metadata",
            Self::Graph => "graph",
            Self::Rows => "rows",
            Self::Padding => "padding",
            Self::Pipeline => "pipeline",
            Self::Sizes => "sizes",
        }
    }
}

/// What is said of an operation: its phase, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// The phase.
    pub phase: Phase,
    /// How it is known, `None` when it is not.
    pub source: Option<Source>,
}

impl Label {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { phase: Phase::Unknown, source: None };
    /// Start-up work of an engine.
    pub const STARTUP: Self = Self { phase: Phase::Startup, source: Some(Source::Startup) };

    /// `phase`, known by `source`.
    pub const fn known(phase: Phase, source: Source) -> Self {
        Self { phase, source: Some(source) }
    }
}

/// Tokens of a step, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of prompts.
    pub prefill: u64,
    /// Of running sequences.
    pub decode: u64,
}

impl Tokens {
    /// None that are known.
    pub const NONE: Self = Self { prefill: 0, decode: 0 };

    /// So many tokens, all of them in `phase`. A mixed step's are not known by their sum.
    pub fn all(phase: Phase, tokens: u64) -> Self {
        match phase {
            Phase::Prefill => Self { prefill: tokens, decode: 0 },
            Phase::Decode => Self { prefill: 0, decode: tokens },
            Phase::Mixed | Phase::Startup | Phase::Unknown => Self::default(),
        }
    }
}
