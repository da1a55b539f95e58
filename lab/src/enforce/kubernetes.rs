//! Kubernetes' own NetworkPolicy.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::selects;
use super::matches::{Match, address_matches, combine};
use super::ports::{PROTOCOLS, Port};
use super::{Act, Direction, Line, Resident, World};
use crate::declared::{full_name, namespace};
use crate::error::{Error, Result};
use crate::services::family;

/// One rule of a policy, its direction forgotten: an empty list is no restriction.
struct Rule<'a> {
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

/// Whether a policy isolates a pod in a direction.
pub(super) fn applies(
    policy: &NetworkPolicy,
    resident: &Resident,
    direction: Direction,
) -> Result<bool> {
    let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
    Ok(namespace(&policy.metadata) == resident.pod.namespace
        && has_type(policy, direction)
        && selects(selector, &resident.labels, &place(policy))?)
}

/// Whether a policy has a say in a direction: as its types say, else ingress always and egress
/// when it has egress rules.
fn has_type(policy: &NetworkPolicy, direction: Direction) -> bool {
    let Some(spec) = &policy.spec else { return direction == Direction::Ingress };
    match spec.policy_types.as_deref().unwrap_or_default() {
        [] => match direction {
            Direction::Ingress => true,
            Direction::Egress => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        },
        types => types.iter().any(|name| match direction {
            Direction::Ingress => name == "Ingress",
            Direction::Egress => name == "Egress",
        }),
    }
}

fn rules(policy: &NetworkPolicy, direction: Direction) -> Vec<Rule<'_>> {
    let Some(spec) = &policy.spec else { return Vec::new() };
    match direction {
        Direction::Ingress => {
            let rules = spec.ingress.iter().flatten();
            rules.map(|rule| Rule::new(rule.from.as_ref(), rule.ports.as_ref())).collect()
        }
        Direction::Egress => {
            let rules = spec.egress.iter().flatten();
            rules.map(|rule| Rule::new(rule.to.as_ref(), rule.ports.as_ref())).collect()
        }
    }
}

fn place(policy: &NetworkPolicy) -> String {
    format!("NetworkPolicy {}", full_name(&policy.metadata))
}

impl World<'_> {
    /// What a policy says in a direction.
    pub(super) fn kubernetes_lines(
        &self,
        policy: &NetworkPolicy,
        direction: Direction,
    ) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for (index, rule) in rules(policy, direction).iter().enumerate() {
            let peers = self.kubernetes_peers(policy, rule.peers, direction)?;
            let ports = rule.ports.iter().map(|port| written_port(policy, port));
            let ports = self.port_matches(&ports.collect::<Result<Vec<_>>>()?);
            let comment = format!("{} {} {index}", full_name(&policy.metadata), direction.word());
            lines.extend(combine(&peers, &ports).into_iter().map(|text| Line {
                text,
                act: Act::Allow,
                comment: comment.clone(),
            }));
        }
        Ok(lines)
    }

    /// The matches that together mean "one of these peers".
    fn kubernetes_peers(
        &self,
        policy: &NetworkPolicy,
        peers: &[NetworkPolicyPeer],
        direction: Direction,
    ) -> Result<Vec<Match>> {
        if peers.is_empty() {
            return Ok(vec![Match::any()]);
        }
        let mut matches = Vec::new();
        let mut addresses = BTreeSet::new();
        for peer in peers {
            match &peer.ip_block {
                Some(block) => matches.push(block_match(policy, block, direction)?),
                None => self.add_pods(policy, peer, &mut addresses)?,
            }
        }
        matches.extend(address_matches(&addresses, direction.peer()));
        Ok(matches)
    }

    fn add_pods(
        &self,
        policy: &NetworkPolicy,
        peer: &NetworkPolicyPeer,
        addresses: &mut BTreeSet<IpAddr>,
    ) -> Result<()> {
        for resident in &self.residents {
            if is_peer(policy, peer, resident)? {
                addresses.extend(resident.pod.addresses());
            }
        }
        Ok(())
    }
}

/// A pod selector alone means the policy's own namespace, a namespace selector every pod of the
/// namespaces, both together the pods that carry the one in namespaces that carry the other.
fn is_peer(policy: &NetworkPolicy, peer: &NetworkPolicyPeer, resident: &Resident) -> Result<bool> {
    let in_namespace = match &peer.namespace_selector {
        Some(selector) => selects(Some(selector), &resident.namespace_labels, &place(policy))?,
        None => namespace(&policy.metadata) == resident.pod.namespace,
    };
    Ok(in_namespace && selects(peer.pod_selector.as_ref(), &resident.labels, &place(policy))?)
}

fn block_match(policy: &NetworkPolicy, block: &IPBlock, direction: Direction) -> Result<Match> {
    let read = |text: &str| {
        let wrong = |_| Error::manifest(place(policy), format!("found '{text}', expected a CIDR"));
        text.parse::<IpNet>().map(|net| net.trunc()).map_err(wrong)
    };
    let net = read(&block.cidr)?;
    let ip = family(net.addr());
    let end = direction.peer();
    // A prefix of length 0 is everything of its family, which nftables has no prefix for.
    let mut text = match (net.prefix_len(), ip) {
        (0, "ip") => "meta nfproto ipv4".to_owned(),
        (0, _) => "meta nfproto ipv6".to_owned(),
        _ => format!("{ip} {end} {net}"),
    };
    for except in block.except.iter().flatten() {
        let except = read(except)?;
        text = format!("{text} {ip} {end} != {except}");
    }
    Ok(Match { family: Some(ip), text })
}

fn written_port(policy: &NetworkPolicy, port: &NetworkPolicyPort) -> Result<Port> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        let problem = format!("found protocol '{protocol}', expected TCP, UDP or SCTP");
        return Err(Error::manifest(place(policy), problem));
    }
    Ok(match &port.port {
        None => Port::Range(protocol, 0, u16::MAX),
        Some(IntOrString::String(name)) => Port::Named(protocol, name.clone()),
        Some(IntOrString::Int(first)) => {
            let last = port.end_port.unwrap_or(*first);
            match (u16::try_from(*first), u16::try_from(last)) {
                (Ok(low), Ok(high)) if 0 < low && low <= high => Port::Range(protocol, low, high),
                _ => {
                    let problem =
                        format!("found ports {first} to {last}, expected 1 to 65535, ascending");
                    return Err(Error::manifest(place(policy), problem));
                }
            }
        }
    })
}

// === impl Rule ===

impl<'a> Rule<'a> {
    fn new(
        peers: Option<&'a Vec<NetworkPolicyPeer>>,
        ports: Option<&'a Vec<NetworkPolicyPort>>,
    ) -> Self {
        let peers = peers.map(Vec::as_slice).unwrap_or_default();
        let ports = ports.map(Vec::as_slice).unwrap_or_default();
        Self { peers, ports }
    }
}
