//! What a recogniser says of one operation.

use super::phase::{Label, Tokens};

/// Where an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Into the counts, under this label.
    Now(Label, Tokens),
    /// To what is held until its phase is known.
    Hold,
}

/// What the operations that are held serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// This.
    Now(Label, Tokens),
    /// What the step with this number serves, which another stage of the pipeline knows.
    Later(u64),
}

impl Settled {
    pub(super) const UNKNOWN: Self = Self::Now(Label::UNKNOWN, Tokens::NONE);
}

/// What to do with an operation, and with those that are held, before it and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) before: Option<Settled>,
    pub(crate) place: Place,
    pub(crate) after: Option<Settled>,
    /// Steps that are known now: so many, with this label and so many tokens together.
    pub(crate) steps: Option<(u64, Label, Tokens)>,
    /// The operation is all that the root of a gather in a group of two calls.
    pub(crate) gathers: bool,
}

impl Turn {
    pub(super) const HOLD: Self =
        Self { before: None, place: Place::Hold, after: None, steps: None, gathers: false };

    #[inline]
    pub(super) const fn now(label: Label, tokens: Tokens) -> Self {
        Self {
            before: None,
            place: Place::Now(label, tokens),
            after: None,
            steps: None,
            gathers: false,
        }
    }

    #[inline]
    pub(super) const fn unknown() -> Self {
        Self::now(Label::UNKNOWN, Tokens::NONE)
    }

    pub(super) const fn settling(self, before: Settled) -> Self {
        Self { before: Some(before), ..self }
    }

    pub(super) const fn then(self, after: Settled) -> Self {
        Self { after: Some(after), ..self }
    }

    pub(super) const fn step(self, label: Label, tokens: Tokens) -> Self {
        self.steps(1, label, tokens)
    }

    pub(super) const fn steps(self, steps: u64, label: Label, tokens: Tokens) -> Self {
        Self { steps: Some((steps, label, tokens)), ..self }
    }

    pub(super) const fn unknown_steps(self, steps: u64) -> Self {
        self.steps(steps, Label::UNKNOWN, Tokens::NONE)
    }
}
