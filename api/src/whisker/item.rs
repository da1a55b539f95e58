//! A flow as Whisker's page reads it, and beside that what its backend does not tell.

use std::sync::Arc;

use prost::Message as _;
use schemars::JsonSchema;
use schemas::json::EvidenceJson;
use schemas::policy::NearMiss;
use schemas::{Addr, Handle, Origin, Outcome, UnixNanos};
use serde::Serialize;

use crate::answer::Dictionary;
use crate::goldmane::proto;
use crate::memory::Sum;

/// A flow.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Flow")]
pub(crate) struct Item {
    start_time: String,
    end_time: String,
    action: &'static str,
    source_name: String,
    source_namespace: String,
    source_labels: String,
    dest_name: String,
    dest_namespace: String,
    dest_labels: String,
    protocol: String,
    dest_port: i64,
    reporter: &'static str,
    policies: Policies,
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    // From here on what Whisker's backend drops.
    id: i64,
    source_type: &'static str,
    dest_type: &'static str,
    dest_service_name: String,
    dest_service_namespace: String,
    dest_service_port_name: String,
    dest_service_port: i64,
    num_connections_started: u64,
    num_connections_completed: u64,
    num_connections_live: u64,
    /// Deltas to a flow of the same key and times.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    correction: bool,
    #[serde(flatten)]
    details: Option<Details>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FlowPolicies")]
struct Policies {
    enforced: Vec<Hit>,
    pending: Vec<Hit>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FlowHit")]
struct Hit {
    kind: &'static str,
    name: String,
    namespace: String,
    tier: String,
    action: &'static str,
    policy_index: i64,
    rule_index: i64,
    trigger: Option<Box<Hit>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Details {
    origins: Vec<Origin>,
    outcome: Outcome,
    evidence: EvidenceJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    disagreement: Option<Arc<str>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sentence: Arc<str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    near_misses: Vec<NearMiss>,
    source_endpoints: Vec<Endpoint>,
    dest_endpoints: Vec<Endpoint>,
}

/// One of those behind an aggregated name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FlowEndpoint")]
struct Endpoint {
    name: Arc<str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<Addr>,
    #[serde(skip_serializing_if = "str::is_empty")]
    node: Arc<str>,
}

/// RFC 3339 in whole seconds.
pub(crate) fn time(at: UnixNanos) -> String {
    UnixNanos::from_secs(at.secs()).to_string().replace(".000Z", "Z")
}

// === impl Item ===

impl Item {
    pub(crate) fn new(sum: &Sum, words: &Dictionary, correction: bool) -> Self {
        // What this process encoded decodes.
        let key = proto::FlowKey::decode(sum.group.encoded.clone()).unwrap_or_default();
        let policies = key.policies.unwrap_or_default();
        let hits = |hits: Vec<proto::PolicyHit>| hits.into_iter().map(Hit::from).collect();
        let counters = &sum.counters;
        Self {
            start_time: time(sum.window.start),
            end_time: time(sum.window.end),
            action: action(key.action),
            source_name: key.source_name,
            source_namespace: key.source_namespace,
            source_labels: sum.source_labels().join(" | "),
            dest_name: key.dest_name,
            dest_namespace: key.dest_namespace,
            dest_labels: sum.destination_labels().join(" | "),
            protocol: key.proto,
            dest_port: key.dest_port,
            reporter: proto::Reporter::try_from(key.reporter).unwrap_or_default().as_str_name(),
            policies: Policies {
                enforced: hits(policies.enforced_policies),
                pending: hits(policies.pending_policies),
            },
            packets_in: counters.packets_in,
            packets_out: counters.packets_out,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            id: sum.group.id,
            source_type: end_type(key.source_type),
            dest_type: end_type(key.dest_type),
            dest_service_name: key.dest_service_name,
            dest_service_namespace: key.dest_service_namespace,
            dest_service_port_name: key.dest_service_port_name,
            dest_service_port: key.dest_service_port,
            num_connections_started: counters.connections_started,
            num_connections_completed: counters.connections_completed,
            num_connections_live: counters.connections_live,
            correction,
            details: sum.details.as_ref().map(|details| Details {
                origins: details.origins.clone(),
                outcome: details.evidence.outcome(),
                evidence: EvidenceJson::new(&details.evidence, &words.names),
                disagreement: details.disagreement.clone(),
                sentence: Arc::clone(&details.reason.sentence),
                near_misses: details.reason.near_misses.clone(),
                source_endpoints: details.sources.iter().map(Endpoint::from).collect(),
                dest_endpoints: details.destinations.iter().map(Endpoint::from).collect(),
            }),
        }
    }
}

fn action(action: i32) -> &'static str {
    proto::Action::try_from(action).unwrap_or_default().as_str_name()
}

fn end_type(kind: i32) -> &'static str {
    proto::EndpointType::try_from(kind).unwrap_or_default().as_str_name()
}

impl From<proto::PolicyHit> for Hit {
    fn from(hit: proto::PolicyHit) -> Self {
        Self {
            kind: proto::PolicyKind::try_from(hit.kind).unwrap_or_default().as_str_name(),
            name: hit.name,
            namespace: hit.namespace,
            tier: hit.tier,
            action: action(hit.action),
            policy_index: hit.policy_index,
            rule_index: hit.rule_index,
            trigger: hit.trigger.map(|trigger| Box::new(Self::from(*trigger))),
        }
    }
}

impl From<&Handle<schemas::Endpoint>> for Endpoint {
    fn from(endpoint: &Handle<schemas::Endpoint>) -> Self {
        let (name, node) = (endpoint.name.clone(), endpoint.node.clone());
        Self { name, addresses: endpoint.addresses.to_vec(), node }
    }
}
