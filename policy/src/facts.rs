//! What policies speak of beside the endpoints that come with a question.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use schemas::{Endpoint, Protocol};

use crate::nets::Nets;
use crate::read::facts::{Failsafe, HostEndpoint, NetworkSet, Node, Profile};

/// Everything that documents say beside policies.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) sets: Vec<NetworkSet>,
    pub(crate) hosts: Vec<HostEndpoint>,
    pub(crate) nodes: FxHashMap<Arc<str>, Node>,
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

    /// The labels of a network set as a selector sees them.
    pub(crate) fn set_label<'a>(set: &'a NetworkSet, key: &str) -> Option<&'a str> {
        use crate::read::calico::keys;
        let namespace = || set.namespace.as_deref();
        match key {
            keys::NAMESPACE => namespace(),
            _ => set.labels.get(key).or_else(|| {
                let key = key.strip_prefix(keys::OF_NAMESPACE)?;
                matches!(key, keys::NAME | keys::METADATA_NAME).then(namespace)?
            }),
        }
    }
}

/// The profile that every pod of a namespace has.
pub(crate) fn namespace_profile(namespace: &str) -> String {
    format!("kns.{namespace}")
}

fn account_profile(endpoint: &Endpoint) -> String {
    format!("ksa.{}.{}", endpoint.namespace, endpoint.service_account)
}
