//! Goldmane's words for what flows say, and back.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use schemas::policy::{Decider, RuleIndex};
use schemas::{
    Action, EndpointKind, FlowKey, PolicyHit, PolicyKind, PolicyRef, Protocol, Reporter, Trace,
    Verdict,
};

use super::proto;

/// What stands for a namespace or a service where there is none.
pub(crate) const NONE: &str = "-";

/// The rule of an end of tier.
const END_OF_TIER: i64 = -1;

/// Goldmane's key of a flow, as a FlowKey message.
pub(crate) fn encoded_key(key: &FlowKey) -> Bytes {
    let service = key.service.as_deref();
    let or_none = |text: &str| if text.is_empty() { NONE } else { text }.to_owned();
    let service_text = |text: Option<&Arc<str>>| text.map_or_else(|| NONE.into(), |it| or_none(it));
    let (source, destination) = (&*key.source, &*key.destination);
    let key = proto::FlowKey {
        source_name: source.aggregated_name.to_string(),
        source_namespace: or_none(&source.namespace),
        source_type: endpoint_type(source.kind).into(),
        dest_name: destination.aggregated_name.to_string(),
        dest_namespace: or_none(&destination.namespace),
        dest_type: endpoint_type(destination.kind).into(),
        dest_port: key.destination_port.into(),
        dest_service_name: service_text(service.map(|service| &service.name)),
        dest_service_namespace: service_text(service.map(|service| &service.namespace)),
        dest_service_port_name: service_text(service.map(|service| &service.port_name)),
        dest_service_port: service.map_or(0, |service| service.port.into()),
        proto: protocol(key.protocol),
        reporter: reporter(key.reporter).into(),
        action: verdict(as_read(key)).into(),
        policies: key.trace.as_deref().map(policy_trace),
    };
    key.encode_to_vec().into()
}

/// What Goldmane's clients are told: what the policies that could be read give.
pub(crate) fn as_read(key: &FlowKey) -> Verdict {
    match (key.action, &key.trace) {
        (Verdict::Incomplete, Some(trace)) => trace.as_read,
        (action, _) => action,
    }
}

/// The lower-case names that Goldmane has; every other protocol of IP is its number.
pub(crate) fn protocol(protocol: Protocol) -> String {
    let has_name = matches!(protocol.0, 1 | 4 | 6 | 17 | 50 | 58 | 132) || protocol.is_frame();
    if has_name { protocol.to_string() } else { protocol.0.to_string() }
}

pub(crate) fn endpoint_type(kind: EndpointKind) -> proto::EndpointType {
    match kind {
        EndpointKind::Workload => proto::EndpointType::WorkloadEndpoint,
        EndpointKind::HostEndpoint => proto::EndpointType::HostEndpoint,
        EndpointKind::NetworkSet => proto::EndpointType::NetworkSet,
        EndpointKind::Network => proto::EndpointType::Network,
    }
}

/// What is not said is some network.
pub(crate) fn endpoint_kind(kind: i32) -> EndpointKind {
    match proto::EndpointType::try_from(kind) {
        Ok(proto::EndpointType::WorkloadEndpoint) => EndpointKind::Workload,
        Ok(proto::EndpointType::HostEndpoint) => EndpointKind::HostEndpoint,
        Ok(proto::EndpointType::NetworkSet) => EndpointKind::NetworkSet,
        _ => EndpointKind::Network,
    }
}

pub(crate) fn reporter(reporter: Reporter) -> proto::Reporter {
    match reporter {
        Reporter::Src => proto::Reporter::Src,
        Reporter::Dst => proto::Reporter::Dst,
    }
}

pub(crate) fn verdict(verdict: Verdict) -> proto::Action {
    match verdict {
        Verdict::Allow => proto::Action::Allow,
        Verdict::Deny => proto::Action::Deny,
        Verdict::Unknown | Verdict::Incomplete => proto::Action::Unspecified,
    }
}

pub(crate) fn action(action: Action) -> proto::Action {
    match action {
        Action::Allow => proto::Action::Allow,
        Action::Deny => proto::Action::Deny,
        Action::Pass => proto::Action::Pass,
    }
}

/// Nothing for what is unspecified.
pub(crate) fn action_back(action: i32) -> Option<Action> {
    match proto::Action::try_from(action) {
        Ok(proto::Action::Allow) => Some(Action::Allow),
        Ok(proto::Action::Deny) => Some(Action::Deny),
        Ok(proto::Action::Pass) => Some(Action::Pass),
        _ => None,
    }
}

pub(crate) fn policy_kind(kind: PolicyKind) -> proto::PolicyKind {
    match kind {
        PolicyKind::CalicoNetworkPolicy => proto::PolicyKind::CalicoNetworkPolicy,
        PolicyKind::GlobalNetworkPolicy => proto::PolicyKind::GlobalNetworkPolicy,
        PolicyKind::StagedNetworkPolicy => proto::PolicyKind::StagedNetworkPolicy,
        PolicyKind::StagedGlobalNetworkPolicy => proto::PolicyKind::StagedGlobalNetworkPolicy,
        PolicyKind::StagedKubernetesNetworkPolicy => {
            proto::PolicyKind::StagedKubernetesNetworkPolicy
        }
        PolicyKind::NetworkPolicy => proto::PolicyKind::NetworkPolicy,
        PolicyKind::AdminNetworkPolicy => proto::PolicyKind::AdminNetworkPolicy,
        PolicyKind::BaselineAdminNetworkPolicy => proto::PolicyKind::BaselineAdminNetworkPolicy,
        PolicyKind::ClusterNetworkPolicy => proto::PolicyKind::ClusterNetworkPolicy,
        PolicyKind::Profile => proto::PolicyKind::Profile,
    }
}

fn policy_kind_back(kind: i32) -> Option<PolicyKind> {
    match proto::PolicyKind::try_from(kind).ok()? {
        proto::PolicyKind::CalicoNetworkPolicy => Some(PolicyKind::CalicoNetworkPolicy),
        proto::PolicyKind::GlobalNetworkPolicy => Some(PolicyKind::GlobalNetworkPolicy),
        proto::PolicyKind::StagedNetworkPolicy => Some(PolicyKind::StagedNetworkPolicy),
        proto::PolicyKind::StagedGlobalNetworkPolicy => Some(PolicyKind::StagedGlobalNetworkPolicy),
        proto::PolicyKind::StagedKubernetesNetworkPolicy => {
            Some(PolicyKind::StagedKubernetesNetworkPolicy)
        }
        proto::PolicyKind::NetworkPolicy => Some(PolicyKind::NetworkPolicy),
        proto::PolicyKind::AdminNetworkPolicy => Some(PolicyKind::AdminNetworkPolicy),
        proto::PolicyKind::BaselineAdminNetworkPolicy => {
            Some(PolicyKind::BaselineAdminNetworkPolicy)
        }
        proto::PolicyKind::ClusterNetworkPolicy => Some(PolicyKind::ClusterNetworkPolicy),
        proto::PolicyKind::Profile => Some(PolicyKind::Profile),
        proto::PolicyKind::EndOfTier | proto::PolicyKind::KindUnspecified => None,
    }
}

fn policy_trace(trace: &Trace) -> proto::PolicyTrace {
    let hits =
        |hits: &[PolicyHit]| (0..).zip(hits).map(|(index, hit)| policy_hit(index, hit)).collect();
    proto::PolicyTrace {
        enforced_policies: hits(&trace.enforced),
        pending_policies: hits(&trace.pending),
    }
}

/// A hit at its place in a trace.
pub(crate) fn policy_hit(index: i64, hit: &PolicyHit) -> proto::PolicyHit {
    let policy = named(&hit.policy);
    let base = proto::PolicyHit {
        action: action(hit.action).into(),
        policy_index: index,
        ..proto::PolicyHit::default()
    };
    match hit.decider {
        Decider::EndOfTier => proto::PolicyHit {
            kind: proto::PolicyKind::EndOfTier.into(),
            tier: policy.tier.clone(),
            rule_index: END_OF_TIER,
            trigger: Some(Box::new(policy)),
            ..base
        },
        Decider::Rule(rule) => {
            let proto::PolicyHit { kind, namespace, name, tier, .. } = policy;
            let rule_index = rule.calico_index.into();
            proto::PolicyHit { kind, namespace, name, tier, rule_index, ..base }
        }
    }
}

/// A policy's name as a hit of no action.
pub(crate) fn named(policy: &PolicyRef) -> proto::PolicyHit {
    proto::PolicyHit {
        kind: policy_kind(policy.kind).into(),
        namespace: policy.namespace.to_string(),
        name: policy.name.to_string(),
        tier: policy.tier.to_string(),
        ..proto::PolicyHit::default()
    }
}

/// A hit that came; nothing for one of a kind that is not known, or without an action.
pub(crate) fn hit_back(hit: &proto::PolicyHit) -> Option<PolicyHit> {
    let is_end = hit.kind == i32::from(proto::PolicyKind::EndOfTier)
        || (hit.rule_index < 0 && hit.trigger.is_none());
    let named = if is_end { hit.trigger.as_deref().unwrap_or(hit) } else { hit };
    let tier = if named.tier.is_empty() { &hit.tier } else { &named.tier };
    let policy = PolicyRef {
        kind: policy_kind_back(named.kind)?,
        tier: tier.as_str().into(),
        namespace: named.namespace.as_str().into(),
        name: named.name.as_str().into(),
    };
    let decider = if is_end {
        Decider::EndOfTier
    } else {
        let index = u32::try_from(hit.rule_index).unwrap_or_default();
        Decider::Rule(RuleIndex { index, calico_index: index })
    };
    Some(PolicyHit { policy, decider, action: action_back(hit.action)? })
}

/// The hits of a trace that came, in the order of their places.
pub(crate) fn hits_back(hits: &[proto::PolicyHit]) -> Box<[PolicyHit]> {
    let mut sorted: Vec<&proto::PolicyHit> = hits.iter().collect();
    sorted.sort_by_key(|hit| hit.policy_index);
    sorted.into_iter().filter_map(hit_back).collect()
}
