//! Peers of a rule as matches on addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{Direction, Resident, World};
use crate::declared::{Labels, full_name, namespace};
use crate::error::{Error, Result};
use crate::services::family;

/// A match of one address family, as nftables writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// `ip` or `ip6`; none is both.
    pub(super) family: Option<&'static str>,
    /// Empty matches everything.
    pub(super) text: String,
}

/// Whether a selector selects these labels; none and an empty one select everything.
pub(super) fn selects(
    selector: Option<&LabelSelector>,
    labels: &Labels,
    policy: &NetworkPolicy,
) -> Result<bool> {
    let Some(selector) = selector else { return Ok(true) };
    for (key, value) in selector.match_labels.iter().flatten() {
        if labels.get(key) != Some(value) {
            return Ok(false);
        }
    }
    for requirement in selector.match_expressions.iter().flatten() {
        if !holds(requirement, labels, policy)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(
    requirement: &LabelSelectorRequirement,
    labels: &Labels,
    policy: &NetworkPolicy,
) -> Result<bool> {
    let value = labels.get(&requirement.key);
    let listed = value.is_some_and(|v| requirement.values.iter().flatten().any(|one| one == v));
    Ok(match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        other => {
            let expected = "expected In, NotIn, Exists or DoesNotExist";
            return Err(problem(policy, format!("found operator '{other}', {expected}")));
        }
    })
}

/// What is wrong with a policy.
pub(super) fn problem(policy: &NetworkPolicy, text: String) -> Error {
    Error::manifest(format!("NetworkPolicy {}", full_name(&policy.metadata)), text)
}

/// A set of addresses by family; families with none in the set are left out.
pub(super) fn address_matches(addresses: &BTreeSet<IpAddr>, end: &str) -> Vec<Match> {
    ["ip", "ip6"]
        .into_iter()
        .filter_map(|ip| {
            let of_family = addresses.iter().filter(|address| family(**address) == ip);
            let list: Vec<_> = of_family.map(IpAddr::to_string).collect();
            let text = format!("{ip} {end} {{ {} }}", list.join(", "));
            (!list.is_empty()).then_some(Match { family: Some(ip), text })
        })
        .collect()
}

impl World<'_> {
    /// The matches that together mean "one of these peers".
    pub(super) fn peer_matches(
        &self,
        policy: &NetworkPolicy,
        peers: &[NetworkPolicyPeer],
        direction: Direction,
    ) -> Result<Vec<Match>> {
        if peers.is_empty() {
            return Ok(vec![Match { family: None, text: String::new() }]);
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
        Some(selector) => selects(Some(selector), &resident.namespace_labels, policy)?,
        None => namespace(&policy.metadata) == resident.pod.namespace,
    };
    Ok(in_namespace && selects(peer.pod_selector.as_ref(), &resident.labels, policy)?)
}

fn block_match(policy: &NetworkPolicy, block: &IPBlock, direction: Direction) -> Result<Match> {
    let read = |text: &str| {
        let wrong = |_| problem(policy, format!("found '{text}', expected a CIDR"));
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
