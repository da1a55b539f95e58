//! A cluster of 50,000 pods in 50 namespaces, with a service for every ten and 2,000 policies.

use std::net::Ipv4Addr;

use anyhow::Result;
use cluster::{Index, Limits, Object, Place, Reader, Resolved, Tables};
use policy::{Compiled, Document, Settings, Timeline, TimelineLimits, TimelineWriter};
use schemas::{Addr, Endpoint, UnixNanos};
use serde_json::{Value, json};

const NAMESPACES: u32 = 50;
const APPS: u32 = 100;
const PODS_EACH: u32 = 10;
const POLICIES_EACH: u32 = 40;

/// The port that every app listens on.
pub(crate) const PORT: u16 = 8_080;

/// When it all begins: a window's start.
pub(crate) const START: u64 = 1_800_000_000;

/// The cluster and its policies.
pub(crate) struct World {
    pub(crate) endpoints: u32,
    pub(crate) services: u32,
    pub(crate) policies: usize,
    pub(crate) reader: Reader,
    pub(crate) timeline: Timeline,
    _index: Index,
    _writer: TimelineWriter,
}

// === impl World ===

impl World {
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let (mut index, reader) = Index::new(Limits::default(), Tables::new(200_000));
        let at = UnixNanos::from_secs(START - 3_600);
        for namespace in 0..NAMESPACES {
            let objects: Vec<Object> =
                objects(namespace).into_iter().map(object).collect::<Result<_>>()?;
            let broken = index.apply_all(&objects, at);
            anyhow::ensure!(broken.is_empty(), "{broken:?}");
        }
        let documents: Vec<Document> = (0..NAMESPACES)
            .flat_map(|namespace| (0..POLICIES_EACH).map(move |app| (namespace, app)))
            .map(|(namespace, app)| {
                let body = policy(namespace, app, seed);
                Document { source: "bench:1".into(), body }
            })
            .collect();
        let (set, problems) = Compiled::compile(&documents, &Settings::default());
        anyhow::ensure!(problems.is_empty(), "{problems:?}");
        let (writer, timeline) = Timeline::new(TimelineLimits::default());
        writer.publish(set, at);
        Ok(Self {
            endpoints: NAMESPACES * APPS * PODS_EACH,
            services: NAMESPACES * APPS,
            policies: documents.len(),
            reader,
            timeline,
            _index: index,
            _writer: writer,
        })
    }

    /// Memory of the endpoints that rows refer to, by size.
    pub(crate) fn interned_bytes(&self) -> u64 {
        let view = self.reader.view();
        let now = UnixNanos::from_secs(START);
        let endpoints =
            (0..self.endpoints).filter_map(|pod| match view.endpoint_at(addr(pod), now) {
                Resolved::Known(endpoint) => Some(bytes(&endpoint)),
                Resolved::Awaited | Resolved::Outside(_) => None,
            });
        endpoints.sum()
    }
}

/// An endpoint's memory: itself with its counts and its place in the table, and its name. Its other
/// texts and its ports it shares with its kin.
fn bytes(endpoint: &Endpoint) -> u64 {
    let table = 3 * size_of::<u64>() + 2 * size_of::<u64>();
    let text = |text: &str| text.len() + 2 * size_of::<usize>();
    (table + size_of::<Endpoint>() + text(&endpoint.name)) as u64
}

/// The address of a pod by its number.
pub(crate) fn addr(pod: u32) -> Addr {
    std::net::IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + pod + 256)).into()
}

/// The address of the service of a pod's app.
pub(crate) fn service_addr(pod: u32) -> Addr {
    std::net::IpAddr::V4(Ipv4Addr::from_bits(0x0a60_0000 + pod / PODS_EACH + 256)).into()
}

fn ip(addr: Addr) -> String {
    addr.to_string()
}

fn object(body: Value) -> Result<Object> {
    Object::from_body(Place { file: "bench".into(), line: 1 }, body).map_err(anyhow::Error::msg)
}

fn objects(namespace: u32) -> Vec<Value> {
    let name = format!("ns-{namespace}");
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"team": format!("team-{}", namespace % 7)}},
    })];
    for app in 0..APPS {
        let first = (namespace * APPS + app) * PODS_EACH;
        let cluster_ip = ip(service_addr(first));
        objects.push(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("app-{app}"), "namespace": name},
            "spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip],
                     "selector": {"app": format!("app-{app}")},
                     "ports": [{"port": 80, "targetPort": PORT, "protocol": "TCP"}]},
        }));
        objects.extend((first..first + PODS_EACH).map(|number| pod(&name, app, number)));
    }
    objects
}

fn pod(namespace: &str, app: u32, number: u32) -> Value {
    let ip = ip(addr(number));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("app-{app}-7d9f8-{number:05}"), "namespace": namespace,
            "generateName": format!("app-{app}-7d9f8-"),
            "labels": {"app": format!("app-{app}"), "tier": format!("tier-{}", app % 3)},
        },
        "spec": {"nodeName": format!("node-{}", number % 500), "containers": [
            {"name": "main", "ports": [{"containerPort": PORT, "protocol": "TCP"}]},
        ]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

/// A policy that lets three of four tiers and a few apps in.
fn policy(namespace: u32, app: u32, seed: u64) -> Value {
    let other = (u64::from(app) * 7 + seed) % u64::from(APPS);
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
            ],
        },
    })
}
