//! A flow that an agent pushed, as a row of whyflow's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use rustc_hash::FxHashMap;
use schemas::flow::FlowKey;
use schemas::{
    Counters, Endpoint, EndpointKind, Evidence, Flow, Handle, InitiatorFrom, InterfaceId, Labels,
    Origin, Protocol, Reason, Reporter, RowId, Seen, Service, Since, Table, TcpFlags, Trace,
    UnixNanos, Verdict, Window,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::words::{self, NONE};
use super::{proto, words::hits_back};

/// Makes rows, remembering keys by their bytes.
#[derive(Debug)]
pub(super) struct Rows {
    window: Duration,
    /// By a hash of a key's bytes and both label lists.
    known: FxHashMap<u128, FlowKey>,
    labels: Table<Labels>,
    endpoints: Table<Endpoint>,
    services: Table<Service>,
    traces: Table<Trace>,
    reason: Arc<Reason>,
}

/// Why a flow is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRow {
    /// No flow, no key, or a key that does not decode.
    Invalid,
    /// It begins later than a clock that is ahead explains.
    Future,
}

/// Keys that are remembered, and values of each kind.
const KNOWN_MAX: usize = 1 << 20;

/// Windows that an agent's clock may be ahead.
const AHEAD_WINDOWS: u32 = 2;

// === impl Rows ===

impl Rows {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            known: FxHashMap::default(),
            labels: Table::new(KNOWN_MAX),
            endpoints: Table::new(KNOWN_MAX),
            services: Table::new(KNOWN_MAX),
            traces: Table::new(KNOWN_MAX),
            reason: Arc::default(),
        }
    }

    /// The row of an update. The same flow of one node has the same number however often it comes.
    pub(super) fn row(
        &mut self,
        node: &str,
        flow: &proto::Flow,
        now: UnixNanos,
    ) -> Result<Flow, NoRow> {
        let start = u64::try_from(flow.start_time).map_err(|_| NoRow::Invalid)?;
        let start = UnixNanos(start.checked_mul(1_000_000_000).ok_or(NoRow::Invalid)?);
        if start > now.after(self.window * AHEAD_WINDOWS) {
            return Err(NoRow::Future);
        }
        let end = u64::try_from(flow.end_time).unwrap_or_default().saturating_mul(1_000_000_000);
        let window = Window::holding(start, self.window);
        let key = self.key(flow)?;
        Ok(Flow {
            id: id(node, flow),
            window,
            key,
            counters: counters(flow),
            evidence: Evidence { far_not_visible: true, ..Evidence::default() },
            tcp_flags: TcpFlags::default(),
            first: start,
            last: UnixNanos(end).max(start),
            initiator_from: InitiatorFrom::Conntrack,
            since: Since::Opened,
            reason: Arc::clone(&self.reason),
            disagreement: None,
            correction: 0,
        })
    }

    fn key(&mut self, flow: &proto::Flow) -> Result<FlowKey, NoRow> {
        let mut hasher = Xxh3::new();
        hasher.update(&xxh3_128(&flow.key).to_le_bytes());
        for labels in [&flow.source_labels, &flow.dest_labels] {
            hasher.update(&labels.len().to_le_bytes());
            for label in labels {
                hasher.update(&label.len().to_le_bytes());
                hasher.update(label.as_bytes());
            }
        }
        let hash = hasher.digest128();
        if let Some(known) = self.known.get(&hash) {
            return Ok(known.clone());
        }
        let key = self.read(flow)?;
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(hash, key.clone());
        Ok(key)
    }

    fn read(&self, flow: &proto::Flow) -> Result<FlowKey, NoRow> {
        let key = proto::FlowKey::decode(Bytes::clone(&flow.key)).map_err(|_| NoRow::Invalid)?;
        let port = u16::try_from(key.dest_port).map_err(|_| NoRow::Invalid)?;
        let reporter = match proto::Reporter::try_from(key.reporter) {
            Ok(proto::Reporter::Src) => Reporter::Src,
            Ok(proto::Reporter::Dst) => Reporter::Dst,
            _ => return Err(NoRow::Invalid),
        };
        let action = words::action_back(key.action).map_or(Verdict::Unknown, Verdict::from);
        let end = |kind, namespace: &str, name: &str, labels: &[String]| {
            self.endpoint(words::endpoint_kind(kind), namespace, name, labels)
        };
        let protocol = Protocol::parse(&key.proto).ok_or(NoRow::Invalid)?;
        Ok(FlowKey {
            reporter,
            origin: Origin::Felix,
            seen: Seen::Interface,
            interface: InterfaceId(0),
            source: end(
                key.source_type,
                &key.source_namespace,
                &key.source_name,
                &flow.source_labels,
            ),
            destination: end(key.dest_type, &key.dest_namespace, &key.dest_name, &flow.dest_labels),
            destination_port: port,
            protocol,
            service: self.service(&key),
            action,
            trace: key.policies.as_ref().map(|policies| self.trace(policies, action)),
            policy_revision: 0,
            connection: None,
        })
    }

    fn endpoint(
        &self,
        kind: EndpointKind,
        namespace: &str,
        name: &str,
        labels: &[String],
    ) -> Handle<Endpoint> {
        let pairs = labels.iter().map(|label| label.split_once('=').unwrap_or((label, "")));
        let none = intern(&self.labels, Labels::default());
        let endpoint = Endpoint {
            namespace: some(namespace).into(),
            labels: intern(&self.labels, pairs.collect()),
            ..Endpoint::bare(kind, name, &none)
        };
        intern(&self.endpoints, endpoint)
    }

    fn service(&self, key: &proto::FlowKey) -> Option<Handle<Service>> {
        let name = some(&key.dest_service_name);
        let is_there = !name.is_empty();
        is_there.then(|| {
            let service = Service {
                namespace: some(&key.dest_service_namespace).into(),
                name: name.into(),
                port_name: some(&key.dest_service_port_name).into(),
                port: u16::try_from(key.dest_service_port).unwrap_or_default(),
            };
            intern(&self.services, service)
        })
    }

    fn trace(&self, policies: &proto::PolicyTrace, action: Verdict) -> Handle<Trace> {
        let pending = hits_back(&policies.pending_policies);
        let last = pending.last().map(|hit| Verdict::from(hit.action));
        let trace = Trace {
            enforced: hits_back(&policies.enforced_policies),
            pending_verdict: last.unwrap_or(action),
            pending,
            verdict: action,
            as_read: action,
        };
        intern(&self.traces, trace)
    }
}

/// The node and all that the flow says: what is sent again says the same.
fn id(node: &str, flow: &proto::Flow) -> RowId {
    let mut hasher = Xxh3::new();
    hasher.update(node.as_bytes());
    hasher.update(&[0]);
    hasher.update(&flow.encode_to_vec());
    RowId(hasher.digest128())
}

fn counters(flow: &proto::Flow) -> Counters {
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    Counters {
        packets_in: number(flow.packets_in),
        packets_out: number(flow.packets_out),
        bytes_in: number(flow.bytes_in),
        bytes_out: number(flow.bytes_out),
        connections_started: number(flow.num_connections_started),
        connections_completed: number(flow.num_connections_completed),
        connections_live: number(flow.num_connections_live),
        observations: 1,
    }
}

fn some(text: &str) -> &str {
    if text == NONE { "" } else { text }
}

/// The table's handle; one outside it when it is full.
fn intern<T: Eq + std::hash::Hash + Clone>(table: &Table<T>, value: T) -> Handle<T> {
    table.intern(value.clone()).unwrap_or_else(|| Handle::lone(value))
}
