//! Policies of a cluster's administrator as they are written: ClusterNetworkPolicy (v1alpha2),
//! AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1).

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

use super::{Beyond, refuse, spec};
use crate::error::{Error, Result};
use crate::manifests::Object;

/// A policy of any of the three kinds.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What messages call it.
    pub place: String,
    /// As written.
    pub metadata: ObjectMeta,
    /// As written.
    pub kind: String,
    /// When it is asked.
    pub tier: Tier,
    /// Lower is asked first.
    pub priority: u16,
    /// Whom it is about.
    pub subject: Peer,
    /// Rules for what comes.
    pub ingress: Vec<Rule>,
    /// Rules for what goes.
    pub egress: Vec<Rule>,
}

/// Whether it is asked before or after the policies of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Tier {
    /// Before.
    Admin,
    /// After.
    Baseline,
}

/// A rule: one of the peers at one of the ports.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// The other ends.
    pub peers: Vec<Peer>,
    /// The ports; empty for any.
    pub ports: Vec<Port>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Action {
    /// Lets through.
    #[serde(alias = "Allow")]
    Accept,
    /// Stops.
    Deny,
    /// Goes on with the next tier.
    Pass,
}

/// Who an end is: one of these is said.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// Every pod of these namespaces.
    pub namespaces: Option<LabelSelector>,
    /// These pods of these namespaces.
    pub pods: Option<Pods>,
    /// These nodes.
    pub nodes: Option<LabelSelector>,
    /// These addresses.
    pub networks: Option<Vec<IpNet>>,
    #[serde(flatten)]
    beyond: Beyond,
}

/// Pods by their own labels and their namespaces'.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pods {
    /// Of the namespaces.
    pub namespace_selector: LabelSelector,
    /// Of the pods.
    pub pod_selector: LabelSelector,
}

/// A destination port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// From the first to the last of a protocol.
    Range(String, u16, u16),
    /// What the destination declares under this name, of any protocol.
    Named(String),
}

#[derive(Deserialize)]
struct Spec {
    tier: Option<Tier>,
    priority: Option<u16>,
    subject: Peer,
    #[serde(default)]
    ingress: Vec<WrittenRule>,
    #[serde(default)]
    egress: Vec<WrittenRule>,
    #[serde(flatten)]
    beyond: Beyond,
}

#[derive(Deserialize)]
struct WrittenRule {
    #[serde(rename = "name")]
    _name: Option<String>,
    action: Action,
    #[serde(alias = "from", alias = "to")]
    peers: Vec<Peer>,
    #[serde(default, alias = "protocols")]
    ports: Vec<Value>,
    #[serde(flatten)]
    beyond: Beyond,
}

// === impl Policy ===

impl Policy {
    pub(super) fn read(object: &Object) -> Result<Self> {
        let kind = object.id().kind;
        let spec: Spec = spec(object)?;
        refuse(object, "spec", &spec.beyond)?;
        refuse(object, "spec.subject", &spec.subject.beyond)?;
        let tier = match (kind.as_str(), spec.tier) {
            ("ClusterNetworkPolicy", Some(tier)) => tier,
            ("AdminNetworkPolicy", None) => Tier::Admin,
            ("BaselineAdminNetworkPolicy", None) => Tier::Baseline,
            (_, tier) => {
                let problem =
                    format!("found tier {tier:?}, expected one for a ClusterNetworkPolicy alone");
                return Err(Error::manifest(object.place(), problem));
            }
        };
        let read = |list: &str, rules: Vec<WrittenRule>| {
            let rules = rules.into_iter().enumerate();
            rules
                .map(|(index, rule)| rule.read(object, &format!("spec.{list}[{index}]")))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            place: object.place(),
            metadata: object.metadata()?,
            kind,
            tier,
            priority: spec.priority.unwrap_or_default(),
            subject: spec.subject,
            ingress: read("ingress", spec.ingress)?,
            egress: read("egress", spec.egress)?,
        })
    }
}

// === impl WrittenRule ===

impl WrittenRule {
    fn read(self, object: &Object, field: &str) -> Result<Rule> {
        refuse(object, field, &self.beyond)?;
        if self.peers.is_empty() {
            let problem = format!("found {field} without a peer, expected at least one");
            return Err(Error::manifest(object.place(), problem));
        }
        for (index, peer) in self.peers.iter().enumerate() {
            refuse(object, &format!("{field} peer {index}"), &peer.beyond)?;
        }
        let mut ports = Vec::new();
        for port in &self.ports {
            let wrong = || {
                let problem =
                    format!("found {field} with port {port}, expected one of the API's forms");
                Error::manifest(object.place(), problem)
            };
            ports.push(Port::read(port).ok_or_else(wrong)?);
        }
        Ok(Rule { action: self.action, peers: self.peers, ports })
    }
}

// === impl Port ===

impl Port {
    /// Any form of both versions.
    fn read(written: &Value) -> Option<Self> {
        let number = |value: &Value| u16::try_from(value.as_u64()?).ok().filter(|n| *n > 0);
        let (form, value) = written.as_object().filter(|form| form.len() == 1)?.iter().next()?;
        let range = |protocol: &str, first: &Value, last: &Value| {
            let (first, last) = (number(first)?, number(last)?);
            let known = matches!(protocol, "tcp" | "udp" | "sctp");
            (known && first <= last).then(|| Self::Range(protocol.to_owned(), first, last))
        };
        let protocol = value["protocol"].as_str().map_or("tcp".to_owned(), str::to_lowercase);
        match form.as_str() {
            "namedPort" | "destinationNamedPort" => Some(Self::Named(value.as_str()?.to_owned())),
            "portNumber" => range(&protocol, &value["port"], &value["port"]),
            "portRange" => range(&protocol, &value["start"], &value["end"]),
            protocol => match &value["destinationPort"] {
                Value::Null => {
                    let whole = matches!(protocol, "tcp" | "udp" | "sctp");
                    whole.then(|| Self::Range(protocol.to_owned(), 0, u16::MAX))
                }
                port if port["number"].is_null() => {
                    range(protocol, &port["range"]["start"], &port["range"]["end"])
                }
                port => range(protocol, &port["number"], &port["number"]),
            },
        }
    }
}
