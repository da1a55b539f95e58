//! One end of a connection as policies see it: a pod, a node, or an address outside.

use schemas::{Addr, Endpoint, EndpointKind, Labels};
use smallvec::SmallVec;

use crate::facts::Facts;
use crate::question::Party;
use crate::read::calico::keys;
use crate::read::facts::HostEndpoint;
use crate::settings::Assume;

/// What an end is to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Pod,
    /// A node, or a pod in its node's network namespace.
    Node,
    /// Neither: an address.
    Outside,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct End<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) addr: Option<Addr>,
    pub(crate) role: Role,
    facts: &'a Facts,
}

/// The Calico host endpoints of a node that an address may belong to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts<'a> {
    pub(crate) list: SmallVec<[&'a HostEndpoint; 1]>,
    /// The address may be of another interface, which has none.
    pub(crate) or_none: bool,
}

// === impl Role ===

impl Role {
    pub(crate) fn of(endpoint: &Endpoint, assume: Assume) -> Self {
        match endpoint.kind {
            EndpointKind::Workload if endpoint.host_network && !assume.host_network_as_pods => {
                Self::Node
            }
            EndpointKind::Workload => Self::Pod,
            EndpointKind::HostEndpoint => Self::Node,
            EndpointKind::NetworkSet | EndpointKind::Network => Self::Outside,
        }
    }

    /// Whether this is neither a pod nor a node.
    const fn is_outside(kind: EndpointKind) -> bool {
        matches!(kind, EndpointKind::NetworkSet | EndpointKind::Network)
    }
}

// === impl End ===

impl<'a> End<'a> {
    pub(crate) fn new(party: Party<'a>, facts: &'a Facts, assume: Assume) -> Self {
        // Whoever has exactly one address is reached by it.
        let only = match party.endpoint.addresses[..] {
            [only] => Some(only),
            _ => None,
        };
        let addr = party.addr.or(only);
        let role = match Role::of(party.endpoint, assume) {
            // A host that is no node of the cluster, or whose Node is not known.
            Role::Outside if facts.is_host(addr) => Role::Node,
            role => role,
        };
        Self { endpoint: party.endpoint, addr, role, facts }
    }

    /// The node that this end is, or runs on; empty when not known.
    pub(crate) fn node(&self) -> &'a str {
        match (self.endpoint.kind, &*self.endpoint.node) {
            (EndpointKind::HostEndpoint, "") => &self.endpoint.name,
            (kind, "") if Role::is_outside(kind) => {
                self.hosts().list.first().map_or("", |host| &host.node)
            }
            (_, node) => node,
        }
    }

    /// The labels of the node that this end is; `None` when they are not known.
    pub(crate) fn node_labels(&self) -> Option<&'a Labels> {
        let by_name = self.facts.nodes.get(self.node());
        let has = |addr: Addr| self.facts.nodes.values().find(|node| node.addresses.holds(addr));
        if let Some(node) = by_name.or_else(|| self.addr.and_then(has)) {
            return Some(&node.labels);
        }
        (self.endpoint.kind == EndpointKind::HostEndpoint).then(|| &*self.endpoint.labels)
    }

    /// A label of this pod's namespace. Every namespace carries its name as one.
    pub(crate) fn namespace_label(&self, key: &str) -> Option<&'a str> {
        let found = self.endpoint.namespace_labels.get(key);
        found.or_else(|| (key == keys::METADATA_NAME).then_some(&*self.endpoint.namespace))
    }

    /// A label of this pod as Calico knows it: its own, those that Calico adds, and those of its
    /// namespace and service account under their prefixes.
    pub(crate) fn calico_label(&self, key: &str) -> Option<&'a str> {
        let endpoint = self.endpoint;
        let account = Some(&*endpoint.service_account).filter(|account| !account.is_empty());
        match key {
            keys::NAMESPACE => return Some(&endpoint.namespace),
            keys::ORCHESTRATOR => return Some("k8s"),
            keys::SERVICE_ACCOUNT if account.is_some_and(|account| account.len() < 63) => {
                return account;
            }
            _ => {}
        }
        if let Some(value) = endpoint.labels.get(key) {
            return Some(value);
        }
        let inherited = if let Some(key) = key.strip_prefix(keys::OF_NAMESPACE) {
            match key {
                keys::NAME => Some(&*endpoint.namespace),
                _ => self.namespace_label(key),
            }
        } else if let Some(key) = key.strip_prefix(keys::OF_SERVICE_ACCOUNT) {
            match key {
                keys::NAME => account,
                _ => endpoint.service_account_labels.get(key),
            }
        } else {
            None
        };
        inherited.or_else(|| self.facts.profile_label(endpoint, key))
    }

    /// The host endpoints that this node's address may belong to.
    pub(crate) fn hosts(&self) -> Hosts<'a> {
        if self.role != Role::Node || self.facts.hosts.is_empty() {
            return Hosts::default();
        }
        let all = || self.facts.hosts.iter();
        let named: SmallVec<_> = all().filter(|host| host.name == self.endpoint.name).collect();
        if !named.is_empty() && self.endpoint.kind == EndpointKind::HostEndpoint {
            return Hosts { list: named, or_none: false };
        }
        let has = |host: &&HostEndpoint| self.addr.is_some_and(|addr| host.addresses.holds(addr));
        if Role::is_outside(self.endpoint.kind) {
            return Hosts { list: all().filter(has).collect(), or_none: false };
        }
        let of_node = || all().filter(|host| *host.node == *self.node());
        let by_address: SmallVec<_> = of_node().filter(has).collect();
        if !by_address.is_empty() {
            return Hosts { list: by_address, or_none: false };
        }
        let any: SmallVec<_> = of_node().filter(|host| &*host.interface == "*").collect();
        if !any.is_empty() {
            return Hosts { list: any, or_none: false };
        }
        let may = |host: &&HostEndpoint| self.addr.is_none() || host.addresses.is_empty();
        let list: SmallVec<_> = of_node().filter(may).collect();
        Hosts { or_none: !list.is_empty(), list }
    }

    /// The address, where it tells which host endpoint this is.
    pub(crate) fn host_addr(&self) -> Option<Addr> {
        self.addr.filter(|_| self.role == Role::Node && !self.facts.hosts.is_empty())
    }

    /// Whether both ends are one pod.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        if self.role != Role::Pod || other.role != Role::Pod {
            return false;
        }
        let (one, two) = (self.endpoint, other.endpoint);
        let is_one = one.name == two.name && one.namespace == two.namespace;
        // A workload without pods stands for several of them.
        is_one && (!one.addresses.is_empty() || self.addr.is_some()) && one.owner == two.owner
    }
}
