//! The sections that rows share, as fields of a row's message.

use schemas::Labels;
use schemas::json::word::Word as _;
use schemas::json::{EndpointJson, FlowJson, HitJson};
use schemas::policy::{NearMiss, PolicyRef, RuleIndex};

use super::variant;
use crate::wire;

/// Cluster and lane.
pub(super) fn lane(out: &mut Vec<u8>, row: &FlowJson) {
    wire::text(out, 5, row.cluster.as_deref().unwrap_or_default());
    let Some(lane) = &row.lane else { return };
    let mut of = Vec::new();
    wire::text(&mut of, 1, &lane.node);
    wire::text(&mut of, 2, &lane.boot_id);
    wire::count(&mut of, 3, lane.incarnation.into());
    wire::bytes(out, 6, &of);
}

pub(super) fn interface(out: &mut Vec<u8>, row: &FlowJson) {
    let Some(interface) = &row.interface else { return };
    let mut of = Vec::new();
    wire::text(&mut of, 1, &interface.node);
    wire::text(&mut of, 2, &interface.netns);
    wire::text(&mut of, 3, &interface.name);
    wire::bytes(out, 10, &of);
}

pub(super) fn endpoint(out: &mut Vec<u8>, field: u32, end: &EndpointJson) {
    let mut of = Vec::new();
    wire::count(&mut of, 1, variant(end.kind));
    wire::text(&mut of, 2, &end.namespace);
    wire::text(&mut of, 3, &end.name);
    wire::text(&mut of, 4, &end.aggregated_name);
    for address in &end.addresses {
        wire::text(&mut of, 5, &address.to_string());
    }
    labels(&mut of, 6, &end.labels);
    labels(&mut of, 7, &end.namespace_labels);
    wire::text(&mut of, 8, &end.service_account);
    labels(&mut of, 9, &end.service_account_labels);
    if let Some(owner) = &end.owner {
        let mut one = Vec::new();
        wire::text(&mut one, 1, &owner.kind);
        wire::text(&mut one, 2, &owner.name);
        wire::bytes(&mut of, 10, &one);
    }
    wire::text(&mut of, 11, &end.node);
    wire::text(&mut of, 12, &end.zone);
    wire::count(&mut of, 13, end.host_network.into());
    for port in &end.declared_ports {
        let mut one = Vec::new();
        wire::text(&mut one, 1, &port.name);
        wire::text(&mut one, 2, &port.protocol.to_string());
        wire::count(&mut one, 3, port.port.into());
        wire::bytes(&mut of, 14, &one);
    }
    wire::bytes(out, field, &of);
}

/// A map's entries; a label may have an empty value.
fn labels(out: &mut Vec<u8>, field: u32, labels: &Labels) {
    for (key, value) in labels.iter() {
        let mut pair = Vec::new();
        wire::bytes(&mut pair, 1, key.as_bytes());
        wire::bytes(&mut pair, 2, value.as_bytes());
        wire::bytes(out, field, &pair);
    }
}

pub(super) fn service(out: &mut Vec<u8>, row: &FlowJson) {
    let Some(service) = &row.service else { return };
    let mut of = Vec::new();
    wire::text(&mut of, 1, &service.namespace);
    wire::text(&mut of, 2, &service.name);
    wire::text(&mut of, 3, &service.port_name);
    wire::count(&mut of, 4, service.port.into());
    wire::bytes(out, 17, &of);
}

/// The traces, and what decided.
pub(super) fn policies(out: &mut Vec<u8>, row: &FlowJson) {
    if let Some(policies) = &row.policies {
        let mut of = Vec::new();
        hits(&mut of, 1, &policies.enforced);
        hits(&mut of, 2, &policies.pending);
        wire::count(&mut of, 3, variant(policies.pending_action));
        wire::count(&mut of, 4, variant(policies.as_read));
        wire::bytes(out, 26, &of);
    }
    let Some(by) = &row.decided_by else { return };
    let mut of = Vec::new();
    policy(&mut of, 1, [by.kind.word(), &by.tier, &by.namespace, &by.name]);
    if let Some(index) = by.rule {
        rule(&mut of, 2, index);
    }
    wire::bytes(out, 27, &of);
}

fn hits(out: &mut Vec<u8>, field: u32, hits: &[HitJson]) {
    for hit in hits {
        let mut of = Vec::new();
        wire::text(&mut of, 1, hit.kind.word());
        wire::text(&mut of, 2, &hit.tier);
        wire::text(&mut of, 3, &hit.namespace);
        wire::text(&mut of, 4, &hit.name);
        wire::count(&mut of, 5, variant(hit.action));
        wire::count(&mut of, 6, hit.policy_index.into());
        for (field, index) in [(7, hit.rule_index), (8, hit.calico_rule_index)] {
            if let Some(index) = index {
                wire::number(&mut of, field, index.into());
            }
        }
        if let Some(trigger) = &hit.trigger {
            policy(&mut of, 9, words(trigger));
        }
        wire::bytes(out, field, &of);
    }
}

fn words(policy: &PolicyRef) -> [&str; 4] {
    [policy.kind.word(), &policy.tier, &policy.namespace, &policy.name]
}

fn policy(out: &mut Vec<u8>, field: u32, [kind, tier, namespace, name]: [&str; 4]) {
    let mut of = Vec::new();
    wire::text(&mut of, 1, kind);
    wire::text(&mut of, 2, tier);
    wire::text(&mut of, 3, namespace);
    wire::text(&mut of, 4, name);
    wire::bytes(out, field, &of);
}

fn rule(out: &mut Vec<u8>, field: u32, index: RuleIndex) {
    let mut of = Vec::new();
    wire::count(&mut of, 1, index.index.into());
    wire::count(&mut of, 2, index.calico_index.into());
    wire::bytes(out, field, &of);
}

/// The sentence and what nearly matched.
pub(super) fn reason(out: &mut Vec<u8>, row: &FlowJson) {
    wire::text(out, 28, &row.sentence);
    for miss in &row.near_misses {
        let NearMiss { policy: of_policy, rule: index, failed } = miss;
        let mut of = Vec::new();
        policy(&mut of, 1, words(of_policy));
        rule(&mut of, 2, *index);
        for term in failed {
            let mut one = Vec::new();
            wire::text(&mut one, 1, &term.field);
            wire::text(&mut one, 2, &term.wanted);
            wire::text(&mut one, 3, &term.found);
            wire::bytes(&mut of, 3, &one);
        }
        wire::bytes(out, 29, &of);
    }
}
