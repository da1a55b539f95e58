//! What judgements depend on beside policies and the endpoints that come with a question.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use schemas::{Addr, Endpoint};

use crate::groups::{Groups, kinds, of_kind};
use crate::nets::Nets;
use crate::read::Reading;
use crate::read::facts::{Failsafe, HostEndpoint, Node, Profile};

/// What documents say beside policies.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) hosts: Vec<HostEndpoint>,
    /// The addresses of all of them.
    pub(crate) host_addresses: Nets,
    /// Empty where no policy speaks of a node's labels.
    pub(crate) nodes: FxHashMap<Arc<str>, Node>,
    pub(crate) profiles: FxHashMap<Arc<str>, Profile>,
    /// Ports that are never closed on a host; `None` where no Calico says which.
    pub(crate) failsafe: Option<Failsafe>,
    /// A network set or host endpoint could not be read.
    pub(crate) lacks_addresses: bool,
}

// === impl Facts ===

impl Facts {
    /// What these documents say.
    pub(crate) fn of(groups: &Groups, with_nodes: bool) -> Self {
        let mut facts = Self::default();
        let sorts = [
            kinds::NETWORK_SET,
            kinds::GLOBAL_NETWORK_SET,
            kinds::HOST_ENDPOINT,
            kinds::PROFILE,
            kinds::FELIX_CONFIGURATION,
        ];
        let nodes = with_nodes.then_some(kinds::NODE);
        for (_, read) in sorts.into_iter().chain(nodes).flat_map(|kind| of_kind(groups, kind)) {
            match &read.reading {
                Reading::Host(host) => facts.hosts.push(host.clone()),
                Reading::BrokenAddresses => facts.lacks_addresses = true,
                Reading::Profile(profile) => {
                    facts.profiles.insert(profile.name.clone(), profile.clone());
                }
                Reading::Node(node) => {
                    facts.nodes.insert(node.name.clone(), node.clone());
                }
                Reading::Failsafe(failsafe) => facts.failsafe = Some(failsafe.clone()),
                _ => {}
            }
        }
        let addresses = facts.hosts.iter().flat_map(|host| host.addresses.written());
        facts.host_addresses = addresses.copied().collect();
        facts
    }

    /// A label that an endpoint inherits from a Profile that was written out.
    pub(crate) fn profile_label(&self, endpoint: &Endpoint, key: &str) -> Option<&str> {
        if self.profiles.is_empty() {
            return None;
        }
        let of = |name: String| self.profiles.get(&*name)?.labels.get(key);
        of(namespace_profile(&endpoint.namespace)).or_else(|| of(account_profile(endpoint)))
    }

    /// Whether a host endpoint expects this address.
    pub(crate) fn is_host(&self, addr: Option<Addr>) -> bool {
        addr.is_some_and(|addr| self.host_addresses.holds(addr))
    }
}

/// The profile that every pod of a namespace has.
pub(crate) fn namespace_profile(namespace: &str) -> String {
    format!("kns.{namespace}")
}

fn account_profile(endpoint: &Endpoint) -> String {
    format!("ksa.{}.{}", endpoint.namespace, endpoint.service_account)
}
