//! What the evaluator takes for granted where independent sources read the API differently, and
//! which dialects the cluster enforces.

use serde::{Deserialize, Serialize};

/// How policies are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Readings other than the API's own.
    pub assume: Assume,
    /// The dialects that this cluster's network plugin enforces.
    pub enforced: Dialects,
}

/// Readings other than the API's own; none of them by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Assume {
    /// An ipBlock and every other list of networks never holds a pod's address.
    pub ipblock_skips_pods: bool,
    /// A pod in its node's network namespace is a pod like any other.
    pub host_network_as_pods: bool,
    /// A staged policy stands beside the enforced one of its name, as in Calico, instead of
    /// replacing it.
    pub staged_adds: bool,
}

/// Which dialects are enforced; all of them by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each dialect is enforced or is not")]
pub struct Dialects {
    /// networking.k8s.io NetworkPolicy.
    pub kubernetes: bool,
    /// policy.networking.k8s.io v1alpha1 AdminNetworkPolicy and BaselineAdminNetworkPolicy.
    pub admin: bool,
    /// policy.networking.k8s.io v1alpha2 ClusterNetworkPolicy.
    pub cluster: bool,
    /// projectcalico.org policies.
    pub calico: bool,
}

/// One family of policy kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// networking.k8s.io NetworkPolicy.
    Kubernetes,
    /// policy.networking.k8s.io v1alpha1.
    Admin,
    /// policy.networking.k8s.io v1alpha2.
    Cluster,
    /// projectcalico.org.
    Calico,
}

// === impl Assume ===

impl Assume {
    /// Sets the reading of this name, as in `ipblock-skips-pods`; false for an unknown name.
    #[must_use]
    pub fn set(&mut self, name: &str) -> bool {
        match name {
            "ipblock-skips-pods" => self.ipblock_skips_pods = true,
            "host-network-as-pods" => self.host_network_as_pods = true,
            "staged-adds" => self.staged_adds = true,
            _ => return false,
        }
        true
    }
}

// === impl Dialects ===

impl Dialects {
    /// Whether this dialect is enforced.
    #[must_use]
    pub const fn has(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Kubernetes => self.kubernetes,
            Dialect::Admin => self.admin,
            Dialect::Cluster => self.cluster,
            Dialect::Calico => self.calico,
        }
    }
}

impl Default for Dialects {
    fn default() -> Self {
        Self { kubernetes: true, admin: true, cluster: true, calico: true }
    }
}
