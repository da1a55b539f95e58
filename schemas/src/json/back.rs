//! From the JSON shape of a flow back to the flow, with handles of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::{EndpointJson, EvidenceJson, FlowJson, HitJson, HitKind, InterfaceJson, TupleJson};
use crate::endpoint::{Endpoint, Labels, Service};
use crate::evidence::{Dropped, Evidence};
use crate::flow::{Flow, FlowKey};
use crate::interface::{Interface, InterfaceId, InterfaceKind, Interfaces};
use crate::intern::{Handle, Table};
use crate::net::{Protocol, Tuple};
use crate::observation::{Drop, Names};
use crate::policy::{Decider, PolicyHit, Reason, RuleIndex, Trace};
use crate::time::Window;

/// Gives what was written out the handles and numbers of this process. Its tables are its own:
/// whoever writes the shared ones is not disturbed.
#[derive(Debug)]
pub struct Rereader {
    labels: Table<Labels>,
    endpoints: Table<Endpoint>,
    services: Table<Service>,
    traces: Table<Trace>,
    /// Reasons by what they say; what nobody holds any more is forgotten when it is full.
    reasons: Mutex<FxHashMap<Arc<str>, Vec<Arc<Reason>>>>,
    interfaces: Interfaces,
    names: Names,
    /// Numbers of interfaces that this process does not watch, from above.
    next_interface: AtomicU32,
}

/// Values of one kind that are held at the same time.
const HELD: usize = 1 << 20;

// === impl Rereader ===

impl Rereader {
    /// With the interfaces and names of this process.
    #[must_use]
    pub fn new(interfaces: Interfaces, names: Names) -> Self {
        Self {
            labels: Table::new(HELD),
            endpoints: Table::new(HELD),
            services: Table::new(HELD),
            traces: Table::new(HELD),
            reasons: Mutex::default(),
            interfaces,
            names,
            next_interface: AtomicU32::new(u32::MAX),
        }
    }

    /// The flow that was written out. A hit at the end of a tier without the policy that caused it
    /// is left out: nothing is known of it.
    #[must_use]
    pub fn flow(&self, written: FlowJson) -> Flow {
        let protocol = written.protocol;
        let destination_port = match (written.destination.port, written.icmp) {
            (Some(port), _) => port,
            (None, Some(icmp)) => u16::from_be_bytes([icmp.r#type, icmp.code]),
            (None, None) => 0,
        };
        let trace = written.policies.map(|policies| {
            intern(
                &self.traces,
                Trace {
                    enforced: policies.enforced.into_iter().filter_map(HitJson::hit).collect(),
                    pending: policies.pending.into_iter().filter_map(HitJson::hit).collect(),
                    verdict: written.action,
                    pending_verdict: policies.pending_action,
                    as_read: policies.as_read,
                },
            )
        });
        let tuple = |tuple: TupleJson| tuple.tuple(protocol);
        Flow {
            id: written.id,
            window: Window { start: written.window_start, end: written.window_end },
            key: FlowKey {
                reporter: written.reporter,
                origin: written.origin,
                seen: written.seen,
                interface: written.interface.map_or(InterfaceId(0), |known| self.interface(known)),
                source: self.endpoint(written.source),
                destination: self.endpoint(written.destination),
                destination_port,
                protocol,
                service: written.service.map(|service| intern(&self.services, service)),
                action: written.action,
                trace,
                policy_revision: written.policy_revision.unwrap_or_default(),
                connection: written.tuple.map(|own| (tuple(own), written.translated.map(tuple))),
            },
            counters: written.counters,
            evidence: self.evidence(written.evidence),
            tcp_flags: written.tcp_flags,
            first: written.first_seen,
            last: written.last_seen,
            initiator_from: written.initiator_from,
            since: written.since,
            reason: self.reason(written.sentence, written.near_misses),
            disagreement: written.disagreement,
            correction: written.correction,
        }
    }

    fn endpoint(&self, written: EndpointJson) -> Handle<Endpoint> {
        let labels = |labels| intern(&self.labels, labels);
        let endpoint = Endpoint {
            kind: written.kind,
            namespace: written.namespace,
            name: written.name,
            aggregated_name: written.aggregated_name,
            labels: labels(written.labels),
            namespace_labels: labels(written.namespace_labels),
            service_account: written.service_account,
            service_account_labels: labels(written.service_account_labels),
            owner: written.owner,
            node: written.node,
            zone: written.zone,
            host_network: written.host_network,
            ports: written.declared_ports.into(),
            addresses: written.addresses.into(),
        };
        intern(&self.endpoints, endpoint)
    }

    fn evidence(&self, written: EvidenceJson) -> Evidence {
        let EvidenceJson { delivered, answered, refused, dropped, far_not_visible } = written;
        let dropped = dropped.into_iter().map(|one| Dropped {
            by: Drop {
                reason: self.names.intern(&one.reason),
                place: self.names.intern(&one.place),
            },
            packets: one.packets,
            bytes: one.bytes,
        });
        let dropped = dropped.collect();
        Evidence { delivered, answered, refused, dropped, far_not_visible }
    }

    fn reason(&self, sentence: Arc<str>, near_misses: Vec<crate::policy::NearMiss>) -> Arc<Reason> {
        let mut reasons = self.reasons.lock();
        if reasons.len() >= HELD {
            reasons.retain(|_, known| known.iter().any(|reason| Arc::strong_count(reason) > 1));
        }
        let known = reasons.entry(sentence.clone()).or_default();
        if let Some(found) = known.iter().find(|reason| reason.near_misses == near_misses) {
            return found.clone();
        }
        let reason = Arc::new(Reason { sentence, near_misses });
        known.push(reason.clone());
        reason
    }

    /// The number of an interface by where it is; one that is not watched now gets one of its own.
    fn interface(&self, written: InterfaceJson) -> InterfaceId {
        let InterfaceJson { node, netns, name } = written;
        let is_it = |known: &Arc<Interface>| {
            (&known.node, &known.netns, &known.name) == (&node, &netns, &name)
        };
        if let Some(known) = self.interfaces.all().into_iter().find(is_it) {
            return known.id;
        }
        let id = InterfaceId(self.next_interface.fetch_sub(1, Ordering::Relaxed));
        let kind = InterfaceKind::Pod;
        self.interfaces.insert(Interface { id, node, netns, ifindex: 0, name, kind });
        id
    }
}

/// The table's handle; one outside it when it is full.
fn intern<T: Eq + std::hash::Hash + Clone>(table: &Table<T>, value: T) -> Handle<T> {
    table.intern(value.clone()).unwrap_or_else(|| Handle::lone(value))
}

// === impl TupleJson ===

impl TupleJson {
    fn tuple(self, protocol: Protocol) -> Tuple {
        Tuple {
            src: self.source_address,
            dst: self.destination_address,
            src_port: self.source_port,
            dst_port: self.destination_port,
            protocol,
        }
    }
}

// === impl HitJson ===

impl HitJson {
    fn hit(self) -> Option<PolicyHit> {
        let action = self.action;
        match self.kind {
            HitKind::EndOfTier => {
                let policy = self.trigger?;
                Some(PolicyHit { policy, decider: Decider::EndOfTier, action })
            }
            HitKind::Policy(kind) => {
                let Self { tier, namespace, name, rule_index, calico_rule_index, .. } = self;
                let policy = crate::policy::PolicyRef { kind, tier, namespace, name };
                let index = rule_index.unwrap_or_default();
                let calico_index = calico_rule_index.unwrap_or(index);
                let decider = Decider::Rule(RuleIndex { index, calico_index });
                Some(PolicyHit { policy, decider, action })
            }
        }
    }
}
