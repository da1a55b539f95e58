//! Policy objects as written, and what is wrong with them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object as written, from any source.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it was written, as `file:line`; for an object of an API server its path there.
    pub source: String,
    /// The object itself.
    pub body: Value,
}

/// Something wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The document's `file:line`.
    pub source: String,
    /// The object, as in `NetworkPolicy shop/default-deny`.
    pub object: String,
    /// The field, as in `spec.ingress[0].ports[1].endPort`; empty for the object as a whole.
    pub field: String,
    /// What was found and what would be right.
    pub message: String,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A cluster takes the object, yet it hardly means what it says.
    Warning,
    /// An API server would refuse the object, or this program cannot read it: the verdicts that
    /// it could touch are `incomplete`.
    Error,
}

// === impl Problem ===

impl fmt::Display for Problem {
    /// `shop.yaml:12: NetworkPolicy shop/web: spec.ingress[0]: what is wrong`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.source, self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
