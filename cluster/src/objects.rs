//! What the index keeps of an object: the fields that say who an address is, and no others.
//!
//! Read through the API's own types, so that what a cluster would refuse is refused here too. The
//! version of an API group is not looked at: the fields in use are the same in all of them.

mod node;
mod pod;
mod service;
mod stand_in;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemas::{Addr, Labels, UnixNanos};
use serde::Deserialize;
use serde_json::Value;

pub(crate) use node::Node;
pub(crate) use pod::{Kin, Pod, Template};
pub(crate) use service::{Service, ServicePort, Slice, TargetPort};

use crate::manifests::{Object, Place};

/// The kinds of object that say who an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A pod.
    Pod,
    /// Makes ReplicaSets.
    Deployment,
    /// Makes pods with lasting names.
    StatefulSet,
    /// Makes a pod on each node.
    DaemonSet,
    /// Makes pods.
    ReplicaSet,
    /// Makes pods, as it was done before there were ReplicaSets.
    ReplicationController,
    /// Makes pods that end.
    Job,
    /// Makes Jobs.
    CronJob,
    /// A service.
    Service,
    /// Backends of a service.
    EndpointSlice,
    /// A namespace.
    Namespace,
    /// A node.
    Node,
    /// Who a pod acts as.
    ServiceAccount,
    /// A pod as Calico lists it. It stands for the pod where that one's own object is not there.
    WorkloadEndpoint,
}

/// The object cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A field is not what the API says.
    #[error("{field}: {problem}")]
    Field {
        /// The path, as in `spec.containers[0].ports`.
        field: String,
        /// What was found, and what would be right.
        problem: String,
    },
}

/// What the index keeps of one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Pod(Pod),
    Workload(Workload),
    Service(Service),
    Slice(Slice),
    Namespace(Labels),
    Node(Node),
    ServiceAccount(Labels),
    /// The pod's name, and the pod.
    StandIn(Arc<str>, Pod),
}

/// What makes pods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workload {
    /// What made it: a Deployment's ReplicaSet is no workload of its own.
    pub(crate) made_by: Option<schemas::endpoint::Owner>,
    pub(crate) template: Template,
}

// === impl Kind ===

const KINDS: &[(&str, &str, Kind)] = &[
    ("", "Pod", Kind::Pod),
    ("apps", "Deployment", Kind::Deployment),
    ("extensions", "Deployment", Kind::Deployment),
    ("apps", "StatefulSet", Kind::StatefulSet),
    ("apps", "DaemonSet", Kind::DaemonSet),
    ("extensions", "DaemonSet", Kind::DaemonSet),
    ("apps", "ReplicaSet", Kind::ReplicaSet),
    ("extensions", "ReplicaSet", Kind::ReplicaSet),
    ("", "ReplicationController", Kind::ReplicationController),
    ("batch", "Job", Kind::Job),
    ("batch", "CronJob", Kind::CronJob),
    ("", "Service", Kind::Service),
    ("discovery.k8s.io", "EndpointSlice", Kind::EndpointSlice),
    ("", "Namespace", Kind::Namespace),
    ("", "Node", Kind::Node),
    ("", "ServiceAccount", Kind::ServiceAccount),
    ("projectcalico.org", "WorkloadEndpoint", Kind::WorkloadEndpoint),
];

impl Kind {
    /// Those that make pods.
    pub const WORKLOADS: [Self; 7] = [
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
    ];

    /// The kind of that group and name; `None` for what the index has no use for.
    #[must_use]
    pub fn of(group: &str, name: &str) -> Option<Self> {
        KINDS.iter().find(|(g, n, _)| *g == group && *n == name).map(|(.., kind)| *kind)
    }

    /// The name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(.., kind)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// The kind by its name or one of kubectl's short ones, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let singular = lower.strip_suffix('s').unwrap_or(&lower);
        let short = match lower.as_str() {
            "po" => Some(Self::Pod),
            "deploy" => Some(Self::Deployment),
            "sts" => Some(Self::StatefulSet),
            "ds" => Some(Self::DaemonSet),
            "rs" => Some(Self::ReplicaSet),
            "rc" => Some(Self::ReplicationController),
            "cj" => Some(Self::CronJob),
            _ => None,
        };
        let long = KINDS.iter().find(|(_, name, _)| {
            name.eq_ignore_ascii_case(&lower) || name.eq_ignore_ascii_case(singular)
        });
        short.or(long.map(|(.., kind)| *kind))
    }

    /// Whether it makes pods.
    #[must_use]
    pub fn is_workload(self) -> bool {
        Self::WORKLOADS.contains(&self)
    }
}

// === impl Fact ===

impl Fact {
    /// What the object says; `None` when the index has no use for its kind.
    pub(crate) fn of(object: &Object) -> Result<Option<(Kind, Self)>, ObjectError> {
        let Some(kind) = Kind::of(&object.key().group, &object.kind) else { return Ok(None) };
        let body = &object.body;
        let meta: ObjectMeta = field(body, "metadata")?;
        let fact = match kind {
            Kind::Pod => Self::Pod(Pod::read(&meta, body)?),
            Kind::Service => Self::Service(Service::read(body)?),
            Kind::EndpointSlice => Self::Slice(Slice::read(&meta, body)?),
            Kind::Namespace => Self::Namespace(namespace_labels(&object.name, &meta)),
            Kind::Node => Self::Node(Node::read(&meta, body)?),
            Kind::ServiceAccount => Self::ServiceAccount(labels(&meta)),
            Kind::WorkloadEndpoint => stand_in::read(&meta, body)?,
            workload => Self::Workload(Workload::read(workload, &meta, body)?),
        };
        Ok(Some((kind, fact)))
    }
}

impl Object {
    /// Whether the index could take this object in.
    ///
    /// # Errors
    /// When a field is not what the API says.
    pub fn check(&self) -> Result<(), ObjectError> {
        Fact::of(self).map(|_| ())
    }

    /// Where an object that came from no file stands: its own name.
    #[must_use]
    pub fn nowhere(name: &str) -> Place {
        Place { file: name.into(), line: 1 }
    }
}

// === impl Workload ===

impl Workload {
    fn read(kind: Kind, meta: &ObjectMeta, body: &Value) -> Result<Self, ObjectError> {
        let template =
            if kind == Kind::CronJob { "spec.jobTemplate.spec.template" } else { "spec.template" };
        let made_by = pod::controller(meta);
        Ok(Self { made_by, template: Template::read(body, template)? })
    }
}

/// A part of a body by its dotted path; what is absent reads as the type's default.
fn field<'de, T: Deserialize<'de> + Default>(
    body: &'de Value,
    path: &str,
) -> Result<T, ObjectError> {
    let mut part = body;
    for name in path.split('.') {
        match part.get(name) {
            Some(Value::Null) | None => return Ok(T::default()),
            Some(inner) => part = inner,
        }
    }
    serde_path_to_error::deserialize(part).map_err(|error| {
        let inner = error.path().to_string();
        let field = if inner == "." { path.into() } else { format!("{path}.{inner}") };
        ObjectError::Field { field, problem: error.into_inner().to_string() }
    })
}

fn labels(meta: &ObjectMeta) -> Labels {
    meta.labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// A namespace's labels with the one that the API server gives to every namespace.
pub(crate) fn namespace_labels(name: &str, meta: &ObjectMeta) -> Labels {
    let own = meta.labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
    own.chain([("kubernetes.io/metadata.name", name)]).collect()
}

fn address(field: &str, text: &str) -> Result<Addr, ObjectError> {
    let ip: std::net::IpAddr = text.parse().map_err(|_| ObjectError::Field {
        field: field.into(),
        problem: format!("'{text}' is not an IP address"),
    })?;
    Ok(ip.into())
}

fn created(meta: &ObjectMeta) -> Option<UnixNanos> {
    let nanos = meta.creation_timestamp.as_ref()?.0.as_nanosecond();
    u64::try_from(nanos).ok().map(UnixNanos)
}

fn shared(text: Option<&str>) -> Arc<str> {
    text.map_or_else(Arc::default, Into::into)
}
