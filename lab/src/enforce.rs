//! Network policies as nftables rules in the nodes' FORWARD hook, and in INPUT for what a pod sends
//! to its own node.
//!
//! Every selector is expanded to the addresses that it means now, every rule to plain matches on
//! addresses and ports. A pod that policies select gets one chain for each direction and tier that
//! has such a policy, each going on to the next; what a tier lets through returns past them all.
//! Nothing is shared with whyflow's own evaluator: what it says is compared with this.

mod admin;
mod calico;
mod kubernetes;
mod labels;
mod matches;
mod ports;
mod ruleset;
mod tiers;

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::annotations::{DENY, LIE, Lie, UnexplainedDrop};
use crate::declared::{Declared, Labels, annotations, full_name, namespace};
use crate::error::{Error, Result};
use crate::plan::{Node, Plan, Pod};
use crate::services::{ContainerPort, container_ports};
use calico::Known;
use tiers::Tier;

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
    /// What Calico's selectors find on it.
    calico_labels: Labels,
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
    nodes: Vec<(&'a Node, &'a Labels)>,
    /// Whom Calico's rules can name: the pods, and the sets of networks.
    known: Vec<Known>,
    /// In the order they are asked in.
    tiers: Vec<Tier<'a>>,
    enforcement: &'a Enforcement,
    unexplained: Vec<UnexplainedDrop>,
}

/// One line of a chain: a match, what comes of it, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    text: String,
    act: Act,
    comment: String,
}

/// What comes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// It is let through, past every later tier.
    Allow,
    /// It is dropped, or refused.
    Deny,
    /// The next tier decides.
    Pass,
    /// It is counted, and the next rule decides.
    Log,
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
    fn new(declared: &'a Declared, plan: &'a Plan, enforcement: &'a Enforcement) -> Result<Self> {
        // A pod in its node's namespace has the node's address: policies do not select it,
        // neither as their subject nor as a peer.
        let residents: Vec<_> = declared
            .pods
            .values()
            .filter_map(|pod| Resident::new(declared, plan, pod))
            .filter(|resident| !resident.pod.is_host_network())
            .collect();
        let labelled = |node: &'a Node| Some((node, declared.node_labels.get(&node.name)?));
        Ok(Self {
            known: calico::known(declared, &residents),
            residents,
            nodes: plan.nodes.iter().filter_map(labelled).collect(),
            tiers: tiers::in_order(declared)?,
            enforcement,
            unexplained: unexplained(declared, enforcement)?,
        })
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

/// The drops that no policy explains.
fn unexplained(declared: &Declared, enforcement: &Enforcement) -> Result<Vec<UnexplainedDrop>> {
    let mut unexplained = enforcement.unexplained.clone();
    if !enforcement.lies.contains(&Lie::UnexplainedDrop) {
        return Ok(unexplained);
    }
    for pod in declared.pods.values() {
        let name = full_name(&pod.metadata);
        if let Some(text) = annotations(&pod.metadata).get(LIE) {
            let read = UnexplainedDrop::parse(text, &name);
            let place = format!("Pod {name}");
            unexplained.push(read.map_err(|problem| Error::manifest(place, problem))?);
        }
    }
    Ok(unexplained)
}

fn asks_to_reject(policy: &ObjectMeta) -> bool {
    annotations(policy).get(DENY).is_some_and(|value| value == "reject")
}

fn lies_about_deny(policy: &ObjectMeta) -> bool {
    annotations(policy).get(LIE).is_some_and(|value| value == "missing-deny")
}

// === impl Resident ===

impl Resident {
    fn new(declared: &Declared, plan: &Plan, pod: &core::Pod) -> Option<Self> {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let own = namespace(&pod.metadata);
        let namespace_labels = declared.namespace_labels(own).clone();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let account = account.unwrap_or("default");
        let account_labels = declared.service_accounts.get(&format!("{own}/{account}"));
        let calico_labels =
            calico::pod_labels(&labels, own, &namespace_labels, account, account_labels);
        Some(Self {
            pod: plan.pods.get(&full_name(&pod.metadata))?.clone(),
            labels,
            namespace_labels,
            calico_labels,
            ports: container_ports(pod),
        })
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
