//! What a question is answered with.

use policy::Explanation;
use schemas::{Protocol, Verdict};
use serde::Serialize;

/// An answer, or why there is none. In JSON both have the same fields.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The policies' answer.
    Explained(Box<Explanation>),
    /// None.
    Failed(Failed),
}

/// A question that has no answer.
#[derive(Clone, Debug, Serialize)]
pub struct Failed {
    /// As asked; null when it could not be read.
    pub from: Option<String>,
    /// As asked; null when it could not be read.
    pub to: Option<String>,
    /// As asked.
    pub protocol: Option<Protocol>,
    /// As asked, a number.
    pub port: Option<u16>,
    /// Always `unknown`.
    pub verdict: Verdict,
    /// Always null.
    pub egress: (),
    /// Always null.
    pub ingress: (),
    /// What is missing.
    pub sentence: String,
    /// The same: an answer has no such field.
    pub error: String,
}

// === impl Answer ===

impl Answer {
    /// Whether the policies were asked, all of those that could matter.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self, Self::Explained(answer) if answer.verdict != Verdict::Incomplete)
    }

    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Explained(explanation) => explanation.verdict,
            Self::Failed(failed) => failed.verdict,
        }
    }

    /// One line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

// === impl Failed ===

impl Failed {
    /// Nothing is known of the question but what is wrong with it.
    #[must_use]
    pub fn new(error: String) -> Self {
        Self {
            from: None,
            to: None,
            protocol: None,
            port: None,
            verdict: Verdict::Unknown,
            egress: (),
            ingress: (),
            sentence: error.clone(),
            error,
        }
    }
}
