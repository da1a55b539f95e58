//! The one model that every dialect is read into: tiers in order, policies in order, rules in
//! order.

use std::sync::Arc;

use schemas::{Action, PolicyRef, Protocol};

use crate::nets::Nets;
use crate::requirement::Requirement;
use crate::selector::Selector;
use crate::settings::Dialect;

/// A tier: its policies are asked together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tier {
    pub(crate) name: Arc<str>,
    /// Lower is asked first; infinite when none was given.
    pub(crate) order: f64,
    /// What happens when a policy of it selects the endpoint and no rule matches.
    pub(crate) default: Action,
}

/// A policy of any dialect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) name: PolicyRef,
    /// Kind and name as written, as in `NetworkPolicy shop/web`.
    pub(crate) object: Arc<str>,
    pub(crate) dialect: Dialect,
    pub(crate) source: Arc<str>,
    /// Lower is asked first within its tier; infinite when none was given.
    pub(crate) order: f64,
    pub(crate) subject: Subject,
    /// `None` when it does not apply to this direction.
    pub(crate) ingress: Option<Box<[Rule]>>,
    pub(crate) egress: Option<Box<[Rule]>>,
    pub(crate) stage: Stage,
    pub(crate) standing: Standing,
    pub(crate) hosts: Hosts,
}

/// Whether a policy is in force, or what would come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In force.
    Enforced,
    /// Staged: it adds a policy, or replaces the enforced one of its name.
    Set,
    /// Staged: it removes the enforced policy of its name.
    Delete,
}

/// How surely a policy counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is read and enforced.
    Firm,
    /// It is read, and this cluster does not enforce its dialect.
    NotEnforced,
    /// It is of a kind that is not read.
    NotRead,
    /// It could not be read, for this reason.
    Broken(Arc<str>),
}

/// How a Calico policy meets traffic of a host endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// It also applies to traffic that the host forwards.
    pub(crate) apply_on_forward: bool,
    /// It is asked before any service address is translated.
    pub(crate) pre_dnat: bool,
    /// It is asked before connection tracking.
    pub(crate) do_not_track: bool,
}

/// Whom a policy applies to: the endpoints for which every check holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Subject {
    /// The one namespace of a namespaced policy.
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) checks: Box<[Check]>,
    /// Host endpoints too, not only pods.
    pub(crate) hosts: bool,
}

/// A rule as its author wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Its place in the author's list.
    pub(crate) index: u32,
    /// Its place, or the first of its places, in the list that Calico expands the author's to.
    pub(crate) calico_index: u32,
    /// Its own name; empty when it has none.
    pub(crate) name: Arc<str>,
    pub(crate) action: RuleAction,
    /// One of these is the other end; empty for anyone.
    pub(crate) peers: Box<[Peer]>,
    /// One of these is the protocol and port; empty for any.
    pub(crate) ports: Box<[Port]>,
    /// All of these hold besides.
    pub(crate) terms: Box<[Term]>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleAction {
    /// Decides so.
    Decide(Action),
    /// Says so in a log and goes on.
    Log,
}

/// The other end, as one entry of `from` or `to`: every check holds for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Peer {
    pub(crate) checks: Box<[(Arc<str>, Check)]>,
}

/// A destination port, as one entry of `ports`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Port {
    /// The field, as in `ports[0]`.
    pub(crate) field: Arc<str>,
    /// `None` for any protocol.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) number: PortNumber,
    /// Where Calico's expansion puts the rules of this protocol: 0 for the first protocol.
    pub(crate) calico_position: u32,
}

/// Which destination ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortNumber {
    /// Any.
    Any,
    /// From the first to the last.
    Range(u16, u16),
    /// Those that the destination declares under this name.
    Named(Arc<str>),
}

/// A condition on one end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Check {
    /// It is a pod.
    Pod,
    /// It is a pod of this namespace.
    Namespace(Arc<str>),
    /// A label of the pod.
    PodLabel(Requirement),
    /// A label of the pod's namespace.
    NamespaceLabel(Requirement),
    /// It is a node.
    Node,
    /// A label of the node.
    NodeLabel(Requirement),
    /// Its address is one of these.
    Within(Nets),
    /// Its address is none of these.
    Outside(Nets),
    /// A Calico selector takes it.
    Selected(Choice),
    /// A Calico selector does not take it.
    NotSelected(Choice),
    /// It is behind this Service.
    Service(Backends),
    /// It has one of these domain names, which an address alone does not tell.
    Domain(Box<[Arc<str>]>),
}

/// A Calico selector with the addresses of the network sets and host endpoints that it takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) selector: Selector,
    pub(crate) nets: Nets,
}

/// The addresses and ports behind a Service, where they are known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backends {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    /// Whether the port counts too, as it does for a destination.
    pub(crate) with_port: bool,
    /// `None` when the Service's endpoints were not given.
    pub(crate) known: Option<Box<[(Nets, Protocol, u16)]>>,
}

/// A condition of a Calico rule, with the field that states it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Term {
    pub(crate) field: Arc<str>,
    pub(crate) condition: Condition,
}

/// What a term asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Source(Check),
    Destination(Check),
    Protocol(Protocol),
    NotProtocol(Protocol),
    /// Type, and code where one is given.
    Icmp(u8, Option<u8>),
    NotIcmp(u8, Option<u8>),
    SourcePort(Box<[PortNumber]>),
    NotSourcePort(Box<[PortNumber]>),
    DestinationPort(Box<[PortNumber]>),
    NotDestinationPort(Box<[PortNumber]>),
    /// Addresses are of this family: 4 or 6.
    IpVersion(u8),
    /// An HTTP request, which nothing here can see.
    Http,
}

// === impl Tier ===

impl Tier {
    /// The tiers that are there without being written, with Calico's orders.
    pub(crate) fn built_in() -> [Self; 5] {
        let tier = |name: &str, order, default| Self { name: name.into(), order, default };
        [
            tier(tiers::ADMIN, 1_000.0, Action::Pass),
            tier(tiers::CLUSTER_ADMIN, 1_000.0, Action::Pass),
            tier(tiers::DEFAULT, 1_000_000.0, Action::Deny),
            tier(tiers::BASELINE, 10_000_000.0, Action::Pass),
            tier(tiers::CLUSTER_BASELINE, 10_000_000.0, Action::Pass),
        ]
    }
}

/// Names of the tiers that are there without being written.
pub(crate) mod tiers {
    pub(crate) const ADMIN: &str = "adminnetworkpolicy";
    pub(crate) const CLUSTER_ADMIN: &str = "kube-admin";
    pub(crate) const DEFAULT: &str = "default";
    pub(crate) const BASELINE: &str = "baselineadminnetworkpolicy";
    pub(crate) const CLUSTER_BASELINE: &str = "kube-baseline";
    /// Before and beside every tier: where a policy stands of which not even that is known.
    pub(crate) const ANY: &str = "";
}

// === impl Hosts ===

impl Hosts {
    /// Whether it is asked before the tiers of a host endpoint, and of nothing else.
    pub(crate) const fn is_before_tiers(self) -> bool {
        self.pre_dnat || self.do_not_track
    }
}

// === impl Policy ===

impl Policy {
    /// Its rules for a direction; `None` when it does not apply to it.
    pub(crate) fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// Which of a connection's sides is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// The destination's.
    Ingress,
    /// The source's.
    Egress,
}

impl Direction {
    /// Lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}
