//! ClusterNetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy.

use ipnet::IpNet;

use super::labels::selects;
use super::matches::{Match, combine, net_matches};
use super::ports::{PROTOCOLS, Port};
use super::{Act, Direction, Line, Resident, World};
use crate::dialects::admin::{self, Action, Peer, Policy};
use crate::error::{Error, Result};

/// Whether a policy has rules for a pod in a direction.
pub(super) fn applies(policy: &Policy, resident: &Resident, direction: Direction) -> Result<bool> {
    Ok(!rules(policy, direction).is_empty() && is_among(&policy.subject, resident, &policy.place)?)
}

fn rules(policy: &Policy, direction: Direction) -> &[admin::Rule] {
    match direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    }
}

/// Whether a pod is among those that `namespaces` or `pods` says.
fn is_among(peer: &Peer, resident: &Resident, place: &str) -> Result<bool> {
    if let Some(namespaces) = &peer.namespaces {
        return selects(Some(namespaces), &resident.namespace_labels, place);
    }
    let Some(pods) = &peer.pods else { return Ok(false) };
    Ok(selects(Some(&pods.namespace_selector), &resident.namespace_labels, place)?
        && selects(Some(&pods.pod_selector), &resident.labels, place)?)
}

impl World<'_> {
    /// What a policy says in a direction.
    pub(super) fn admin_lines(&self, policy: &Policy, direction: Direction) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for (index, rule) in rules(policy, direction).iter().enumerate() {
            let peers = self.admin_peers(policy, &rule.peers, direction)?;
            let ports: Vec<_> = rule.ports.iter().flat_map(plain_ports).collect();
            let name = policy.metadata.name.as_deref().unwrap_or_default();
            let comment = format!("{name} {} {index}", direction.word());
            let act = match rule.action {
                Action::Accept => Act::Allow,
                Action::Deny => Act::Deny,
                Action::Pass => Act::Pass,
            };
            let texts = combine(&peers, &self.port_matches(&ports));
            lines.extend(texts.into_iter().map(|text| Line {
                text,
                act,
                comment: comment.clone(),
            }));
        }
        Ok(lines)
    }

    /// The matches that together mean "one of these peers".
    fn admin_peers(
        &self,
        policy: &Policy,
        peers: &[Peer],
        direction: Direction,
    ) -> Result<Vec<Match>> {
        let mut nets: Vec<IpNet> = Vec::new();
        for peer in peers {
            for resident in &self.residents {
                if is_among(peer, resident, &policy.place)? {
                    nets.extend(resident.pod.addresses().map(IpNet::from));
                }
            }
            let beyond = peer.nodes.is_some() || peer.networks.is_some();
            if beyond && direction == Direction::Ingress {
                let problem = "found nodes or networks in an ingress rule, expected them in egress";
                return Err(Error::manifest(&policy.place, problem));
            }
            nets.extend(peer.networks.iter().flatten().map(IpNet::trunc));
            for (node, labels) in &self.nodes {
                if peer.nodes.is_some() && selects(peer.nodes.as_ref(), labels, &policy.place)? {
                    nets.extend([
                        IpNet::from(std::net::IpAddr::from(node.v4)),
                        IpNet::from(std::net::IpAddr::from(node.v6)),
                    ]);
                }
            }
        }
        Ok(net_matches(&nets, direction.peer()))
    }
}

/// A name without a protocol is a name of each.
fn plain_ports(port: &admin::Port) -> Vec<Port> {
    match port {
        admin::Port::Range(protocol, first, last) => {
            vec![Port::Range(protocol.clone(), *first, *last)]
        }
        admin::Port::Named(name) => {
            PROTOCOLS.map(|protocol| Port::Named(protocol.to_owned(), name.clone())).into()
        }
    }
}
