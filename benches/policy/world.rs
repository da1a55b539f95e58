//! A cluster of 50,000 pods in 1,000 namespaces and its 10,000 policies, as the daemon knows it.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use cluster::{Change, Object, Place, Reader};
use policy::{Document, Timeline};
use prometheus_client::registry::Registry;
use schemas::{Addr, Endpoint, Handle, UnixNanos};
use serde_json::{Value, json};
use whyflow::knowledge::Knowledge;
use whyflow::tables::Tables;

pub(crate) const NAMESPACES: u32 = 1_000;
pub(crate) const PODS: u32 = 50_000;
const APPS_EACH: u32 = 10;
const GLOBAL: u32 = 20;

/// The port that every app listens on.
pub(crate) const PORT: u16 = 8_080;

/// The cluster, and what is known of it.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) bodies: Vec<Value>,
    pub(crate) reader: Reader,
    pub(crate) timeline: Timeline,
    knowledge: Knowledge,
    now: UnixNanos,
    /// Changes so far.
    pub(crate) turn: u32,
}

// === impl World ===

impl World {
    pub(crate) fn new(seed: u64, bodies: Vec<Value>, home: fn(u32) -> u32) -> Result<Self> {
        let parsed = whyflow::config::parse("bench.yaml", "capture: {}", &|_| None);
        let settings = parsed.map_err(|wrong| anyhow::anyhow!("{wrong:?}"))?;
        let mut registry = Registry::default();
        let tables = Tables::register(&settings, &mut registry);
        let (knowledge, reader, timeline) =
            Knowledge::new(&settings, tables.cluster(), &mut registry);
        let now = UnixNanos::from_secs(1_800_000_000);
        let mut world = Self { seed, bodies, reader, timeline, knowledge, now, turn: 0 };
        let policies = world.bodies.clone();
        let changes = world.changes(policies)?;
        world.apply(&changes);
        drop(changes);
        let namespaces = (0..NAMESPACES).map(|number| namespace(number, "0"));
        world.load(namespaces)?;
        world.load((0..PODS).map(|number| pod_in(home(number), number, "0")))?;
        Ok(world)
    }

    /// Takes in many objects, a few at a time, so that no more than a few are held as written.
    pub(crate) fn load(&mut self, bodies: impl Iterator<Item = Value>) -> Result<()> {
        let mut bodies = bodies.peekable();
        while bodies.peek().is_some() {
            let some = bodies.by_ref().take(500).collect();
            let changes = self.changes(some)?;
            self.apply(&changes);
        }
        Ok(())
    }

    pub(crate) fn documents(&self) -> Vec<Document> {
        let document = |body: &Value| Document { source: "bench:1".into(), body: body.clone() };
        self.bodies.iter().map(document).collect()
    }

    /// Objects as they arrive, a second after what came before.
    pub(crate) fn changes(&mut self, bodies: Vec<Value>) -> Result<Vec<Change>> {
        self.now = UnixNanos(self.now.0 + 1_000_000_000);
        self.turn += 1;
        let at = self.now;
        bodies.into_iter().map(|body| Ok(Change::Applied { object: object(body)?, at })).collect()
    }

    pub(crate) fn apply(&mut self, changes: &[Change]) {
        self.knowledge.apply(changes, &[], self.now);
    }

    pub(crate) fn set(&self) -> Result<std::sync::Arc<policy::Compiled>> {
        self.timeline.newest().context("no policies")
    }

    /// Who this pod is now.
    pub(crate) fn endpoint(&self, pod: u32) -> Result<Handle<Endpoint>> {
        match self.reader.view().endpoint_at(addr(pod), self.now) {
            cluster::Resolved::Known(endpoint) => Ok(endpoint),
            _ => anyhow::bail!("pod {pod} is not known"),
        }
    }
}

fn object(body: Value) -> Result<Object> {
    Object::from_body(Place { file: "bench".into(), line: 1 }, body).map_err(anyhow::Error::msg)
}

/// The address of a pod by its number.
pub(crate) fn addr(pod: u32) -> Addr {
    std::net::IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + pod + 256)).into()
}

pub(crate) fn namespace(number: u32, mark: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": format!("ns-{number}"),
                     "labels": {"team": format!("team-{}", number % 7), "mark": mark}},
    })
}

/// The namespace of a pod, where all have as many.
pub(crate) fn spread(number: u32) -> u32 {
    number % NAMESPACES
}

/// A pod where all namespaces have as many; with another mark it has another label.
pub(crate) fn pod(number: u32, mark: &str) -> Value {
    pod_in(spread(number), number, mark)
}

fn pod_in(namespace: u32, number: u32, mark: &str) -> Value {
    let (app, ip) = (number / NAMESPACES % APPS_EACH, addr(number).to_string());
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("app-{app}-7d9f8-{number:05}"), "namespace": format!("ns-{namespace}"),
            "generateName": format!("app-{app}-7d9f8-"),
            "labels": {"app": format!("app-{app}"), "tier": format!("tier-{}", app % 3),
                       "mark": mark},
        },
        "spec": {"nodeName": format!("node-{}", number % 500), "containers": [
            {"name": "main", "ports": [{"containerPort": PORT, "protocol": "TCP"}]},
        ]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

/// One for each app, and some for the whole cluster.
pub(crate) fn policies(seed: u64) -> Vec<Value> {
    let apps =
        (0..NAMESPACES).flat_map(|namespace| (0..APPS_EACH).map(move |app| (namespace, app)));
    let mut all: Vec<Value> = apps
        .take((10_000 - GLOBAL) as usize)
        .map(|(namespace, app)| policy(namespace, app, seed))
        .collect();
    all.extend(
        (0..GLOBAL).map(|number| global(number, &format!("app == 'app-{}'", number % APPS_EACH))),
    );
    all
}

/// A policy that lets an app, a few tiers and a block in.
pub(crate) fn policy(namespace: u32, app: u32, seed: u64) -> Value {
    let other = (u64::from(app) * 7 + seed) % u64::from(APPS_EACH);
    let block = Ipv4Addr::from_bits(0xc000_0000 + (namespace * APPS_EACH + app) * 256);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("app-{app}"), "namespace": format!("ns-{namespace}")},
        "spec": {
            "podSelector": {"matchLabels": {"app": format!("app-{app}")}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": format!("app-{other}")}}}],
                 "ports": [{"port": PORT, "protocol": "TCP"}]},
                {"from": [{"namespaceSelector": {}, "podSelector": {"matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["tier-0", "tier-1"]}]}}]},
                {"from": [{"ipBlock": {"cidr": format!("{block}/24")}}]},
            ],
        },
    })
}

/// A policy of the whole cluster.
pub(crate) fn global(number: u32, selector: &str) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
        "metadata": {"name": format!("global-{number}")},
        "spec": {
            "order": number, "selector": selector, "types": ["Ingress", "Egress"],
            "ingress": [{"action": "Allow", "protocol": "TCP",
                         "source": {"selector": "tier == 'tier-0'"},
                         "destination": {"ports": [PORT, 80 + number]}}],
            "egress": [{"action": "Allow"}],
        },
    })
}

/// SplitMix64: fast, seeded, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

// === impl Random ===

impl Random {
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((word ^ (word >> 31)) % u64::from(limit)).unwrap_or(0)
    }
}
