//! Which endpoints no policy can tell apart: one of them answers for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use schemas::endpoint::DeclaredPort;
use schemas::{Addr, Endpoint, EndpointKind, Handle};

/// Everything about an endpoint that a policy can see. The addresses count by the blocks that hold
/// them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Likeness {
    kind: EndpointKind,
    namespace: Arc<str>,
    /// Of a node, and of a pod in its node's network.
    host: Option<Arc<str>>,
    labels: u64,
    namespace_labels: u64,
    service_account: Arc<str>,
    service_account_labels: u64,
    ports: Arc<[DeclaredPort]>,
    addresses: Vec<(bool, Vec<u32>)>,
}

// === impl Likeness ===

impl Likeness {
    /// What policies that speak of these blocks see of the endpoint.
    #[must_use]
    pub fn of(endpoint: &Endpoint, nets: &[IpNet]) -> Self {
        let is_host = endpoint.kind == EndpointKind::HostEndpoint || endpoint.host_network;
        Self {
            kind: endpoint.kind,
            namespace: endpoint.namespace.clone(),
            host: is_host.then(|| endpoint.node.clone()),
            labels: endpoint.labels.id(),
            namespace_labels: endpoint.namespace_labels.id(),
            service_account: endpoint.service_account.clone(),
            service_account_labels: endpoint.service_account_labels.id(),
            ports: endpoint.ports.clone(),
            addresses: endpoint.addresses.iter().map(|addr| held_by(*addr, nets)).collect(),
        }
    }
}

/// The family, and the blocks that hold the address.
fn held_by(addr: Addr, nets: &[IpNet]) -> (bool, Vec<u32>) {
    let ip = addr.ip();
    let holding = (0_u32..).zip(nets).filter(|(_, net)| net.contains(&ip));
    (addr.is_v4(), holding.map(|(place, _)| place).collect())
}

/// Endpoints that are alike, together, in the order of the first of each.
#[must_use]
pub fn groups(endpoints: &[Handle<Endpoint>], nets: &[IpNet]) -> Vec<Vec<Handle<Endpoint>>> {
    let mut places: BTreeMap<Likeness, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<Handle<Endpoint>>> = Vec::new();
    for endpoint in endpoints {
        let place = *places.entry(Likeness::of(endpoint, nets)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(endpoint.clone()),
            None => groups.push(vec![endpoint.clone()]),
        }
    }
    groups
}
