//! A cluster to probe, and random network policies for it.

mod mixed;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::annotations::SERVE;
use crate::lab::{Lab, OUTSIDE};
use crate::plan::{OUTSIDE_V4, OUTSIDE_V6, Pod};
use crate::probe::{Probe, Protocol};

pub use mixed::mixed_policies;

/// The ports that are worth probing in [`cluster`]: each is served, or named, or neither.
pub const PORTS: &[(Protocol, u16)] = &[
    (Protocol::Tcp, 80),
    (Protocol::Tcp, 8080),
    (Protocol::Udp, 5353),
    (Protocol::Udp, 5354),
    (Protocol::Sctp, 3868),
    (Protocol::Sctp, 3869),
];

const NAMESPACES: [&str; 3] = ["red", "green", "blue"];
const APPS: [&str; 3] = ["web", "api", "db"];
const PORT_NAMES: [&str; 4] = ["main", "other", "query", "peer"];

/// Blocks whose borders lie between the pods of [`cluster`].
const BLOCKS: [&str; 18] = [
    "203.0.113.0/24",
    "2001:db8::/32",
    "0.0.0.0/0",
    "10.244.0.0/16",
    "10.244.0.0/24",
    "10.244.1.0/24",
    "10.244.0.0/30",
    "10.244.1.4/31",
    "10.244.0.2/32",
    "10.244.1.3/32",
    "172.18.0.0/24",
    "::/0",
    "fd00:10:244::/48",
    "fd00:10:244::/64",
    "fd00:10:244:1::/64",
    "fd00:10:244:1::4/126",
    "fd00:10:244::3/128",
    "fd00:10:244:1::2/128",
];

/// Three namespaces of three pods on two nodes; every pod serves the same ports, but the ports'
/// names differ from pod to pod.
pub fn cluster() -> Vec<Value> {
    let mut objects = Vec::new();
    for (team, namespace) in NAMESPACES.iter().enumerate() {
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "labels": { "team": if team == 1 { "two" } else { "one" } },
            },
        }));
        for (index, app) in APPS.iter().enumerate() {
            objects.push(service_account(namespace, app, (team + index) % 3));
            objects.push(pod(namespace, app, team * APPS.len() + index));
        }
    }
    objects
}

fn service_account(namespace: &str, name: &str, role: usize) -> Value {
    let labels = [json!({ "role": "client" }), json!({ "role": "server" }), json!({})];
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": namespace, "labels": labels[role] },
    })
}

fn pod(namespace: &str, app: &str, number: usize) -> Value {
    let swapped = number % 2 == 1;
    let (main, other) = if swapped { (8080, 80) } else { (80, 8080) };
    let (query, peer) = if swapped { (5354, 3869) } else { (5353, 3868) };
    let mut labels = json!({ "app": app });
    if !number.is_multiple_of(4) {
        labels["tier"] = json!(if number.is_multiple_of(3) { "front" } else { "back" });
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": app,
            "namespace": namespace,
            "labels": labels,
            "annotations": { SERVE: "http:80, tcp:8080, udp:5353, udp:5354" },
        },
        "spec": {
            "serviceAccountName": app,
            "nodeName": if number.is_multiple_of(2) { "node-a" } else { "node-b" },
            "containers": [{
                "name": app,
                "image": "whyflow/lab",
                "ports": [
                    { "name": "main", "containerPort": main },
                    { "name": "other", "containerPort": other, "protocol": "TCP" },
                    { "name": "query", "containerPort": query, "protocol": "UDP" },
                    { "name": "peer", "containerPort": peer, "protocol": "SCTP" },
                ],
            }],
        },
    })
}

/// Every pod of a lab asks every other one, at all of [`PORTS`], IPv4 and IPv6.
pub fn probes(lab: &Lab) -> Vec<Probe> {
    let mut probes = Vec::new();
    for from in lab.pods().map(Pod::full_name) {
        for to in lab.pods().filter(|to| to.full_name() != from) {
            for address in to.addresses() {
                probes.extend(PORTS.iter().map(|(protocol, port)| Probe {
                    from: from.clone(),
                    to: address,
                    port: *port,
                    protocol: *protocol,
                }));
            }
        }
    }
    probes
}

/// The pods and the world beyond them: every pod asks the outside and each node, the outside and
/// each node ask every pod.
pub fn probes_beyond(lab: &Lab) -> Vec<Probe> {
    let mut probes = Vec::new();
    let mut add = |from: &str, to: &[IpAddr], ports: &[(Protocol, u16)]| {
        for to in to {
            probes.extend(ports.iter().map(|(protocol, port)| Probe {
                from: from.to_owned(),
                to: *to,
                port: *port,
                protocol: *protocol,
            }));
        }
    };
    for pod in lab.pods() {
        let name = pod.full_name();
        let outside = [OUTSIDE_V4.into(), OUTSIDE_V6.into()];
        add(&name, &outside, &[(Protocol::Tcp, 80), (Protocol::Udp, 9000)]);
        add(OUTSIDE, &pod.addresses(), PORTS);
        for node in lab.nodes() {
            add(&name, &[node.v4.into(), node.v6.into()], &[(Protocol::Tcp, 80)]);
            add(&format!("node/{}", node.name), &pod.addresses(), PORTS);
        }
    }
    probes
}

/// Up to five policies for [`cluster`], always the same for a seed.
pub fn random_policies(seed: u64) -> Vec<Value> {
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let count = dice.0.usize(1..=5);
    (0..count).map(|index| dice.policy(&format!("policy-{index}"))).collect()
}

struct Dice(fastrand::Rng);

// === impl Dice ===

impl Dice {
    /// True once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.0.usize(0..n) == 0
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.0.usize(0..of.len())]
    }

    fn policy(&mut self, name: &str) -> Value {
        let mut spec = json!({});
        // The API's own default for a missing selector is the empty one.
        if !self.once_in(10) {
            spec["podSelector"] = self.pod_selector();
        }
        match self.0.usize(0..4) {
            0 => {}
            1 => spec["policyTypes"] = json!(["Ingress"]),
            2 => spec["policyTypes"] = json!(["Egress"]),
            _ => spec["policyTypes"] = json!(["Ingress", "Egress"]),
        }
        if !self.once_in(5) {
            spec["ingress"] = self.rules("from");
        }
        if !self.once_in(3) {
            spec["egress"] = self.rules("to");
        }
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": name, "namespace": self.one(&NAMESPACES) },
            "spec": spec,
        })
    }

    fn rules(&mut self, peers: &str) -> Value {
        let count = self.0.usize(0..=3);
        let rules: Vec<_> = (0..count).map(|_| self.rule(peers)).collect();
        json!(rules)
    }

    fn rule(&mut self, peers: &str) -> Value {
        let mut rule = json!({});
        if !self.once_in(5) {
            let count = self.0.usize(0..=3);
            rule[peers] = (0..count).map(|_| self.peer()).collect();
        }
        if !self.once_in(3) {
            let count = self.0.usize(0..=3);
            rule["ports"] = (0..count).map(|_| self.port()).collect();
        }
        rule
    }

    fn peer(&mut self) -> Value {
        match self.0.usize(0..4) {
            0 => json!({ "podSelector": self.pod_selector() }),
            1 => json!({ "namespaceSelector": self.namespace_selector() }),
            2 => json!({
                "podSelector": self.pod_selector(),
                "namespaceSelector": self.namespace_selector(),
            }),
            _ => json!({ "ipBlock": self.block() }),
        }
    }

    fn block(&mut self) -> Value {
        let cidr = self.one(&BLOCKS);
        let mut block = json!({ "cidr": cidr });
        if self.once_in(2) {
            let inside: Vec<_> =
                BLOCKS.iter().filter(|other| is_strictly_inside(other, cidr)).collect();
            let count = self.0.usize(0..=inside.len().min(2));
            let chosen = self.0.choose_multiple(inside, count);
            block["except"] = json!(chosen);
        }
        block
    }

    fn port(&mut self) -> Value {
        let mut port = json!({});
        let protocol = self.one(&["TCP", "UDP", "SCTP"]);
        // TCP is what a missing protocol means.
        if protocol != "TCP" || self.once_in(2) {
            port["protocol"] = json!(protocol);
        }
        match self.0.usize(0..4) {
            0 => {}
            1 => port["port"] = json!(self.one(&PORT_NAMES)),
            2 => port["port"] = json!(PORTS[self.0.usize(0..PORTS.len())].1),
            _ => {
                let first = PORTS[self.0.usize(0..PORTS.len())].1 - self.0.u16(0..3);
                port["port"] = json!(first);
                port["endPort"] = json!(first + self.0.u16(0..9000));
            }
        }
        port
    }

    fn pod_selector(&mut self) -> Value {
        self.selector("app", &APPS, "tier", &["front", "back"])
    }

    fn namespace_selector(&mut self) -> Value {
        self.selector("kubernetes.io/metadata.name", &NAMESPACES, "team", &["one", "two"])
    }

    fn selector(&mut self, key: &str, values: &[&str], other: &str, others: &[&str]) -> Value {
        let mut selector = json!({});
        if self.once_in(4) {
            return selector;
        }
        if self.once_in(2) {
            selector["matchLabels"] = json!({ key: self.one(values) });
        }
        if self.once_in(2) {
            let operator = self.one(&["In", "NotIn", "Exists", "DoesNotExist"]);
            let mut expression = json!({ "key": other, "operator": operator });
            if operator.ends_with("In") {
                let count = self.0.usize(1..=others.len());
                let chosen = self.0.choose_multiple(others, count);
                expression["values"] = json!(chosen);
            }
            selector["matchExpressions"] = json!([expression]);
        }
        selector
    }
}

fn is_strictly_inside(inner: &str, outer: &str) -> bool {
    let (Ok(inner), Ok(outer)) = (inner.parse::<IpNet>(), outer.parse::<IpNet>()) else {
        return false;
    };
    outer.contains(&inner) && outer.prefix_len() < inner.prefix_len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_policies() {
        assert_eq!(random_policies(7), random_policies(7));
        assert_ne!(random_policies(7), random_policies(8));
    }
}
