//! Random flows from a seed, for tests: every field takes its rare values too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Closed, Lane, Ledger, LedgerEntry};
use crate::connection::{InitiatorFrom, Reporter, Seen, Since};
use crate::endpoint::{DeclaredPort, Endpoint, EndpointKind, Labels, Owner, Service};
use crate::evidence::{Dropped, Evidence};
use crate::flow::{Counters, Flow, FlowKey, Origin, RowId};
use crate::interface::{Interface, InterfaceId, InterfaceKind, Interfaces};
use crate::intern::Handle;
use crate::json::Words;
use crate::json::word::Word;
use crate::net::{Addr, Protocol, TcpFlags, Tuple};
use crate::observation::{Direction, Drop, Names};
use crate::policy::{
    Action, Decider, FailedTerm, NearMiss, PolicyHit, PolicyKind, PolicyRef, Reason, RuleIndex,
    Trace, Verdict,
};
use crate::time::{UnixNanos, Window};

/// When the first sample window starts: 2026-01-31T08:30:00Z.
pub const START: UnixNanos = UnixNanos::from_secs(1_769_848_200);

/// The length of a sample window.
pub const WINDOW: Duration = Duration::from_secs(15);

/// A source of random values (`splitmix64`): the same seed gives the same values.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

/// A miniature cluster whose flows are made up.
#[derive(Debug)]
pub struct Sampler {
    /// Where its choices come from.
    pub random: Random,
    /// Interfaces that its flows name.
    pub interfaces: Interfaces,
    /// Drop reasons and places that its flows name.
    pub names: Names,
    /// Whose flows they are.
    pub lane: Arc<Lane>,
    /// The cluster's name.
    pub cluster: Arc<str>,
    endpoints: Vec<Handle<Endpoint>>,
    services: Vec<Handle<Service>>,
    traces: Vec<Handle<Trace>>,
    reasons: Vec<Arc<Reason>>,
    next_id: u128,
}

// === impl Random ===

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let count = u64::try_from(choices.len()).expect("a slice's length is a u64");
        let index = usize::try_from(self.below(count)).expect("it is below a usize");
        &choices[index]
    }

    /// One variant of a closed set of words.
    pub fn word<W: Word>(&mut self) -> W {
        self.one_of(W::WORDS).0
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(65_536)).expect("it is below 65,536")
    }

    fn index(&mut self) -> u32 {
        u32::try_from(self.below(5)).expect("it is below 5")
    }

    fn addr(&mut self) -> Addr {
        let bits = self.number();
        if self.once_in(3) {
            return IpAddr::V6(Ipv6Addr::from((0xfd00 << 112) | u128::from(bits))).into();
        }
        let [a, b, c, ..] = bits.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, a, b, c)).into()
    }

    fn labels(&mut self) -> Labels {
        let count = self.below(4);
        let keys = ["app", "tier", "kubernetes.io/metadata.name", "ünïcode", "empty"];
        let values = ["frontend", "cart", "", "a \"quoted\"\nvalue", "batch"];
        (0..count).map(|_| (*self.one_of(&keys), *self.one_of(&values))).collect()
    }
}

// === impl Sampler ===

impl Sampler {
    /// A cluster of this many endpoints.
    #[must_use]
    pub fn new(seed: u64, endpoints: usize) -> Self {
        let mut random = Random(seed);
        let interfaces = Interfaces::default();
        for id in 1..=4 {
            let netns = if id == 1 { "" } else { "/run/netns/node-a" };
            interfaces.insert(Interface {
                id: InterfaceId(id),
                node: "node-a".into(),
                netns: netns.into(),
                ifindex: id,
                name: format!("veth{id}").into(),
                kind: InterfaceKind::Pod,
            });
        }
        let lane = Lane { node: "node-a".into(), boot_id: "b00t".into(), incarnation: 3 };
        Self {
            interfaces,
            names: Names::default(),
            lane: Arc::new(lane),
            cluster: "lab".into(),
            endpoints: (0..endpoints).map(|n| Handle::lone(endpoint(&mut random, n))).collect(),
            services: (0..3).map(|n| Handle::lone(service(n))).collect(),
            traces: (0..32).map(|_| Handle::lone(trace(&mut random))).collect(),
            reasons: (0..8).map(|_| Arc::new(reason(&mut random))).collect(),
            next_id: u128::from(random.number()) << 64,
            random,
        }
    }

    /// The words behind the numbers of its flows.
    #[must_use]
    pub fn words(&self) -> Words<'_> {
        Words {
            interfaces: &self.interfaces,
            names: &self.names,
            lane: Some(&self.lane),
            cluster: Some(&self.cluster),
        }
    }

    /// The window of this number.
    #[must_use]
    pub fn window(number: u32) -> Window {
        let start = START.after(WINDOW * number);
        Window { start, end: start.after(WINDOW) }
    }

    /// A closed window of this number with so many rows.
    pub fn closed(&mut self, number: u32, rows: usize) -> Closed {
        let window = Self::window(number);
        let rows = (0..rows).map(|_| self.flow(window)).collect();
        let entry = LedgerEntry {
            interface: InterfaceId(1),
            direction: Direction::Ingress,
            packets: u64::from(number) * 10,
            bytes: u64::from(number) * 1_000,
        };
        let ledger = Ledger { generation: number.into(), entries: vec![entry] };
        let ledger = Some(Arc::new(ledger));
        Closed { lane: Arc::clone(&self.lane), window, rows, is_last: true, ledger }
    }

    /// A flow of this window.
    ///
    /// # Panics
    /// When the window is longer than half a million years.
    pub fn flow(&mut self, window: Window) -> Flow {
        self.next_id += 1;
        let reason = Arc::clone(self.random.one_of(&self.reasons));
        let key = self.key();
        let evidence = self.evidence();
        let random = &mut self.random;
        let length = window.end.since(window.start);
        let micros = u64::try_from(length.as_micros()).expect("a window is short");
        let mut within = || window.start.after(Duration::from_micros(random.below(micros)));
        let (one, other) = (within(), within());
        let disagreement = "dropped by the kernel at nft_do_chain, no policy says so";
        Flow {
            id: RowId(self.next_id),
            window,
            key,
            counters: Counters {
                packets_in: random.below(1_000),
                packets_out: random.below(1_000),
                bytes_in: random.below(1_000_000),
                bytes_out: random.below(1 << 40),
                connections_started: random.below(3),
                connections_completed: random.below(3),
                connections_live: random.below(3),
                observations: 1 + random.below(9),
            },
            evidence,
            tcp_flags: TcpFlags(u16::try_from(random.below(0x400)).expect("ten bits")),
            first: one.min(other),
            last: one.max(other),
            initiator_from: random.word::<InitiatorFrom>(),
            since: random.word::<Since>(),
            reason,
            disagreement: random.once_in(4).then(|| disagreement.into()),
            correction: if random.once_in(5) { random.index() } else { 0 },
        }
    }

    fn key(&mut self) -> FlowKey {
        let random = &mut self.random;
        let protocols = [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6];
        let rare = [Protocol::SCTP, Protocol::ARP, Protocol(89), Protocol::LLC];
        let protocol =
            *if random.once_in(6) { random.one_of(&rare) } else { random.one_of(&protocols) };
        let has_number = protocol.has_ports() || protocol.is_icmp();
        let destination_port = if has_number { random.port() } else { 0 };
        let tuple = Tuple {
            src: random.addr(),
            dst: random.addr(),
            src_port: random.port(),
            dst_port: destination_port,
            protocol,
        };
        let translated = random.once_in(2).then(|| Tuple { dst: random.addr(), ..tuple });
        FlowKey {
            reporter: random.word::<Reporter>(),
            origin: random.word::<Origin>(),
            seen: random.word::<Seen>(),
            interface: InterfaceId(random.index()),
            source: random.one_of(&self.endpoints).clone(),
            destination: random.one_of(&self.endpoints).clone(),
            destination_port,
            protocol,
            service: random.once_in(3).then(|| random.one_of(&self.services).clone()),
            action: random.word::<Verdict>(),
            trace: (!protocol.is_frame()).then(|| random.one_of(&self.traces).clone()),
            policy_revision: if random.once_in(4) { 0 } else { random.number() },
            connection: random.once_in(3).then_some((tuple, translated)),
        }
    }

    fn evidence(&mut self) -> Evidence {
        let random = &mut self.random;
        let mut evidence = Evidence {
            delivered: random.below(3),
            answered: random.below(3),
            refused: random.below(2),
            far_not_visible: random.once_in(3),
            ..Evidence::default()
        };
        for _ in 0..random.below(3) {
            let reason = *random.one_of(&["NETFILTER_DROP", "NO_SOCKET"]);
            let place = *random.one_of(&["nft_do_chain", "tcp_v4_rcv"]);
            let (packets, bytes) = (1 + random.below(9), random.below(9_000));
            let by = Drop { reason: self.names.intern(reason), place: self.names.intern(place) };
            evidence.add_dropped(Dropped { by, packets, bytes });
        }
        evidence
    }
}

fn endpoint(random: &mut Random, number: usize) -> Endpoint {
    let none = Handle::lone(Labels::default());
    let kind = random.word::<EndpointKind>();
    let base = Endpoint {
        addresses: (0..random.below(3)).map(|_| random.addr()).collect(),
        ..Endpoint::bare(kind, format!("endpoint-{number}"), &none)
    };
    if kind != EndpointKind::Workload {
        return Endpoint { aggregated_name: (*random.one_of(&["pub", "pvt"])).into(), ..base };
    }
    let ports = [
        DeclaredPort { name: "http".into(), protocol: Protocol::TCP, port: 8_080 },
        DeclaredPort { name: "".into(), protocol: Protocol::UDP, port: 53 },
    ];
    let owner = Owner { kind: "Deployment".into(), name: "endpoint".into() };
    Endpoint {
        namespace: (*random.one_of(&["shop", "bank", "kube-system"])).into(),
        aggregated_name: "endpoint-*".into(),
        labels: Handle::lone(random.labels()),
        namespace_labels: Handle::lone(random.labels()),
        service_account: (*random.one_of(&["default", ""])).into(),
        service_account_labels: Handle::lone(random.labels()),
        owner: random.once_in(2).then_some(owner),
        node: (*random.one_of(&["node-a", "node-b", ""])).into(),
        zone: (*random.one_of(&["zone-1", ""])).into(),
        host_network: random.once_in(5),
        ports: if random.once_in(2) { ports.into() } else { Arc::default() },
        ..base
    }
}

fn service(number: u16) -> Service {
    let port_name = if number == 0 { "" } else { "http" };
    Service {
        namespace: "shop".into(),
        name: format!("service-{number}").into(),
        port_name: port_name.into(),
        port: 80 + number,
    }
}

fn policy(random: &mut Random) -> PolicyRef {
    let namespaces = ["shop", "bank", ""];
    let kinds = PolicyKind::WORDS.iter().filter(|(kind, _)| *kind != PolicyKind::Profile);
    let kinds: Vec<_> = kinds.collect();
    PolicyRef {
        kind: random.one_of(&kinds).0,
        tier: (*random.one_of(&["default", "kube-admin"])).into(),
        namespace: (*random.one_of(&namespaces)).into(),
        name: (*random.one_of(&["default-deny", "allow-frontend"])).into(),
    }
}

fn rule(random: &mut Random) -> RuleIndex {
    RuleIndex { index: random.index(), calico_index: random.index() }
}

fn hits(random: &mut Random) -> Box<[PolicyHit]> {
    let profile = PolicyRef {
        kind: PolicyKind::Profile,
        tier: "".into(),
        namespace: "".into(),
        name: "kns.shop".into(),
    };
    if random.once_in(4) {
        let decider = Decider::Rule(RuleIndex { index: 0, calico_index: 0 });
        return [PolicyHit { policy: profile, decider, action: Action::Allow }].into();
    }
    let count = random.below(3);
    let hit = |_| {
        let by_rule = random.once_in(2);
        let decider = if by_rule { Decider::Rule(rule(random)) } else { Decider::EndOfTier };
        PolicyHit { policy: policy(random), decider, action: random.word::<Action>() }
    };
    (0..count).map(hit).collect()
}

fn trace(random: &mut Random) -> Trace {
    Trace {
        enforced: hits(random),
        pending: hits(random),
        verdict: random.word::<Verdict>(),
        pending_verdict: random.word::<Verdict>(),
        as_read: random.word::<Verdict>(),
    }
}

fn reason(random: &mut Random) -> Reason {
    let term = FailedTerm {
        field: "from[0].podSelector".into(),
        wanted: "app=frontend".into(),
        found: (*random.one_of(&["app=batch", ""])).into(),
    };
    let count = random.below(3);
    let miss = |_| {
        let failed = vec![term.clone(); usize::from(random.once_in(2))];
        NearMiss { policy: policy(random), rule: rule(random), failed }
    };
    let near_misses = (0..count).map(miss).collect();
    let sentences = ["denied by shop/default-deny: ingress selects cart, no rule matches", ""];
    Reason { sentence: (*random.one_of(&sentences)).into(), near_misses }
}
