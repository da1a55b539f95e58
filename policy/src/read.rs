//! From an object as written to the model: which kind it is, what it says, what is wrong with it.

pub(crate) mod calico;
mod calico_checks;
mod calico_rule;
mod cluster;
mod cluster_ports;
pub(crate) mod facts;
mod fields;
mod kind;
mod kubernetes;
mod labels;
mod metadata;

use std::sync::Arc;

use schemas::{Labels, PolicyKind, PolicyRef};
use serde_json::Value;

use crate::canonical;
use crate::document::{Document, Problem};
use crate::model::{Check, Hosts, Policy, Stage, Standing, Subject, Tier, tiers};
use crate::settings::Dialect;
use facts::{Failsafe, HostEndpoint, NetworkSet, Node, Profile, Slice};
pub(crate) use fields::REFUSED;
use fields::{Faults, Object};
use kind::Kind;
pub(crate) use metadata::ObjectName;
use metadata::metadata;

/// A document read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) name: ObjectName,
    pub(crate) source: Arc<str>,
    /// A hash of what it says, whatever the order of its fields.
    pub(crate) hash: u64,
    pub(crate) reading: Reading,
    pub(crate) problems: Vec<Problem>,
}

/// What a document is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading {
    Policy(Arc<Policy>),
    Tier(Tier),
    /// A tier that could not be read.
    BrokenTier(Arc<str>),
    Set(NetworkSet),
    Host(HostEndpoint),
    /// A network set or host endpoint that could not be read: selectors may miss its addresses.
    BrokenAddresses,
    Profile(Profile),
    Node(Node),
    Slice(Slice),
    /// A namespace's labels, which its network sets inherit.
    Namespace(Arc<str>, Labels),
    Failsafe(Failsafe),
    /// Nothing that a policy could speak of.
    Other,
}

/// Whether an object of this version and kind belongs among the documents.
#[must_use]
pub fn reads(api_version: &str, kind: &str) -> bool {
    Kind::of(api_version, kind).is_some()
}

/// Reads a document.
pub(crate) fn read(document: &Document) -> Read {
    let source: Arc<str> = document.source.as_str().into();
    let Some(mut object) = Object::whole(&document.body) else {
        return unreadable(document, source);
    };
    let mut faults = Faults::default();
    let api_version = object.text("apiVersion", &mut faults).unwrap_or_default();
    let kind_name = object.text("kind", &mut faults).unwrap_or_default();
    let kind = Kind::of(api_version, kind_name);
    let (name, labels) = metadata(&mut object, (api_version, kind_name), kind, &mut faults);
    object.skip("status");
    let reading = match kind {
        None => Reading::Other,
        Some(Kind::Policy(kind, dialect)) => {
            policy((kind, dialect), &name, &source, object, &mut faults)
        }
        Some(Kind::Unread) => {
            let what = "is a policy of a kind that is not read; verdicts it could touch say so";
            faults.warning("kind", what);
            unread(&name, &source)
        }
        Some(kind) => fact(kind, &name, labels, object, &document.body, &mut faults),
    };
    let reading = match reading {
        Reading::Host(host) => Reading::Host(HostEndpoint { source: source.clone(), ..host }),
        other => other,
    };
    let object = name.to_string();
    let problem = |fault: fields::Fault| Problem {
        severity: fault.severity,
        source: document.source.clone(),
        object: object.clone(),
        field: fault.field,
        message: fault.message,
    };
    let problems = faults.0.into_iter().map(problem).collect();
    Read { hash: canonical::hash(&document.body), name, source, reading, problems }
}

/// A document that is no object at all: it could be any policy.
fn unreadable(document: &Document, source: Arc<str>) -> Read {
    let reason = match &document.body {
        Value::Null => "nothing of it is known".to_owned(),
        Value::String(reason) if !reason.is_empty() => reason.clone(),
        other => format!("should be an object, found {other}"),
    };
    let kind = "document".to_owned();
    let group = String::new();
    let name = ObjectName { group, kind, namespace: "".into(), name: source.clone() };
    let problem = Problem {
        severity: crate::Severity::Error,
        source: document.source.clone(),
        object: name.to_string(),
        field: String::new(),
        message: reason.clone(),
    };
    let mut policy = bare(PolicyKind::NetworkPolicy, Dialect::Kubernetes, &name, &source);
    policy.standing = Standing::Broken(reason.into());
    policy.subject = Subject { hosts: true, ..Subject::default() };
    policy.name.tier = tiers::ANY.into();
    let reading = Reading::Policy(Arc::new(policy));
    let hash = canonical::hash(&document.body);
    // Who hands in nothing has said why.
    let problems = if document.body.is_null() { Vec::new() } else { vec![problem] };
    Read { name, source, hash, reading, problems }
}

/// A policy of which nothing is known but its name.
fn bare(kind: PolicyKind, dialect: Dialect, name: &ObjectName, source: &Arc<str>) -> Policy {
    Policy {
        name: PolicyRef {
            kind,
            tier: tiers::DEFAULT.into(),
            namespace: name.namespace.clone(),
            name: name.name.clone(),
        },
        object: name.to_string().into(),
        dialect,
        source: source.clone(),
        order: f64::INFINITY,
        subject: Subject::default(),
        ingress: None,
        egress: None,
        stage: Stage::Enforced,
        standing: Standing::Firm,
        hosts: Hosts::default(),
    }
}

/// A kind of policy that is not read: it could touch whatever is in its namespace, or everything.
fn unread(name: &ObjectName, source: &Arc<str>) -> Reading {
    let mut policy = bare(PolicyKind::NetworkPolicy, Dialect::Kubernetes, name, source);
    policy.standing = Standing::NotRead;
    let namespace = Some(name.namespace.clone()).filter(|namespace| !namespace.is_empty());
    policy.subject = Subject { hosts: namespace.is_none(), namespace, checks: Box::default() };
    policy.name.tier = tiers::ANY.into();
    Reading::Policy(Arc::new(policy))
}

fn policy(
    (kind, dialect): (PolicyKind, Dialect),
    name: &ObjectName,
    source: &Arc<str>,
    mut object: Object<'_>,
    faults: &mut Faults,
) -> Reading {
    let mut policy = bare(kind, dialect, name, source);
    // What it applies to while its subject is not read.
    let is_namespaced = !name.namespace.is_empty();
    policy.subject.namespace = is_namespaced.then(|| name.namespace.clone());
    policy.subject.hosts = dialect == Dialect::Calico && !is_namespaced;
    let spec = object.need("spec", faults).and_then(|field| field.object(faults));
    object.finish(faults);
    if let Some(spec) = spec {
        read_spec(&mut policy, spec, faults);
    }
    if let Some(error) = faults.first_error() {
        policy.standing = Standing::Broken(format!("{}: {}", error.field, error.message).into());
    }
    Reading::Policy(Arc::new(policy))
}

fn read_spec(policy: &mut Policy, mut spec: Object<'_>, faults: &mut Faults) {
    let kind = policy.name.kind;
    let namespace = policy.subject.namespace.clone();
    match kind {
        PolicyKind::StagedNetworkPolicy
        | PolicyKind::StagedGlobalNetworkPolicy
        | PolicyKind::StagedKubernetesNetworkPolicy => {
            policy.stage = calico::staged_action(&mut spec, faults);
            if policy.stage == Stage::Delete {
                calico_checks::deletion(&spec, faults);
            }
        }
        _ => {}
    }
    match kind {
        PolicyKind::NetworkPolicy | PolicyKind::StagedKubernetesNetworkPolicy => {
            let namespace = namespace.unwrap_or_else(|| "default".into());
            let read = kubernetes::spec(&mut spec, &namespace, faults);
            (policy.subject, policy.ingress, policy.egress) =
                (read.subject, read.ingress, read.egress);
            policy.order = kubernetes::ORDER;
        }
        PolicyKind::AdminNetworkPolicy
        | PolicyKind::BaselineAdminNetworkPolicy
        | PolicyKind::ClusterNetworkPolicy => {
            let read = cluster::spec(&mut spec, cluster_kind(kind), faults);
            policy.subject = read.subject.unwrap_or_default();
            (policy.ingress, policy.egress) = (read.ingress, read.egress);
            (policy.order, policy.name.tier) = (read.order, read.tier.into());
            if kind == PolicyKind::BaselineAdminNetworkPolicy && &*policy.name.name != "default" {
                faults.error("metadata.name", "must be default: there is one for the cluster");
            }
        }
        _ => {
            let read = calico::spec(&mut spec, namespace.as_ref(), faults);
            (policy.subject, policy.ingress, policy.egress) =
                (read.subject, read.ingress, read.egress);
            (policy.order, policy.name.tier) = (read.order, read.tier);
            policy.hosts = read.hosts;
            calico_checks::name(&policy.name.name, namespace.is_some(), faults);
        }
    }
    if matches!(policy.subject.checks.first(), None | Some(Check::Pod)) {
        policy.subject.hosts = false;
    }
    spec.finish(faults);
}

const fn cluster_kind(kind: PolicyKind) -> cluster::Kind {
    match kind {
        PolicyKind::AdminNetworkPolicy => cluster::Kind::Admin,
        PolicyKind::BaselineAdminNetworkPolicy => cluster::Kind::Baseline,
        _ => cluster::Kind::Cluster,
    }
}

fn fact(
    kind: Kind,
    name: &ObjectName,
    labels: Labels,
    mut object: Object<'_>,
    body: &Value,
    faults: &mut Faults,
) -> Reading {
    if kind == Kind::Node {
        return Reading::Node(facts::node(&name.name, labels, body));
    }
    if kind == Kind::Namespace {
        return Reading::Namespace(name.name.clone(), labels);
    }
    if kind == Kind::FelixConfiguration {
        let is_for_all = &*name.name == "default";
        let failsafe = is_for_all.then(|| facts::failsafe(body));
        return failsafe.map_or(Reading::Other, Reading::Failsafe);
    }
    if kind == Kind::Slice {
        let slice = facts::slice(&name.namespace, &labels, body);
        return slice.map_or(Reading::Other, Reading::Slice);
    }
    let mut spec = object.get("spec").and_then(|field| field.object(faults));
    object.finish(faults);
    let namespace = Some(&name.namespace).filter(|namespace| !namespace.is_empty());
    let reading = match (kind, spec.as_mut()) {
        (Kind::Tier, spec) => Reading::Tier(facts::tier(&name.name, spec, faults)),
        (Kind::NetworkSet | Kind::GlobalNetworkSet, spec) => {
            Reading::Set(facts::network_set(namespace, labels, spec, faults))
        }
        (Kind::HostEndpoint, Some(spec)) => {
            Reading::Host(facts::host_endpoint(&name.name, labels, spec, faults))
        }
        (Kind::Profile, spec) => Reading::Profile(facts::profile(&name.name, spec, faults)),
        _ => {
            faults.error("spec", "is missing");
            Reading::BrokenAddresses
        }
    };
    if let Some(spec) = spec {
        spec.finish(faults);
    }
    if faults.first_error().is_none() {
        return reading;
    }
    match kind {
        Kind::Tier => Reading::BrokenTier(name.name.clone()),
        Kind::Profile => Reading::Other,
        _ => Reading::BrokenAddresses,
    }
}

#[cfg(test)]
mod tests;
