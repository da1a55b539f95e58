//! Network policies as nftables rules in the nodes' FORWARD hook, and in INPUT for what a pod sends
//! to its own node.
//!
//! Every selector is expanded to the addresses that it means now, every rule to plain matches on
//! addresses and ports, and a pod that a policy isolates gets one chain per direction that ends in
//! a drop. Nothing is shared with whyflow's own evaluator: what it says is compared with this.

mod peers;
mod ports;
mod ruleset;

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};

use crate::annotations::{DENY, LIE, Lie, UnexplainedDrop};
use crate::declared::{Declared, Labels, annotations, full_name, namespace};
use crate::error::{Error, Result};
use crate::plan::{Plan, Pod};
use crate::services::{ContainerPort, container_ports};

pub use ruleset::{Dropped, recorded_drops};

/// A direction, as seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// From the pod.
    Egress,
    /// To the pod.
    Ingress,
}

/// A pod with all that selectors and rules ask about.
#[derive(Clone, Debug)]
struct Resident {
    pod: Pod,
    labels: Labels,
    namespace_labels: Labels,
    ports: Vec<ContainerPort>,
}

/// How enforcement is to be.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Enforcement {
    /// The lies to tell.
    pub lies: Vec<Lie>,
    /// Drops that no policy explains, beside those that the manifests have.
    pub unexplained: Vec<UnexplainedDrop>,
    /// Whether each dropped tuple is kept in an nftables set, where a probe finds it.
    pub record_drops: bool,
}

/// What the rules are made from.
struct World<'a> {
    residents: Vec<Resident>,
    policies: &'a [NetworkPolicy],
    enforcement: &'a Enforcement,
    unexplained: Vec<UnexplainedDrop>,
}

/// One rule of a policy, its direction forgotten: an empty list is no restriction.
struct Rule<'a> {
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

/// The ruleset of each node, by the node's name.
///
/// # Errors
/// A policy that says what no rule can be made from.
pub fn rulesets(
    declared: &Declared,
    plan: &Plan,
    enforcement: &Enforcement,
) -> Result<Vec<(String, String)>> {
    let world = World::new(declared, plan, enforcement)?;
    plan.nodes.iter().map(|node| Ok((node.name.clone(), world.ruleset(&node.name)?))).collect()
}

// === impl World ===

impl<'a> World<'a> {
    fn new(declared: &'a Declared, plan: &Plan, enforcement: &'a Enforcement) -> Result<Self> {
        let resident = |pod: &core::Pod| {
            Some(Resident {
                pod: plan.pods.get(&full_name(&pod.metadata))?.clone(),
                labels: pod.metadata.labels.clone().unwrap_or_default(),
                namespace_labels: declared.namespace_labels(namespace(&pod.metadata)).clone(),
                ports: container_ports(pod),
            })
        };
        let mut unexplained = enforcement.unexplained.clone();
        if enforcement.lies.contains(&Lie::UnexplainedDrop) {
            for pod in declared.pods.values() {
                let name = full_name(&pod.metadata);
                if let Some(text) = annotations(&pod.metadata).get(LIE) {
                    let read = UnexplainedDrop::parse(text, &name);
                    let place = format!("Pod {name}");
                    unexplained.push(read.map_err(|problem| Error::manifest(place, problem))?);
                }
            }
        }
        Ok(Self {
            // A pod in its node's namespace has the node's address: policies do not select it,
            // neither as their subject nor as a peer.
            residents: declared
                .pods
                .values()
                .filter_map(resident)
                .filter(|resident| !resident.pod.is_host_network())
                .collect(),
            policies: &declared.policies,
            enforcement,
            unexplained,
        })
    }

    /// The policies that isolate a pod in a direction.
    fn isolating(&self, resident: &Resident, direction: Direction) -> Result<Vec<&NetworkPolicy>> {
        let mut found = Vec::new();
        for policy in self.policies {
            let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
            if namespace(&policy.metadata) == resident.pod.namespace
                && has_type(policy, direction)
                && peers::selects(selector, &resident.labels, policy)?
            {
                found.push(policy);
            }
        }
        Ok(found)
    }

    /// Addresses of a pod, or of every pod of a workload, by `NS/NAME`.
    fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let is_named = |resident: &&Resident| {
            let full = resident.pod.full_name();
            full == name || full.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
        };
        self.residents.iter().filter(is_named).flat_map(|r| r.pod.addresses()).collect()
    }
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

fn asks_to_reject(policy: &NetworkPolicy) -> bool {
    annotations(&policy.metadata).get(DENY).is_some_and(|value| value == "reject")
}

fn lies_about_deny(policy: &NetworkPolicy) -> bool {
    annotations(&policy.metadata).get(LIE).is_some_and(|value| value == "missing-deny")
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

// === impl Direction ===

impl Direction {
    /// nftables' word for the peer's end.
    fn peer(self) -> &'static str {
        match self {
            Self::Egress => "daddr",
            Self::Ingress => "saddr",
        }
    }

    /// nftables' word for the pod's own end.
    fn own(self) -> &'static str {
        match self {
            Self::Egress => "saddr",
            Self::Ingress => "daddr",
        }
    }

    /// In names of chains and maps.
    fn word(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}
