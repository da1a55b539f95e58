//! What policies speak of beside the endpoints that come with a question.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use schemas::{Addr, Endpoint, Labels, Protocol};

use crate::nets::Nets;
use crate::read::calico::keys;
use crate::read::facts::{Failsafe, HostEndpoint, NetworkSet, Node, Profile};

/// Everything that documents say beside policies.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) sets: Vec<NetworkSet>,
    pub(crate) hosts: Vec<HostEndpoint>,
    /// The addresses of all of them.
    pub(crate) host_addresses: Nets,
    pub(crate) nodes: FxHashMap<Arc<str>, Node>,
    /// Labels of namespaces.
    pub(crate) namespaces: FxHashMap<Arc<str>, Labels>,
    pub(crate) profiles: FxHashMap<Arc<str>, Profile>,
    pub(crate) services: FxHashMap<ServiceName, Vec<(Nets, Protocol, u16)>>,
    /// Ports that are never closed on a host; `None` where no Calico says which.
    pub(crate) failsafe: Option<Failsafe>,
    /// A network set or host endpoint could not be read.
    pub(crate) lacks_addresses: bool,
}

/// Namespace and name of a Service.
type ServiceName = (Arc<str>, Arc<str>);

// === impl Facts ===

impl Facts {
    /// A label that an endpoint inherits from a Profile that was written out.
    pub(crate) fn profile_label(&self, endpoint: &Endpoint, key: &str) -> Option<&str> {
        if self.profiles.is_empty() {
            return None;
        }
        let of = |name: String| self.profiles.get(&*name)?.labels.get(key);
        of(namespace_profile(&endpoint.namespace)).or_else(|| of(account_profile(endpoint)))
    }

    /// Whether a host endpoint expects this address.
    pub(crate) fn is_host(&self, addr: Option<Addr>) -> bool {
        addr.is_some_and(|addr| self.host_addresses.holds(addr))
    }

    /// A label of a network set as a selector sees it: its own, and those of its namespace.
    pub(crate) fn set_label<'a>(&'a self, set: &'a NetworkSet, key: &str) -> Option<&'a str> {
        let namespace = set.namespace.as_deref();
        if key == keys::NAMESPACE {
            return namespace;
        }
        set.labels.get(key).or_else(|| {
            let namespace = namespace?;
            let of_namespace = key.strip_prefix(keys::OF_NAMESPACE).and_then(|key| match key {
                keys::NAME | keys::METADATA_NAME => Some(namespace),
                _ => self.namespaces.get(namespace)?.get(key),
            });
            let profile = || self.profiles.get(&*namespace_profile(namespace))?.labels.get(key);
            of_namespace.or_else(profile)
        })
    }
}

/// The profile that every pod of a namespace has.
pub(crate) fn namespace_profile(namespace: &str) -> String {
    format!("kns.{namespace}")
}

fn account_profile(endpoint: &Endpoint) -> String {
    format!("ksa.{}.{}", endpoint.namespace, endpoint.service_account)
}
