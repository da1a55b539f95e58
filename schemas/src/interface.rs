//! Interfaces that are watched, by the number that travels in an observation.

use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// A number that the loader hands out for one (network namespace, ifindex); 0 is no interface.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct InterfaceId(pub u32);

/// What an interface leads to. Only a pod's interface adds to counters; the others are evidence.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceKind {
    /// The host side of one pod's interface.
    #[default]
    Pod,
    /// Towards other nodes or the world.
    Uplink,
}

/// A watched interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its number in this process.
    pub id: InterfaceId,
    /// The node it belongs to.
    pub node: Arc<str>,
    /// Name or path of its network namespace; empty for the agent's own.
    pub netns: Arc<str>,
    /// Its index there.
    pub ifindex: u32,
    /// Its name there.
    pub name: Arc<str>,
    /// What it leads to.
    pub kind: InterfaceKind,
}

/// Every interface ever watched by this process: one writer, many readers. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Interfaces(Arc<RwLock<FxHashMap<InterfaceId, Arc<Interface>>>>);

// === impl Interface ===

impl Interface {
    /// `netns/name`, or the name alone in the agent's own namespace.
    #[must_use]
    pub fn label(&self) -> String {
        if self.netns.is_empty() {
            return self.name.to_string();
        }
        format!("{}/{}", self.netns, self.name)
    }
}

// === impl Interfaces ===

impl Interfaces {
    /// Adds an interface, or replaces what was known of its number.
    pub fn insert(&self, interface: Interface) {
        self.0.write().insert(interface.id, Arc::new(interface));
    }

    /// What is known of a number.
    #[must_use]
    pub fn get(&self, id: InterfaceId) -> Option<Arc<Interface>> {
        self.0.read().get(&id).cloned()
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Interface>> {
        let mut all: Vec<_> = self.0.read().values().cloned().collect();
        all.sort_by_key(|interface| interface.id);
        all
    }
}
