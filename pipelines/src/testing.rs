//! Builders for tests: a small cluster, observations, and a stage that is fed and checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cluster::{Index, Limits, Object, Place, Reader, Tables};
use policy::{Compiled, Document, Settings, Timeline, TimelineLimits, TimelineWriter};
use schemas::observation::{NameId, Names};
use schemas::{
    Addr, Batch, Direction, Drop, Flow, InterfaceId, InterfaceKind, Lane, Ledger, Observation,
    Protocol, Reporter, Table, TcpFlags, Tuple, UnixNanos, Update,
};
use serde_json::{Value, json};

use crate::stage::BatchLimits;
use crate::{
    Account, Aggregate, AggregateConfig, Attribute, AttributeConfig, Attributed, Connect,
    ConnectConfig, Enrich, EnrichConfig, Outbox, Row, Stage, step,
};

/// A small cluster, and the policies of its time.
pub(crate) struct Scene {
    pub(crate) index: Index,
    pub(crate) reader: Reader,
    pub(crate) writer: TimelineWriter,
    pub(crate) timeline: Timeline,
    pub(crate) names: Names,
}

/// A stage that is fed, with its outbox.
pub(crate) struct Fed<S: Stage> {
    pub(crate) stage: S,
    pub(crate) out: Outbox<S::Out>,
}

/// An observation being built.
#[derive(Clone, Copy)]
pub(crate) struct Seen(pub(crate) Observation);

/// The interface of `shop/web`, which has 10.0.0.1.
pub(crate) const WEB: u32 = 1;
/// The interface of `shop/cart`, which has 10.0.0.2 and listens on 8080/tcp and 5353/udp.
pub(crate) const CART: u32 = 2;
/// The interface of `shop/cart-2`, which has 10.0.0.3 and listens as `shop/cart` does.
pub(crate) const CART_2: u32 = 3;
/// The uplink of the node.
pub(crate) const UPLINK: u32 = 9;

/// The service `shop/cart`, port 80, of both carts.
pub(crate) const SERVICE: &str = "10.96.0.10";

/// When the tests begin: a window's start.
pub(crate) const START: u64 = 1_800_000_000;

pub(crate) fn secs(secs: u64) -> UnixNanos {
    UnixNanos::from_secs(START + secs)
}

pub(crate) fn millis(millis: u64) -> UnixNanos {
    UnixNanos(UnixNanos::from_secs(START).0 + millis * 1_000_000)
}

pub(crate) fn lane(node: &str, incarnation: u32) -> Arc<Lane> {
    Arc::new(Lane { node: node.into(), boot_id: "boot".into(), incarnation })
}

pub(crate) fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// A batch that is a whole drain of a second.
pub(crate) fn drain<T>(lane: &Arc<Lane>, second: u64, rows: Vec<T>) -> Batch<T> {
    piece(lane, second, rows, true)
}

/// A piece of a drain of a second.
pub(crate) fn piece<T>(lane: &Arc<Lane>, second: u64, rows: Vec<T>, is_last: bool) -> Batch<T> {
    let generation = second;
    let ledger = is_last.then(|| Arc::new(Ledger { generation, ..Ledger::default() }));
    let (from, to) = (secs(second), secs(second + 1));
    Batch { lane: lane.clone(), from, to, rows, ledger }
}

pub(crate) fn end_of_time<T>(lane: &Arc<Lane>) -> Batch<T> {
    let (from, to) = (UnixNanos::MAX, UnixNanos::MAX);
    Batch { lane: lane.clone(), from, to, rows: Vec::new(), ledger: None }
}

/// Reads a tuple: `tcp 10.0.0.1:4000 > 10.0.0.2:8080`.
pub(crate) fn tuple(text: &str) -> Tuple {
    let mut parts = text.split(' ');
    let mut next = || parts.next().unwrap();
    let protocol = Protocol::parse(next()).unwrap();
    let src: SocketAddr = next().parse().unwrap();
    assert_eq!(next(), ">");
    let dst: SocketAddr = next().parse().unwrap();
    Tuple {
        src: src.ip().into(),
        dst: dst.ip().into(),
        src_port: src.port(),
        dst_port: dst.port(),
        protocol,
    }
}

/// One packet of this tuple, at the beginning.
pub(crate) fn seen(text: &str) -> Seen {
    Seen(Observation {
        tuple: tuple(text),
        translated: None,
        interface: InterfaceId(0),
        interface_kind: InterfaceKind::Pod,
        direction: Direction::Ingress,
        packets: 1,
        bytes: 100,
        opened: 0,
        tcp_flags: TcpFlags::default(),
        first: millis(100),
        last: millis(100),
        drop: None,
    })
}

// === impl Seen ===

impl Seen {
    /// Sent by the pod of this interface.
    pub(crate) fn out_of(mut self, interface: u32) -> Self {
        (self.0.interface, self.0.direction) = (InterfaceId(interface), Direction::Ingress);
        self
    }

    /// Sent to the pod of this interface.
    pub(crate) fn into(mut self, interface: u32) -> Self {
        (self.0.interface, self.0.direction) = (InterfaceId(interface), Direction::Egress);
        self
    }

    pub(crate) fn at_uplink(mut self, direction: Direction) -> Self {
        self.0.interface = InterfaceId(UPLINK);
        self.0.interface_kind = InterfaceKind::Uplink;
        self.0.direction = direction;
        self
    }

    pub(crate) fn translated(mut self, text: &str) -> Self {
        self.0.translated = Some(tuple(text));
        self
    }

    pub(crate) fn packets(mut self, packets: u64) -> Self {
        (self.0.packets, self.0.bytes) = (packets, 100 * packets);
        self
    }

    pub(crate) fn flags(mut self, flags: &[TcpFlags]) -> Self {
        self.0.tcp_flags = flags.iter().fold(self.0.tcp_flags, |all, one| all.and(*one));
        self
    }

    /// A SYN, of a connection that was not known yet.
    pub(crate) fn syn(mut self) -> Self {
        self.0.opened = 1;
        self.flags(&[TcpFlags::SYN, TcpFlags::SYN_ONLY])
    }

    /// A SYN again, of a connection that is known.
    pub(crate) fn syn_again(self) -> Self {
        self.flags(&[TcpFlags::SYN, TcpFlags::SYN_ONLY])
    }

    pub(crate) fn syn_ack(self) -> Self {
        self.flags(&[TcpFlags::SYN, TcpFlags::ACK, TcpFlags::SYN_ACK])
    }

    pub(crate) fn ack(self) -> Self {
        self.flags(&[TcpFlags::ACK])
    }

    pub(crate) fn fin(self) -> Self {
        self.flags(&[TcpFlags::FIN, TcpFlags::ACK])
    }

    pub(crate) fn rst(self) -> Self {
        self.flags(&[TcpFlags::RST, TcpFlags::ACK])
    }

    pub(crate) fn at(mut self, when: UnixNanos) -> Self {
        (self.0.first, self.0.last) = (when, when);
        self
    }

    /// Dropped instead of passing.
    pub(crate) fn dropped(mut self, (reason, place): (NameId, NameId)) -> Self {
        self.0.drop = Some(Drop { reason, place });
        self
    }

    pub(crate) fn get(self) -> Observation {
        self.0
    }
}

// === impl Scene ===

impl Scene {
    pub(crate) fn new() -> Self {
        let (index, reader) = Index::new(Limits::default(), Tables::new(10_000));
        let (writer, timeline) = Timeline::new(TimelineLimits::default());
        let mut scene = Self { index, reader, writer, timeline, names: Names::default() };
        scene.index.replace_all(&shop(), UnixNanos::from_secs(START - 1_000));
        scene
    }

    /// A scene under these policies, since before the tests begin.
    pub(crate) fn under(policies: &[Value]) -> Self {
        let scene = Self::new();
        scene.publish(policies, UnixNanos::from_secs(START - 1_000));
        scene
    }

    pub(crate) fn publish(&self, policies: &[Value], at: UnixNanos) {
        let document = |body: &Value| Document { source: "test:1".into(), body: body.clone() };
        let documents: Vec<Document> = policies.iter().map(document).collect();
        let (set, problems) = Compiled::compile(&documents, &Settings::default());
        assert_eq!(problems, []);
        self.writer.publish(set, at);
    }

    pub(crate) fn apply(&mut self, body: Value, at: UnixNanos) {
        assert!(self.index.apply(&object(body), at).unwrap());
    }

    pub(crate) fn delete(&mut self, body: Value, at: UnixNanos) {
        assert!(self.index.delete(&object(body).key(), at));
    }

    /// A drop by a firewall.
    pub(crate) fn by_firewall(&self) -> (NameId, NameId) {
        self.drop("NETFILTER_DROP", "nft_do_chain")
    }

    pub(crate) fn drop(&self, reason: &str, place: &str) -> (NameId, NameId) {
        (self.names.intern(reason), self.names.intern(place))
    }
}

pub(crate) fn object(body: Value) -> Object {
    Object::from_body(Place { file: "test".into(), line: 1 }, body).unwrap()
}

pub(crate) fn pod(name: &str, ip: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"nodeName": "node-a", "containers": [{"name": "main", "ports": [
            {"containerPort": 8080, "protocol": "TCP"},
            {"containerPort": 5353, "protocol": "UDP"},
        ]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

/// A client: it declares no port.
pub(crate) fn client(name: &str, ip: &str, labels: &Value) -> Value {
    let mut body = pod(name, ip, labels);
    body["spec"]["containers"] = json!([{"name": "main"}]);
    body
}

fn shop() -> Vec<Object> {
    let bodies = [
        json!({"apiVersion": "v1", "kind": "Namespace",
               "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"},
               "spec": {"podCIDR": "10.0.0.0/16", "podCIDRs": ["10.0.0.0/16"]},
               "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}}),
        client("web", "10.0.0.1", &json!({"app": "web"})),
        pod("cart", "10.0.0.2", &json!({"app": "cart"})),
        pod("cart-2", "10.0.0.3", &json!({"app": "cart"})),
        json!({"apiVersion": "v1", "kind": "Service",
               "metadata": {"name": "cart", "namespace": "shop"},
               "spec": {"clusterIP": SERVICE, "clusterIPs": [SERVICE],
                        "selector": {"app": "cart"},
                        "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}}),
    ];
    bodies.into_iter().map(object).collect()
}

/// A policy that selects pods by `app` and allows ingress from pods by `app` alone.
pub(crate) fn only_from(name: &str, selected: &str, from: &[&str]) -> Value {
    let peers: Vec<Value> =
        from.iter().map(|app| json!({"podSelector": {"matchLabels": {"app": app}}})).collect();
    let ingress = if peers.is_empty() { json!([]) } else { json!([{"from": peers}]) };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": selected}},
                 "policyTypes": ["Ingress"], "ingress": ingress},
    })
}

/// A policy that lets nothing out of the pods of this `app`.
pub(crate) fn nothing_out_of(name: &str, selected: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": selected}}, "policyTypes": ["Egress"]},
    })
}

// === impl Fed ===

impl<S: Stage> Fed<S> {
    pub(crate) fn new(stage: S) -> Self {
        Self { stage, out: Outbox::kept(BatchLimits { rows: 100, bytes: 1 << 20 }) }
    }

    /// Feeds a batch; the account must balance. Returns the batches that came of it.
    pub(crate) fn feed(&mut self, batch: Batch<S::In>) -> Vec<Batch<S::Out>> {
        step(&mut self.stage, batch, &mut self.out);
        assert_accounted(S::NAME, self.out.account());
        self.out.take()
    }

    /// Feeds a batch; returns the rows that came of it.
    pub(crate) fn rows(&mut self, batch: Batch<S::In>) -> Vec<S::Out> {
        self.feed(batch).into_iter().flat_map(|batch| batch.rows).collect()
    }

    pub(crate) fn account(&self) -> &Account {
        self.out.account()
    }

    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.account().counts.get(name).copied().unwrap_or(0)
    }
}

/// What every node is held to.
pub(crate) fn assert_accounted(node: &str, account: &Account) {
    assert!(account.is_balanced(), "{node}: received ≠ sent + dropped + held in {account:?}");
}

/// What rows stand for.
pub(crate) fn amount<T: Row>(rows: &[T]) -> crate::Amount {
    rows.iter().map(Row::amount).sum()
}

/// The four stages in a row.
pub(crate) struct Path {
    pub(crate) connect: Fed<Connect>,
    pub(crate) enrich: Fed<Enrich>,
    pub(crate) attribute: Fed<Attribute>,
    pub(crate) aggregate: Fed<Aggregate>,
}

// === impl Path ===

impl Path {
    pub(crate) fn new(scene: &Scene) -> Self {
        Self::with(scene, AggregateConfig::default())
    }

    pub(crate) fn with(scene: &Scene, config: AggregateConfig) -> Self {
        let (reader, traces) = (scene.reader.clone(), Table::new(10_000));
        let attribute = AttributeConfig::default();
        let config = AggregateConfig { names: scene.names.clone(), ..config };
        Self {
            connect: Fed::new(Connect::new(ConnectConfig::default(), reader.clone())),
            enrich: Fed::new(Enrich::new(EnrichConfig::default(), reader)),
            attribute: Fed::new(Attribute::new(attribute, scene.timeline.clone(), traces)),
            aggregate: Fed::new(Aggregate::new(config)),
        }
    }

    /// What the policies say of a batch's connections.
    pub(crate) fn attributed(&mut self, batch: Batch<Observation>) -> Vec<Attributed> {
        self.attribute(batch).into_iter().flat_map(|batch| batch.rows).collect()
    }

    fn attribute(&mut self, batch: Batch<Observation>) -> Vec<Batch<Attributed>> {
        let batches = self.connect.feed(batch);
        let batches: Vec<_> = batches.into_iter().flat_map(|one| self.enrich.feed(one)).collect();
        batches.into_iter().flat_map(|one| self.attribute.feed(one)).collect()
    }

    /// Feeds observations; returns what leaves.
    pub(crate) fn feed(&mut self, batch: Batch<Observation>) -> Vec<Update> {
        let batches = self.attribute(batch);
        batches.into_iter().flat_map(|one| self.aggregate.rows(one)).collect()
    }

    /// Feeds one drain and then the end of time; returns the rows of the closed windows.
    pub(crate) fn close(
        &mut self,
        lane: &Arc<Lane>,
        second: u64,
        rows: Vec<Observation>,
    ) -> Vec<Flow> {
        let mut updates = self.feed(drain(lane, second, rows));
        updates.extend(self.feed(end_of_time(lane)));
        closed(&updates)
    }
}

/// The rows of the closed windows among these.
pub(crate) fn closed(updates: &[Update]) -> Vec<Flow> {
    let closed = updates.iter().filter_map(|update| match update {
        Update::Closed(closed) => Some(closed.rows.clone()),
        Update::Opened(_) => None,
    });
    closed.flatten().collect()
}

/// The rows that were opened among these.
pub(crate) fn opened(updates: &[Update]) -> Vec<Flow> {
    let opened = updates.iter().filter_map(|update| match update {
        Update::Opened(rows) => Some(rows.clone()),
        Update::Closed(_) => None,
    });
    opened.flatten().collect()
}

/// The only row of this side.
pub(crate) fn flow(rows: &[Flow], reporter: Reporter) -> &Flow {
    let mut found = rows.iter().filter(|row| row.key.reporter == reporter);
    let one = found.next().unwrap_or_else(|| panic!("no {reporter:?} row in {rows:#?}"));
    assert!(found.next().is_none(), "more than one {reporter:?} row in {rows:#?}");
    one
}

/// A connection from one pod's port to another's 8080, as all four capture points see it: five
/// packets there and four back.
pub(crate) fn call(from: (&str, u32), port: u16, to: (&str, u32)) -> Vec<Observation> {
    let there = format!("tcp {}:{port} > {}:8080", from.0, to.0);
    let back = format!("tcp {}:8080 > {}:{port}", to.0, from.0);
    vec![
        seen(&there).out_of(from.1).packets(5).syn().ack().get(),
        seen(&there).into(to.1).packets(5).syn().ack().get(),
        seen(&back).out_of(to.1).packets(4).syn_ack().get(),
        seen(&back).into(from.1).packets(4).syn_ack().get(),
    ]
}

/// The same, later.
pub(crate) fn later(mut rows: Vec<Observation>, when: UnixNanos) -> Vec<Observation> {
    for row in &mut rows {
        (row.first, row.last) = (when, when);
    }
    rows
}

/// A connection of which nothing arrives, with its drop.
pub(crate) fn denied_call(scene: &Scene, port: u16) -> Vec<Observation> {
    let there = format!("tcp 10.0.0.1:{port} > 10.0.0.2:8080");
    vec![
        seen(&there).out_of(WEB).packets(2).syn().get(),
        seen(&there).packets(2).syn_again().dropped(scene.by_firewall()).get(),
    ]
}

pub(crate) const AT_WEB: (&str, u32) = ("10.0.0.1", WEB);
pub(crate) const AT_CART: (&str, u32) = ("10.0.0.2", CART);
pub(crate) const AT_CART_2: (&str, u32) = ("10.0.0.3", CART_2);
