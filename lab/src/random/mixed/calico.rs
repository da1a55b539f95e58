//! Random tiers, policies and sets of Calico's.

use serde_json::{Value, json};

use super::super::{BLOCKS, Dice, NAMESPACES, PORT_NAMES, PORTS};
use super::TIER_ORDERS;
use crate::probe::Protocol;

const API: &str = "projectcalico.org/v3";

/// Whom a selector takes: pods by their labels, and the sets of networks by theirs.
const SELECTORS: [&str; 16] = [
    "all()",
    "app == 'web'",
    "app != 'db'",
    "app in {'web', 'api'}",
    "app not in {\"api\"}",
    "has(tier)",
    "!has(tier)",
    "tier == 'front' || app == 'db'",
    "!(app == 'web' && has(tier))",
    "! app starts with 'w' && tier != 'back'",
    "app ends with 'b'",
    "app contains 'p' || has(zone) && zone in {'a'}",
    "has(zone)",
    "zone != 'b'",
    "projectcalico.org/namespace == 'red'",
    "pcns.team == 'one' && pcsa.role != 'server'",
];

const OF_NAMESPACES: [&str; 6] = [
    "all()",
    "team == 'one'",
    "projectcalico.org/name in {'red', 'blue'}",
    "kubernetes.io/metadata.name != 'green'",
    "!has(team)",
    "has(team) && team not in {'one'}",
];

const OF_ACCOUNTS: [&str; 4] =
    ["all()", "role == 'client'", "projectcalico.org/name != 'db'", "!has(role)"];

/// Orders of policies: few, so that many are equal, and that of Kubernetes' own among them.
const ORDERS: [f64; 4] = [1.0, 10.5, 1_000.0, 2_000.0];

// === impl Dice ===

impl Dice {
    pub(super) fn tier(&mut self, name: &str) -> Value {
        let mut spec = json!({});
        if !self.once_in(6) {
            spec["order"] = json!(TIER_ORDERS[self.0.usize(0..TIER_ORDERS.len())]);
        }
        if !self.once_in(4) {
            spec["defaultAction"] = json!(self.one(&["Deny", "Pass", "Pass"]));
        }
        json!({ "apiVersion": API, "kind": "Tier", "metadata": { "name": name }, "spec": spec })
    }

    pub(super) fn network_set(&mut self, name: &str) -> Value {
        let mut metadata = json!({ "name": name, "labels": { "zone": self.one(&["a", "b"]) } });
        let global = self.once_in(2);
        if !global {
            metadata["namespace"] = json!(self.one(&NAMESPACES));
        }
        let count = self.0.usize(1..=3);
        let nets = self.0.choose_multiple(BLOCKS, count);
        json!({
            "apiVersion": API,
            "kind": if global { "GlobalNetworkSet" } else { "NetworkSet" },
            "metadata": metadata,
            "spec": { "nets": nets },
        })
    }

    pub(super) fn calico_policy(&mut self, name: &str, tiers: &[&str]) -> Value {
        let namespace = self.one(&NAMESPACES);
        let mut policy = self.of_tier(name, tiers);
        policy["kind"] = json!("NetworkPolicy");
        policy["metadata"]["namespace"] = json!(namespace);
        policy
    }

    pub(super) fn global_policy(&mut self, name: &str, tiers: &[&str]) -> Value {
        let mut policy = self.of_tier(name, tiers);
        policy["kind"] = json!("GlobalNetworkPolicy");
        if self.once_in(3) {
            policy["spec"]["namespaceSelector"] = json!(self.one(&OF_NAMESPACES));
        }
        policy
    }

    fn of_tier(&mut self, name: &str, tiers: &[&str]) -> Value {
        let mut spec = json!({});
        let mut name = name.to_owned();
        if !tiers.is_empty() && !self.once_in(4) {
            let tier = self.one(tiers);
            name = format!("{tier}.{name}");
            spec["tier"] = json!(tier);
        } else if self.once_in(2) {
            spec["tier"] = json!("default");
        }
        if !self.once_in(4) {
            spec["order"] = json!(ORDERS[self.0.usize(0..ORDERS.len())]);
        }
        if !self.once_in(5) {
            spec["selector"] = json!(self.one(&SELECTORS));
        }
        if self.once_in(6) {
            spec["serviceAccountSelector"] = json!(self.one(&OF_ACCOUNTS));
        }
        match self.0.usize(0..5) {
            0 => spec["types"] = json!(["Ingress"]),
            1 => spec["types"] = json!(["Egress"]),
            2 => spec["types"] = json!(["Ingress", "Egress"]),
            _ => {}
        }
        if !self.once_in(4) {
            spec["ingress"] = self.calico_rules("source", "destination");
        }
        if !self.once_in(3) {
            spec["egress"] = self.calico_rules("destination", "source");
        }
        json!({ "apiVersion": API, "metadata": { "name": name }, "spec": spec })
    }

    fn calico_rules(&mut self, peer: &str, own: &str) -> Value {
        let count = self.0.usize(0..=3);
        (0..count).map(|_| self.calico_rule(peer, own)).collect()
    }

    fn calico_rule(&mut self, peer: &str, own: &str) -> Value {
        let actions = ["Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Pass", "Log"];
        let mut rule = json!({ "action": self.one(&actions) });
        // The networks of a rule are of one family.
        let version = if self.once_in(2) { 4 } else { 6 };
        if self.once_in(8) {
            rule["ipVersion"] = json!(version);
        }
        if !self.once_in(5) {
            rule[peer] = self.entity(version);
        }
        if self.once_in(6) {
            rule[own] = self.entity(version);
        }
        if self.once_in(8) {
            rule["notProtocol"] = json!(self.one(&["TCP", "UDP", "SCTP"]));
        } else if self.once_in(2) {
            let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][self.0.usize(0..3)];
            let number = self.once_in(5);
            rule["protocol"] =
                if number { json!(protocol.number()) } else { json!(protocol.name()) };
            if !self.once_in(3) {
                rule["destination"]["ports"] = self.calico_ports();
            }
            if self.once_in(5) {
                rule["destination"]["notPorts"] = self.calico_ports();
            }
            // A probe's own port is above all of these but the last.
            if self.once_in(8) {
                let list = self.one(&["ports", "notPorts"]);
                rule["source"][list] = match self.0.usize(0..3) {
                    0 => json!([self.one(&PORT_NAMES), "9000:65535"]),
                    1 => json!([self.one(&PORT_NAMES), 80]),
                    _ => self.calico_ports(),
                };
            }
        }
        rule
    }

    fn entity(&mut self, version: u8) -> Value {
        let blocks: Vec<_> =
            BLOCKS.into_iter().filter(|block| block.contains(':') == (version == 6)).collect();
        let mut entity = json!({});
        match self.0.usize(0..8) {
            0 | 1 => {
                let count = self.0.usize(1..=3);
                entity["nets"] = json!(self.0.choose_multiple(blocks.clone(), count));
            }
            2 => entity["namespaceSelector"] = json!(self.one(&OF_NAMESPACES)),
            3 => entity["namespaceSelector"] = json!("global()"),
            4 => {
                entity["serviceAccounts"] = json!({ "names": [self.one(&super::super::APPS)] });
                if self.once_in(2) {
                    entity["serviceAccounts"] = json!({ "selector": self.one(&OF_ACCOUNTS) });
                }
            }
            _ => {}
        }
        if self.once_in(2) {
            entity["selector"] = json!(self.one(&SELECTORS));
        } else if self.once_in(6) {
            entity["selector"] = json!("");
        }
        if self.once_in(6) {
            entity["notSelector"] = json!(self.one(&SELECTORS));
        }
        if self.once_in(5) {
            let count = self.0.usize(1..=2);
            entity["notNets"] = json!(self.0.choose_multiple(blocks, count));
        }
        entity
    }

    /// Numbers, ranges and names.
    fn calico_ports(&mut self) -> Value {
        let count = self.0.usize(1..=3);
        let mut port = || {
            let number = PORTS[self.0.usize(0..PORTS.len())].1;
            match self.0.usize(0..4) {
                0 => json!(PORT_NAMES[self.0.usize(0..PORT_NAMES.len())]),
                1 => {
                    json!(format!("{}:{}", number - self.0.u16(0..3), number + self.0.u16(0..900)))
                }
                _ => json!(number),
            }
        };
        (0..count).map(|_| port()).collect()
    }
}
