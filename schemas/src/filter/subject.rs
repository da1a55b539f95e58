//! What a filter looks at, the same of a flow in memory and of one that was written out.

use crate::connection::Reporter;
use crate::endpoint::Endpoint;
use crate::evidence::Outcome;
use crate::flow::Flow;
use crate::json::{EndpointJson, FlowJson, HitJson, HitKind};
use crate::net::Protocol;
use crate::policy::{Action, Decider, PolicyHit, PolicyKind, Trace, Verdict};

/// One flow.
pub(super) struct Subject<'a> {
    pub(super) source: Party<'a>,
    pub(super) destination: Party<'a>,
    pub(super) port: Option<u16>,
    pub(super) protocol: Protocol,
    pub(super) reporter: Reporter,
    pub(super) action: Verdict,
    pub(super) outcome: Outcome,
    pub(super) disagrees: bool,
    pub(super) enforced: Hits<'a>,
    pub(super) pending: Hits<'a>,
}

/// One end of a flow, as a filter looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party<'a> {
    /// Its namespace; empty for what has none.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The name that Goldmane aggregates by.
    pub aggregated_name: &'a str,
}

/// One trace of it.
pub(super) enum Hits<'a> {
    Flow(&'a [PolicyHit]),
    Json(&'a [HitJson]),
}

/// One hit; at the end of a tier the policy is the trigger.
pub(super) struct Hit<'a> {
    pub(super) kind: PolicyKind,
    pub(super) tier: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) action: Action,
    pub(super) is_end_of_tier: bool,
}

// === impl Subject ===

impl<'a> Subject<'a> {
    pub(super) fn of_flow(flow: &'a Flow) -> Self {
        let key = &flow.key;
        let [enforced, pending] = Hits::of_trace(key.trace.as_deref());
        Self {
            source: Party::from(&*key.source),
            destination: Party::from(&*key.destination),
            port: key.protocol.has_ports().then_some(key.destination_port),
            protocol: key.protocol,
            reporter: key.reporter,
            action: key.action,
            outcome: flow.evidence.outcome(),
            disagrees: flow.disagreement.is_some(),
            enforced,
            pending,
        }
    }

    pub(super) fn of_json(flow: &'a FlowJson) -> Self {
        let policies = flow.policies.as_ref();
        Self {
            source: Party::from(&flow.source),
            destination: Party::from(&flow.destination),
            port: flow.destination.port,
            protocol: flow.protocol,
            reporter: flow.reporter,
            action: flow.action,
            outcome: flow.outcome,
            disagrees: flow.disagreement.is_some(),
            enforced: Hits::Json(policies.map_or(&[], |policies| &policies.enforced)),
            pending: Hits::Json(policies.map_or(&[], |policies| &policies.pending)),
        }
    }
}

// === impl Party ===

impl<'a> From<&'a Endpoint> for Party<'a> {
    fn from(endpoint: &'a Endpoint) -> Self {
        let Endpoint { namespace, name, aggregated_name, .. } = endpoint;
        Self { namespace, name, aggregated_name }
    }
}

impl<'a> From<&'a EndpointJson> for Party<'a> {
    fn from(endpoint: &'a EndpointJson) -> Self {
        let EndpointJson { namespace, name, aggregated_name, .. } = endpoint;
        Self { namespace, name, aggregated_name }
    }
}

// === impl Hits ===

impl<'a> Hits<'a> {
    pub(super) fn of_trace(trace: Option<&'a Trace>) -> [Self; 2] {
        [
            Self::Flow(trace.map_or(&[], |trace| &trace.enforced)),
            Self::Flow(trace.map_or(&[], |trace| &trace.pending)),
        ]
    }

    /// Each hit; `None` for an end of tier that was written out without its trigger.
    pub(super) fn hits(&self) -> impl Iterator<Item = Option<Hit<'a>>> + use<'a> {
        let (flow, json): (&[PolicyHit], &[HitJson]) = match self {
            Self::Flow(hits) => (hits, &[]),
            Self::Json(hits) => (&[], hits),
        };
        flow.iter().map(|hit| Some(Hit::of_flow(hit))).chain(json.iter().map(Hit::of_json))
    }
}

// === impl Hit ===

impl<'a> Hit<'a> {
    pub(super) fn of_flow(hit: &'a PolicyHit) -> Self {
        Self {
            kind: hit.policy.kind,
            tier: &hit.policy.tier,
            namespace: &hit.policy.namespace,
            name: &hit.policy.name,
            action: hit.action,
            is_end_of_tier: hit.decider == Decider::EndOfTier,
        }
    }

    fn of_json(hit: &'a HitJson) -> Option<Self> {
        let action = hit.action;
        match (hit.kind, &hit.trigger) {
            (HitKind::Policy(kind), _) => {
                let HitJson { tier, namespace, name, .. } = hit;
                Some(Self { kind, tier, namespace, name, action, is_end_of_tier: false })
            }
            (HitKind::EndOfTier, trigger) => {
                let crate::policy::PolicyRef { kind, tier, namespace, name } = trigger.as_ref()?;
                Some(Self { kind: *kind, tier, namespace, name, action, is_end_of_tier: true })
            }
        }
    }
}
