//! Reads an object's metadata: its name and its labels.

use std::sync::Arc;

use schemas::Labels;

use super::facts;
use super::fields::{Faults, Object};
use super::kind::Kind;
use crate::names::{is_dns_label, is_dns_subdomain};

/// An object's kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectName {
    /// The API group, for kinds of two groups may be called alike.
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// The fields of metadata, those that an API server writes and those that it has given up too.
const METADATA: [&str; 16] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "clusterName",
];

/// Reads what an object of this version and kind says of itself.
pub(crate) fn metadata(
    object: &mut Object<'_>,
    (api_version, kind_name): (&str, &str),
    kind: Option<Kind>,
    faults: &mut Faults,
) -> (ObjectName, Labels) {
    let metadata = object.get("metadata").and_then(|field| field.object(faults));
    let mut metadata = metadata;
    let mut text = |name| metadata.as_mut().and_then(|object| object.text(name, faults));
    let name = text("name").or_else(|| text("generateName")).unwrap_or_default();
    let namespace = text("namespace").unwrap_or_default();
    let labels = metadata.as_mut().and_then(|object| object.get("labels"));
    let labels = labels.map(|field| facts::labels_of(field.value)).unwrap_or_default();
    let stored = metadata.as_mut().and_then(|object| object.get("annotations"));
    let labels = match stored.and_then(|field| facts::stored_labels(field.value)) {
        Some(stored) => labels.iter().chain(stored.iter()).collect(),
        None => labels,
    };
    if let Some(metadata) = metadata.filter(|_| kind.is_some_and(Kind::is_read_whole)) {
        let unknown = metadata.names().filter(|name| !METADATA.contains(name));
        for name in unknown {
            faults.refuse(format!("metadata.{name}"), "is not a field of metadata");
        }
    }
    let is_namespaced = kind.is_some_and(|kind| kind.is_namespaced(kind_name));
    let namespace = match namespace {
        "" if is_namespaced => "default",
        _ if !is_namespaced => "",
        given => given,
    };
    if kind.is_some() && !is_dns_subdomain(name) {
        faults.refuse("metadata.name", format!("'{name}' is no name of an object"));
    }
    if !namespace.is_empty() && !is_dns_label(namespace) {
        faults.error("metadata.namespace", format!("'{namespace}' is no name of a namespace"));
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    // One object is served under both.
    let group = group.strip_prefix("crd.").unwrap_or(group).to_owned();
    let kind = kind_name.to_owned();
    (ObjectName { group, kind, namespace: namespace.into(), name: name.into() }, labels)
}

// === impl ObjectName ===

impl std::fmt::Display for ObjectName {
    /// `NetworkPolicy shop/web`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{} {}{slash}{}", self.kind, self.namespace, self.name)
    }
}
