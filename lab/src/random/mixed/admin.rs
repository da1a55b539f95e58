//! Random policies of a cluster's administrator, of both versions.

use serde_json::{Value, json};

use super::super::{BLOCKS, Dice, PORT_NAMES, PORTS};

/// How a version writes the parts that they differ in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// v1alpha1.
    Older,
    /// v1alpha2.
    Newer,
}

// === impl Dice ===

impl Dice {
    pub(super) fn cluster_policy(&mut self, name: &str) -> Value {
        let mut policy = self.admin("ClusterNetworkPolicy", name, Version::Newer);
        policy["spec"]["tier"] = json!(self.one(&["Admin", "Baseline"]));
        policy["spec"]["priority"] = json!(self.0.u8(0..3));
        policy
    }

    pub(super) fn admin_policy(&mut self, name: &str) -> Value {
        let mut policy = self.admin("AdminNetworkPolicy", name, Version::Older);
        policy["spec"]["priority"] = json!(self.0.u8(0..3));
        policy
    }

    pub(super) fn baseline_policy(&mut self) -> Value {
        let mut policy = self.admin("BaselineAdminNetworkPolicy", "default", Version::Older);
        for direction in ["ingress", "egress"] {
            let rules = policy["spec"].get_mut(direction).and_then(Value::as_array_mut);
            for rule in rules.into_iter().flatten() {
                // After it there is no tier to pass to.
                if rule["action"] == "Pass" {
                    rule["action"] = json!("Deny");
                }
            }
        }
        policy
    }

    fn admin(&mut self, kind: &str, name: &str, version: Version) -> Value {
        let number = if version == Version::Older { 1 } else { 2 };
        let mut spec = json!({ "subject": self.pods() });
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            if !self.once_in(3) {
                let count = self.0.usize(1..=3);
                let rules: Vec<_> = (0..count).map(|_| self.admin_rule(peers, version)).collect();
                spec[direction] = json!(rules);
            }
        }
        json!({
            "apiVersion": format!("policy.networking.k8s.io/v1alpha{number}"),
            "kind": kind,
            "metadata": { "name": name },
            "spec": spec,
        })
    }

    fn admin_rule(&mut self, peers: &str, version: Version) -> Value {
        let allow = if version == Version::Older { "Allow" } else { "Accept" };
        let mut rule = json!({ "action": self.one(&[allow, allow, "Deny", "Deny", "Pass"]) });
        let count = self.0.usize(1..=2);
        rule[peers] = (0..count).map(|_| self.admin_peer(peers == "to")).collect();
        if !self.once_in(3) {
            let count = self.0.usize(1..=3);
            let ports = (0..count).map(|_| match version {
                Version::Older => self.older_port(),
                Version::Newer => self.newer_port(),
            });
            let ports: Value = ports.collect();
            rule[if version == Version::Older { "ports" } else { "protocols" }] = ports;
        }
        rule
    }

    fn pods(&mut self) -> Value {
        if self.once_in(2) {
            return json!({ "namespaces": self.namespace_selector() });
        }
        json!({ "pods": {
            "namespaceSelector": self.namespace_selector(),
            "podSelector": self.pod_selector(),
        } })
    }

    fn admin_peer(&mut self, is_egress: bool) -> Value {
        match self.0.usize(0..4) {
            0 if is_egress => {
                let count = self.0.usize(1..=2);
                json!({ "networks": self.0.choose_multiple(BLOCKS, count) })
            }
            1 if is_egress && self.once_in(2) => {
                let host = self.one(&["node-a", "node-b"]);
                json!({ "nodes": { "matchLabels": { "kubernetes.io/hostname": host } } })
            }
            _ => self.pods(),
        }
    }

    fn older_port(&mut self) -> Value {
        let (protocol, port) = PORTS[self.0.usize(0..PORTS.len())];
        let protocol = protocol.name();
        match self.0.usize(0..3) {
            0 => json!({ "namedPort": self.one(&PORT_NAMES) }),
            1 => json!({ "portRange": {
                "protocol": protocol, "start": port - self.0.u16(0..3), "end": port + self.0.u16(1..900),
            } }),
            _ => json!({ "portNumber": { "protocol": protocol, "port": port } }),
        }
    }

    fn newer_port(&mut self) -> Value {
        let (protocol, port) = PORTS[self.0.usize(0..PORTS.len())];
        let protocol = protocol.name().to_lowercase();
        match self.0.usize(0..4) {
            0 => json!({ "destinationNamedPort": self.one(&PORT_NAMES) }),
            1 => json!({ protocol: { "destinationPort": { "range": {
                "start": port - self.0.u16(0..3), "end": port + self.0.u16(1..900),
            } } } }),
            2 => json!({ protocol: {} }),
            _ => json!({ protocol: { "destinationPort": { "number": port } } }),
        }
    }
}
