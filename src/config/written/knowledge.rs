//! What is known about the cluster and its policies.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who an address is, from a folder of manifests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// A folder of Kubernetes objects, policies among them (YAML or JSON). It is read again when
    /// it changes; of a file that cannot be read the last good state stays.
    pub manifests: Option<PathBuf>,
    /// How often the folder is looked at.
    #[schemars(range(min = 50, max = 60_000))]
    pub reload_interval_milliseconds: u32,
    /// Addresses of pods beside those of the nodes' `podCIDR`s, as in `10.244.0.0/16`: an address
    /// in them that nobody has yet is waited for.
    pub ranges: Vec<String>,
    /// Objects that are held; a new one above this is refused, counted.
    #[schemars(range(min = 1_000))]
    pub objects_max: u32,
    /// How long it is remembered who had an address.
    #[schemars(range(min = 1))]
    pub history_minutes: u32,
    /// Past holders of addresses that are remembered; the oldest go first, counted.
    #[schemars(range(min = 1))]
    pub history_max: u32,
    /// Addresses outside the cluster that are kept apart; the others are one row named `other`.
    #[schemars(range(min = 1))]
    pub outside_addresses_max: u32,
}

/// Why a connection is allowed or denied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The dialects that this cluster's CNI enforces. A policy of another dialect makes the
    /// verdicts that it could touch `incomplete`.
    pub enforced: Vec<Dialect>,
    /// Readings of the API other than its own, where implementations differ.
    pub assume: Vec<Assume>,
    /// How long a policy set is kept after another took its place.
    #[schemars(range(min = 1))]
    pub history_hours: u32,
    /// The most policy sets kept; the oldest go first.
    #[schemars(range(min = 1))]
    pub history_sets_max: u32,
    /// The most memory that they take.
    #[schemars(range(min = 1))]
    pub history_memory_max_mib: u32,
}

/// A policy dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// networking.k8s.io NetworkPolicy.
    Kubernetes,
    /// policy.networking.k8s.io v1alpha1 AdminNetworkPolicy and BaselineAdminNetworkPolicy.
    Admin,
    /// policy.networking.k8s.io v1alpha2 ClusterNetworkPolicy.
    Cluster,
    /// projectcalico.org policies.
    Calico,
}

/// A reading of the API other than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Assume {
    /// An ipBlock does not match the addresses of pods.
    IpblockSkipsPods,
    /// A pod in its node's network namespace is selected like any other.
    HostNetworkAsPods,
    /// A staged policy stands beside the enforced one of its name instead of replacing it.
    StagedAdds,
}

// === impl Cluster ===

impl Default for Cluster {
    fn default() -> Self {
        Self {
            manifests: None,
            reload_interval_milliseconds: 500,
            ranges: Vec::new(),
            objects_max: 500_000,
            history_minutes: 60,
            history_max: 200_000,
            outside_addresses_max: 10_000,
        }
    }
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            enforced: vec![Dialect::Kubernetes, Dialect::Admin, Dialect::Cluster, Dialect::Calico],
            assume: Vec::new(),
            history_hours: 24,
            history_sets_max: 1_000,
            history_memory_max_mib: 256,
        }
    }
}
