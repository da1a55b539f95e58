//! From a flow and the words behind its numbers to its JSON shape.

use super::{
    DroppedJson, EndpointJson, EvidenceJson, FlowJson, HitJson, HitKind, IcmpJson, InterfaceJson,
    PoliciesJson, TupleJson, Words,
};
use crate::endpoint::Endpoint;
use crate::evidence::Evidence;
use crate::flow::Flow;
use crate::net::{Protocol, Tuple};
use crate::observation::Names;
use crate::policy::{Decider, PolicyHit, RuleIndex, Trace};

// === impl FlowJson ===

impl FlowJson {
    /// This flow, written out.
    #[must_use]
    pub fn new(flow: &Flow, words: &Words<'_>) -> Self {
        let key = &flow.key;
        let (port, icmp) = port_or_icmp(key.protocol, key.destination_port);
        let policies = key.trace.as_ref().map(|trace| PoliciesJson::from(&**trace));
        Self {
            id: flow.id,
            window_start: flow.window.start,
            window_end: flow.window.end,
            open: false,
            cluster: words.cluster.cloned(),
            lane: words.lane.cloned(),
            reporter: key.reporter,
            origin: key.origin,
            seen: key.seen,
            interface: words.interface(key.interface),
            action: key.action,
            outcome: flow.evidence.outcome(),
            disagreement: flow.disagreement.clone(),
            source: EndpointJson::from(&*key.source),
            destination: EndpointJson { port, ..EndpointJson::from(&*key.destination) },
            service: key.service.as_ref().map(|service| (**service).clone()),
            protocol: key.protocol,
            icmp,
            tuple: key.connection.map(|(tuple, _)| TupleJson::from(tuple)),
            translated: key.connection.and_then(|(_, tuple)| tuple).map(TupleJson::from),
            counters: flow.counters,
            tcp_flags: flow.tcp_flags,
            evidence: EvidenceJson::new(&flow.evidence, words.names),
            decided_by: policies.as_ref().and_then(PoliciesJson::decided_by),
            policies,
            sentence: flow.reason.sentence.clone(),
            near_misses: flow.reason.near_misses.clone(),
            policy_revision: Some(key.policy_revision).filter(|revision| *revision != 0),
            initiator_from: flow.initiator_from,
            since: flow.since,
            first_seen: flow.first,
            last_seen: flow.last,
            correction: flow.correction,
            rtt: None,
            retransmissions: None,
            dns_name: None,
            community_id: None,
        }
    }
}

/// The port of a protocol that has ports, or the type and code of ICMP.
pub(crate) fn port_or_icmp(protocol: Protocol, number: u16) -> (Option<u16>, Option<IcmpJson>) {
    if protocol.has_ports() {
        return (Some(number), None);
    }
    let [r#type, code] = number.to_be_bytes();
    (None, protocol.is_icmp().then_some(IcmpJson { r#type, code }))
}

// === impl Words ===

impl Words<'_> {
    /// The interface of a number, where it is known.
    pub(crate) fn interface(&self, id: crate::interface::InterfaceId) -> Option<InterfaceJson> {
        let known = self.interfaces.get(id)?;
        let [node, netns, name] = [&known.node, &known.netns, &known.name].map(Clone::clone);
        Some(InterfaceJson { node, netns, name })
    }
}

// === impl EndpointJson ===

impl From<&Endpoint> for EndpointJson {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            kind: endpoint.kind,
            namespace: endpoint.namespace.clone(),
            name: endpoint.name.clone(),
            aggregated_name: endpoint.aggregated_name.clone(),
            port: None,
            addresses: endpoint.addresses.to_vec(),
            labels: (*endpoint.labels).clone(),
            namespace_labels: (*endpoint.namespace_labels).clone(),
            service_account: endpoint.service_account.clone(),
            service_account_labels: (*endpoint.service_account_labels).clone(),
            owner: endpoint.owner.clone(),
            node: endpoint.node.clone(),
            zone: endpoint.zone.clone(),
            host_network: endpoint.host_network,
            declared_ports: endpoint.ports.to_vec(),
        }
    }
}

// === impl TupleJson ===

impl From<Tuple> for TupleJson {
    fn from(tuple: Tuple) -> Self {
        Self {
            source_address: tuple.src,
            source_port: tuple.src_port,
            destination_address: tuple.dst,
            destination_port: tuple.dst_port,
        }
    }
}

// === impl EvidenceJson ===

impl EvidenceJson {
    /// This evidence, written out with the names of drop reasons and places.
    #[must_use]
    pub fn new(evidence: &Evidence, names: &Names) -> Self {
        let dropped = evidence.dropped.iter().map(|dropped| DroppedJson {
            reason: names.get(dropped.by.reason),
            place: names.get(dropped.by.place),
            packets: dropped.packets,
            bytes: dropped.bytes,
        });
        Self {
            delivered: evidence.delivered,
            answered: evidence.answered,
            refused: evidence.refused,
            dropped: dropped.collect(),
            far_not_visible: evidence.far_not_visible,
        }
    }
}

// === impl PoliciesJson ===

impl From<&Trace> for PoliciesJson {
    fn from(trace: &Trace) -> Self {
        Self {
            enforced: hits(&trace.enforced),
            pending: hits(&trace.pending),
            pending_action: trace.pending_verdict,
            as_read: trace.as_read,
        }
    }
}

fn hits(hits: &[PolicyHit]) -> Vec<HitJson> {
    (0..).zip(hits).map(|(policy_index, hit)| HitJson::new(hit, policy_index)).collect()
}

// === impl HitJson ===

impl HitJson {
    fn new(hit: &PolicyHit, policy_index: u32) -> Self {
        let policy = hit.policy.clone();
        let base = Self {
            kind: HitKind::EndOfTier,
            tier: policy.tier.clone(),
            namespace: "".into(),
            name: "".into(),
            action: hit.action,
            policy_index,
            rule_index: None,
            calico_rule_index: None,
            trigger: None,
        };
        match hit.decider {
            Decider::EndOfTier => Self { trigger: Some(policy), ..base },
            Decider::Rule(RuleIndex { index, calico_index }) => Self {
                kind: HitKind::Policy(policy.kind),
                namespace: policy.namespace,
                name: policy.name,
                rule_index: Some(index),
                calico_rule_index: Some(calico_index),
                ..base
            },
        }
    }
}
