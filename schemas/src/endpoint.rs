//! Who an address is.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::intern::Handle;
use crate::net::{Addr, Protocol};

/// What kind of thing an address belongs to, in Goldmane's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum EndpointKind {
    /// A pod, or in a folder of manifests a workload whose pods are not there.
    Workload,
    /// A node, or a Calico HostEndpoint.
    HostEndpoint,
    /// A Calico NetworkSet or GlobalNetworkSet.
    NetworkSet,
    /// Any other address.
    Network,
}

/// Labels, sorted by key, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

/// The thing that made a pod: `Deployment/cart` rather than the ReplicaSet in between.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Owner {
    /// As in `Deployment`.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// A port that a pod's containers declare; a policy may speak of it by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeclaredPort {
    /// Empty when it has none.
    pub name: Arc<str>,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// Who an address is, at one time. A change of any field makes another endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// What kind of thing.
    pub kind: EndpointKind,
    /// Kubernetes namespace; empty for what has none.
    pub namespace: Arc<str>,
    /// The pod's, node's or network set's name; for a Network the address, or `other` when there
    /// are more addresses than are kept apart.
    pub name: Arc<str>,
    /// The name that Goldmane aggregates by: `frontend-*`, `pub`, `pvt`.
    pub aggregated_name: Arc<str>,
    /// Its own labels.
    pub labels: Handle<Labels>,
    /// Its namespace's labels.
    pub namespace_labels: Handle<Labels>,
    /// Empty for what has none.
    pub service_account: Arc<str>,
    /// Its service account's labels.
    pub service_account_labels: Handle<Labels>,
    /// What made it.
    pub owner: Option<Owner>,
    /// The node it runs on; empty when not known.
    pub node: Arc<str>,
    /// That node's zone; empty when not known.
    pub zone: Arc<str>,
    /// A pod in its node's network namespace: to a policy it is the node.
    pub host_network: bool,
    /// Ports that its containers declare.
    pub ports: Arc<[DeclaredPort]>,
    /// Its addresses; empty for a workload without pods.
    pub addresses: SmallVec<[Addr; 2]>,
}

/// A Kubernetes Service as a flow speaks of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Service {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name; `*` when several services share the address and port.
    pub name: Arc<str>,
    /// The port's name; empty when it has none.
    pub port_name: Arc<str>,
    /// The service's port that was called.
    pub port: u16,
}

// === impl Labels ===

impl Labels {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.0.get(index).map(|(_, value)| &**value)
    }

    /// All of them, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    /// Of two values for one key the later stands.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(key, value)| (key.into(), value.into()));
        let sorted: std::collections::BTreeMap<Arc<str>, Arc<str>> = pairs.collect();
        Self(sorted.into_iter().collect())
    }
}

impl fmt::Display for Labels {
    /// `a=1, b=2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (key, value)) in self.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

impl Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint of this kind and name with nothing else known.
    #[must_use]
    pub fn bare(kind: EndpointKind, name: impl Into<Arc<str>>, none: &Handle<Labels>) -> Self {
        let name = name.into();
        Self {
            kind,
            namespace: Arc::default(),
            aggregated_name: name.clone(),
            name,
            labels: none.clone(),
            namespace_labels: none.clone(),
            service_account: Arc::default(),
            service_account_labels: none.clone(),
            owner: None,
            node: Arc::default(),
            zone: Arc::default(),
            host_network: false,
            ports: Arc::default(),
            addresses: SmallVec::new(),
        }
    }
}

impl fmt::Display for Endpoint {
    /// `namespace/name`, or the name alone for what has no namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for Service {
    /// `namespace/name:port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_key_and_the_later_value_stands() {
        let labels: Labels = [("b", "2"), ("a", "1"), ("b", "3")].into_iter().collect();
        assert_eq!(labels.get("a"), Some("1"));
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.to_string(), "a=1, b=3");
    }
}
