//! Whether the daemon does its work, and if not, why.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Reasons not to be ready, by part. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

// === impl Readiness ===

impl Readiness {
    /// Says that a part is not ready, and why.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.0.lock().insert(part, why.into());
    }

    /// Says that a part is ready.
    pub fn ready(&self, part: &'static str) {
        self.0.lock().remove(part);
    }

    /// What is not ready: none when everything is.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().clone()
    }
}
