//! What went wrong and what to do about it, kept apart: a log line wants both, `check` each in its
//! place, and nobody reads them back out of a text.

use std::fmt;

/// What happened, and what to do about it. As text, the two are one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What happened, and with what.
    pub cause: String,
    /// What to do; `None` where there is nothing to do but wait.
    pub cure: Option<String>,
}

impl Explanation {
    pub(super) fn new(cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Explanation {
            cause: cause.into(),
            cure: Some(cure.into()),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        match &self.cure {
            Some(cure) => write!(f, "; {cure}"),
            None => Ok(()),
        }
    }
}
