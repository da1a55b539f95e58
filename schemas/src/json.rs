//! The one JSON shape of a flow: standard output, `whyflow flows --json`, HTTP and topics all
//! speak it, and what is read back from Arrow or Parquet is this again. `docs/flow.md` describes
//! every field.
//!
//! What is empty or not known is left out of the text; a reader takes a missing field as empty.

mod back;
mod build;
#[cfg(feature = "schema")]
mod schema;
mod text;
pub mod word;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::Lane;
use crate::connection::{InitiatorFrom, Reporter, Seen, Since};
use crate::endpoint::{DeclaredPort, EndpointKind, Labels, Owner, Service};
use crate::evidence::Outcome;
use crate::flow::{Counters, Origin, RowId};
use crate::interface::Interfaces;
use crate::net::{Addr, Protocol, TcpFlags};
use crate::observation::Names;
use crate::policy::{Action, NearMiss, PolicyKind, PolicyRef, RuleIndex, Verdict};
use crate::time::UnixNanos;

pub use back::Rereader;
pub(crate) use build::port_or_icmp;
pub use text::{parse_rfc3339, tcp_flags_from_names, tcp_flags_names};

/// What is needed beside a flow to write it out: the words behind its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// Interfaces by number.
    pub interfaces: &'a Interfaces,
    /// Drop reasons and places by number.
    pub names: &'a Names,
    /// Whose flow it is, where that is known.
    pub lane: Option<&'a Lane>,
    /// The cluster's name, where it has one.
    pub cluster: Option<&'a Arc<str>>,
}

/// A flow as it is written out. Times are RFC 3339 in UTC with milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Row"))]
pub struct FlowJson {
    /// The row's number, 32 hexadecimal digits.
    pub id: RowId,
    /// First instant of the window.
    #[serde(with = "text::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Time"))]
    pub window_start: UnixNanos,
    /// First instant after the window.
    #[serde(with = "text::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Time"))]
    pub window_end: UnixNanos,
    /// The window has not closed yet: a new or newly denied connection, told at once. No sum uses
    /// such a row; its window's row follows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub open: bool,
    /// The cluster's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Arc<str>>,
    /// Which incarnation of which agent counted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Which side saw it.
    pub reporter: Reporter,
    /// Where it comes from.
    pub origin: Origin,
    /// Where its counters are from.
    pub seen: Seen,
    /// The reporter's interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceJson>,
    /// What the reporter's side of the policies gives.
    pub action: Verdict,
    /// What became of the packets.
    pub outcome: Outcome,
    /// The likely cause, where action and outcome disagree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<Arc<str>>,
    /// Who opened the connections.
    pub source: EndpointJson,
    /// Whom they reached, or would have.
    pub destination: EndpointJson,
    /// The service that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Lower-case name or number.
    pub protocol: Protocol,
    /// For ICMP and ICMPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpJson>,
    /// At detail `connection`: what the opener sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuple: Option<TupleJson>,
    /// At detail `connection`, where an address was translated: what the far end got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<TupleJson>,
    /// Packets, bytes, connections and observations.
    pub counters: Counters,
    /// TCP flags seen, both ways.
    #[serde(default, with = "text::flags", skip_serializing_if = "text::flags::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub tcp_flags: TcpFlags,
    /// What the kernel did.
    pub evidence: EvidenceJson,
    /// What the policies said; left out for what no policy speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PoliciesJson>,
    /// The policy and rule that decided; left out when nothing selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<DecidedBy>,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub sentence: Arc<str>,
    /// For a denial: the rules that nearly allowed it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near_misses: Vec<NearMiss>,
    /// The policies in force, 16 hexadecimal digits; left out when there were none.
    #[serde(default, with = "text::revision", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub policy_revision: Option<u64>,
    /// How the opener is known.
    pub initiator_from: InitiatorFrom,
    /// Whether the first packets were seen.
    pub since: Since,
    /// First packet in the window.
    #[serde(with = "text::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Time"))]
    pub first_seen: UnixNanos,
    /// Last packet in the window.
    #[serde(with = "text::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Time"))]
    pub last_seen: UnixNanos,
    /// 0 for the row of the window's close; later rows are deltas to add.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub correction: u32,
    /// Round-trip times; absent while nothing measures them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt: Option<RttJson>,
    /// TCP segments sent again; absent while nothing counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmissions: Option<u64>,
    /// The name that the source had looked up; absent while nothing reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<Arc<str>>,
    /// Community ID of the 5-tuple; absent while nothing computes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub community_id: Option<Arc<str>>,
}

/// One end of a flow: what a policy may ask of it, and who it is to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Endpoint"))]
pub struct EndpointJson {
    /// What kind of thing.
    pub kind: EndpointKind,
    /// Kubernetes namespace.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub namespace: Arc<str>,
    /// The pod's, node's or network set's name; outside the cluster the address.
    pub name: Arc<str>,
    /// The name that Goldmane aggregates by.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub aggregated_name: Arc<str>,
    /// The destination's port after translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Addr>,
    /// Its own labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Its namespace's labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub namespace_labels: Labels,
    /// Its service account.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub service_account: Arc<str>,
    /// Its service account's labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub service_account_labels: Labels,
    /// What made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub node: Arc<str>,
    /// That node's zone.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub zone: Arc<str>,
    /// Whether it is a pod in its node's network namespace.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_network: bool,
    /// Ports that its containers declare: a policy may speak of them by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declared_ports: Vec<DeclaredPort>,
}

/// An interface by where it is and what it is called there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Interface"))]
pub struct InterfaceJson {
    /// The node it belongs to.
    pub node: Arc<str>,
    /// Its network namespace, left out for the agent's own.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub netns: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
}

/// What an ICMP message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Icmp"))]
pub struct IcmpJson {
    /// Type.
    pub r#type: u8,
    /// Code.
    pub code: u8,
}

/// Both ends on the wire; the protocol is the row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Tuple"))]
pub struct TupleJson {
    /// Who sent it.
    pub source_address: Addr,
    /// From which port; the identifier of an ICMP echo.
    pub source_port: u16,
    /// To whom.
    pub destination_address: Addr,
    /// To which port; ICMP's `type << 8 | code`.
    pub destination_port: u16,
}

/// What the kernel did, in packets of the direction that opened the connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Evidence"))]
pub struct EvidenceJson {
    /// Seen at the far interface.
    pub delivered: u64,
    /// Came back from the far side.
    pub answered: u64,
    /// RSTs and ICMP errors that came back after the far side had seen the request.
    pub refused: u64,
    /// Dropped, by reason and place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<DroppedJson>,
    /// The far interface cannot be seen from here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub far_not_visible: bool,
}

/// Packets dropped for one reason at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Dropped"))]
pub struct DroppedJson {
    /// The running kernel's name for it, as in `NETFILTER_DROP`.
    pub reason: Arc<str>,
    /// The kernel function.
    pub place: Arc<str>,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What the policies said for the reporter's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Policies"))]
pub struct PoliciesJson {
    /// The policies in force, in the order they were asked.
    pub enforced: Vec<HitJson>,
    /// The same, as if the staged policies were enforced.
    pub pending: Vec<HitJson>,
    /// What the staged policies would give.
    pub pending_action: Verdict,
    /// What the policies that could be read give.
    pub as_read: Verdict,
}

/// What one tier did, in Goldmane's terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Hit"))]
pub struct HitJson {
    /// Kind of the policy, or `EndOfTier`.
    pub kind: HitKind,
    /// Its tier.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub tier: Arc<str>,
    /// Its namespace; empty at the end of a tier.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub namespace: Arc<str>,
    /// Its name; empty at the end of a tier.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub name: Arc<str>,
    /// What it did.
    pub action: Action,
    /// Its place in the trace, from 0.
    pub policy_index: u32,
    /// Which rule of the list that its author wrote, from 0; left out at the end of a tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_index: Option<u32>,
    /// The same rule in the list that Calico expands a Kubernetes policy to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calico_rule_index: Option<u32>,
    /// At the end of a tier: the policy that selected the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<PolicyRef>,
}

/// The kind of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HitKind {
    /// A rule of a policy of this kind matched.
    Policy(PolicyKind),
    /// The tier's default action was applied.
    EndOfTier,
}

/// The policy that decided, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DecidedBy {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its tier.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub tier: Arc<str>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The rule that matched; `null` at the end of a tier, where no rule did.
    pub rule: Option<RuleIndex>,
}

/// Round-trip times of TCP, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Rtt"))]
pub struct RttJson {
    /// Least.
    pub min_us: u64,
    /// Mean.
    pub mean_us: u64,
    /// Most.
    pub max_us: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references to predicates")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references to predicates")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn str_is_empty(text: &Arc<str>) -> bool {
    text.is_empty()
}

// === impl EndpointJson ===

impl std::fmt::Display for EndpointJson {
    /// `namespace/name`, or the name alone for what has no namespace.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl PoliciesJson ===

impl PoliciesJson {
    /// The policy that decided: the last hit of the policies in force; `None` when nothing
    /// selects.
    #[must_use]
    pub fn decided_by(&self) -> Option<DecidedBy> {
        let hit = self.enforced.last()?;
        let (policy, rule) = match (&hit.kind, &hit.trigger) {
            (HitKind::Policy(PolicyKind::Profile), _) => return None,
            (HitKind::EndOfTier, trigger) => (trigger.clone()?, None),
            (HitKind::Policy(kind), _) => {
                let HitJson { tier, namespace, name, rule_index, calico_rule_index, .. } = hit;
                let [tier, namespace, name] = [tier, namespace, name].map(Arc::clone);
                let index = rule_index.unwrap_or_default();
                let calico_index = calico_rule_index.unwrap_or(index);
                let rule = RuleIndex { index, calico_index };
                (PolicyRef { kind: *kind, tier, namespace, name }, Some(rule))
            }
        };
        let PolicyRef { kind, tier, namespace, name } = policy;
        Some(DecidedBy { kind, tier, namespace, name, rule })
    }
}

#[cfg(test)]
mod tests;
