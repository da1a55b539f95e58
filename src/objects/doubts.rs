//! What an object that could not be read leaves open about who is who.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::{Broken, Kind};
use policy::Judgement;
use schemas::{Endpoint, EndpointKind, Trace, Verdict};

/// Objects that say who is who and could not be read.
#[derive(Clone, Debug, Default)]
pub struct Doubts {
    namespaces: BTreeMap<Arc<str>, String>,
    /// By namespace and name.
    accounts: BTreeMap<(Arc<str>, Arc<str>), String>,
    nodes: BTreeMap<Arc<str>, String>,
    /// Any of these may have an address that nobody else has.
    holders: Vec<String>,
}

// === impl Doubts ===

impl Doubts {
    /// What these leave open. Broken policies are the policies' own affair.
    #[must_use]
    pub fn of(broken: &[Broken]) -> Self {
        let mut doubts = Self::default();
        for one in broken {
            doubts.add(one);
        }
        doubts
    }

    fn add(&mut self, broken: &Broken) {
        let Some(kind) = &broken.kind else { return };
        let group = broken.api_version.as_deref().and_then(|version| version.split_once('/'));
        let Some(kind) = Kind::of(group.map_or("", |(group, _)| group), kind) else { return };
        let source = broken.source.to_string();
        let name = broken.name.clone().unwrap_or_default();
        let namespace = broken.namespace.clone().unwrap_or_else(|| "default".into());
        match kind {
            Kind::Namespace => {
                self.namespaces.insert(name, source);
            }
            Kind::ServiceAccount => {
                self.accounts.insert((namespace, name), source);
            }
            Kind::Node => {
                self.nodes.insert(name, source.clone());
                self.holders.push(source);
            }
            Kind::Pod | Kind::Service | Kind::EndpointSlice => self.holders.push(source),
            _ => {}
        }
    }

    /// The object that leaves open who this is.
    #[must_use]
    pub fn about(&self, endpoint: &Endpoint) -> Option<&str> {
        match endpoint.kind {
            EndpointKind::Network => self.holders.first(),
            EndpointKind::HostEndpoint => self.nodes.get(&endpoint.name),
            _ => {
                let account = (endpoint.namespace.clone(), endpoint.service_account.clone());
                self.namespaces.get(&endpoint.namespace).or_else(|| self.accounts.get(&account))
            }
        }
        .map(String::as_str)
    }

    /// Makes incomplete what depends on who these two are; says which object is to blame.
    pub fn apply(&self, ends: (&Endpoint, &Endpoint), judgement: &mut Judgement) -> Option<&str> {
        let blamed = self.about(ends.0).or_else(|| self.about(ends.1))?;
        for side in [&mut judgement.egress, &mut judgement.ingress] {
            leave_open(Arc::make_mut(side));
        }
        judgement.verdict = judgement.egress.verdict.both(judgement.ingress.verdict);
        Some(blamed)
    }
}

/// A deny too: with other labels another policy might have selected, or another rule matched.
fn leave_open(side: &mut Trace) {
    if side.verdict != Verdict::Incomplete {
        side.as_read = side.verdict;
        side.verdict = Verdict::Incomplete;
        side.pending_verdict = Verdict::Incomplete;
    }
}
