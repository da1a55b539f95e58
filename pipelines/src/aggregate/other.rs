//! What stands for rows that an open window has no room for.

use std::sync::Arc;

use schemas::{Endpoint, EndpointKind, Handle, InterfaceId, Labels, Protocol, Tuple};

use crate::{Attributed, Ends, Judged};

/// The ends named `other`, and what was said of them by verdict.
pub(super) struct Other {
    ends: Arc<Ends>,
    judged: Vec<Arc<Judged>>,
}

// === impl Other ===

impl Default for Other {
    fn default() -> Self {
        let labels = Handle::lone(Labels::default());
        let endpoint = Handle::lone(Endpoint::bare(EndpointKind::Network, "other", &labels));
        let ends = Ends::new((endpoint.clone(), true), (endpoint, true), None, None);
        Self { ends: Arc::new(ends), judged: Vec::new() }
    }
}

impl Other {
    /// Leaves of a row what its sums need: the side, the action and where it was seen.
    pub(super) fn stand_in(&mut self, row: &mut Attributed) {
        let verdict = row.side().verdict;
        let is_known = |judged: &&Arc<Judged>| judged.verdict == verdict;
        let judged = self.judged.iter().find(is_known).cloned().unwrap_or_else(|| {
            let sentence = "one of many for which the window had no room";
            let judged = Judged::without_policy(verdict, sentence, 0);
            self.judged.push(judged.clone());
            judged
        });
        row.judged = judged;
        row.ends = self.ends.clone();
        let seen = &mut row.connection;
        seen.interface = InterfaceId(0);
        seen.tuple = Tuple { protocol: Protocol(0), ..Tuple::default() };
        seen.translated = None;
    }
}
