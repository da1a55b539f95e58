//! An immutable policy set that answers questions.

use schemas::{Reason, Trace, Verdict};

use crate::{Document, Judgement, Problem, Question, Settings};

/// An immutable policy set.
#[derive(Debug, Default)]
pub struct Compiled {
    revision: u64,
    settings: Settings,
}

// === impl Compiled ===

impl Compiled {
    /// Compiles a set, and says what is wrong with its documents.
    #[must_use]
    pub fn compile(documents: &[Document], settings: &Settings) -> (Self, Vec<Problem>) {
        let _ = documents;
        (Self { revision: 0, settings: *settings }, Vec::new())
    }

    /// A hash of the canonical policies in force: equal sets have equal revisions.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The bytes that this set holds, estimated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self)
    }

    /// What both sides' policies say.
    #[must_use]
    pub fn judge(&self, question: &Question<'_>) -> Judgement {
        let _ = (question, self.settings);
        let trace = Trace {
            enforced: Box::default(),
            pending: Box::default(),
            verdict: Verdict::Allow,
            pending_verdict: Verdict::Allow,
            as_read: Verdict::Allow,
        };
        Judgement { egress: trace.clone(), ingress: trace, verdict: Verdict::Allow }
    }

    /// Why, for people: of the egress and of the ingress side.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>, judgement: &Judgement) -> (Reason, Reason) {
        let _ = (question, judgement, self.settings);
        (Reason::default(), Reason::default())
    }
}
