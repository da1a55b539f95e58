//! A filter part by part, for who looks at many flows and keeps what he knows of what they share.

use super::{Filter, Hits, Party, any};
use crate::connection::Reporter;
use crate::policy::{Trace, Verdict};

/// What a filter says of one end of a flow.
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyMatch {
    /// It may be the source.
    pub source: bool,
    /// It may be the destination.
    pub destination: bool,
    /// It has a name that one of the two must have.
    pub name: bool,
    /// It has a namespace that one of the two must have.
    pub namespace: bool,
}

// === impl PartyMatch ===

impl PartyMatch {
    /// Whether a flow from this end to that one is asked for.
    #[must_use]
    pub const fn is_from_to(self, to: Self) -> bool {
        self.source && to.destination && (self.name || to.name) && (self.namespace || to.namespace)
    }
}

// === impl Filter ===

impl Filter {
    /// What it says of one end.
    #[must_use]
    pub fn party(&self, party: &Party<'_>) -> PartyMatch {
        let namespace = |asked: &super::StringMatch| asked.matches_namespace(party.namespace);
        let name = |asked: &super::StringMatch| asked.matches_name(party);
        PartyMatch {
            source: any(&self.source_namespaces, namespace) && any(&self.source_names, name),
            destination: any(&self.dest_namespaces, namespace) && any(&self.dest_names, name),
            name: any(&self.names, name),
            namespace: any(&self.namespaces, namespace),
        }
    }

    /// Whether port, reporter and action are asked for.
    #[must_use]
    pub fn matches_numbers(&self, port: Option<u16>, reporter: Reporter, action: Verdict) -> bool {
        any(&self.dest_ports, |asked| port == Some(asked.value))
            && any(&self.actions, |asked| asked.is_verdict(action))
            && self.reporter.is_none_or(|asked| asked == reporter)
    }

    /// Whether a protocol of this name is asked for.
    #[must_use]
    pub fn matches_protocol(&self, protocol: &str) -> bool {
        any(&self.protocols, |asked| asked.matches(protocol))
    }

    /// Whether what the policies said is asked for.
    #[must_use]
    pub fn matches_trace(&self, trace: Option<&Trace>) -> bool {
        let [enforced, pending] = Hits::of_trace(trace);
        self.matches_hits(&enforced, &pending)
    }
}
