//! The settings in the words of the crates that they are for.

use std::time::Duration;

use super::Settings;
use crate::config::written::{self, Assume, Dialect};

// === impl Settings ===

impl Settings {
    /// How many endpoints, label sets, services and traces the tables take.
    pub fn table_limits(&self) -> [usize; 4] {
        let written::Tables { endpoints_max, label_sets_max, services_max, traces_max } =
            self.tables;
        [endpoints_max, label_sets_max, services_max, traces_max].map(size)
    }

    /// What the index holds.
    pub fn cluster_limits(&self) -> cluster::Limits {
        cluster::Limits {
            objects: size(self.cluster.objects_max),
            history: size(self.cluster.history_max),
            history_age: minutes(self.cluster.history_minutes),
            outside: size(self.cluster.outside_addresses_max),
            ..cluster::Limits::default()
        }
    }

    /// How policies are read.
    pub fn policy_settings(&self) -> policy::Settings {
        let has = |dialect| self.policy.enforced.contains(&dialect);
        let assumes = |assume| self.policy.assume.contains(&assume);
        policy::Settings {
            assume: policy::Assume {
                ipblock_skips_pods: assumes(Assume::IpblockSkipsPods),
                host_network_as_pods: assumes(Assume::HostNetworkAsPods),
                staged_adds: assumes(Assume::StagedAdds),
            },
            enforced: policy::Dialects {
                kubernetes: has(Dialect::Kubernetes),
                admin: has(Dialect::Admin),
                cluster: has(Dialect::Cluster),
                calico: has(Dialect::Calico),
            },
        }
    }

    /// How many policy sets of the past are kept.
    pub fn timeline_limits(&self) -> policy::TimelineLimits {
        policy::TimelineLimits {
            age: minutes(self.policy.history_hours.saturating_mul(60)),
            sets: size(self.policy.history_sets_max),
            bytes: mib(self.policy.history_memory_max_mib),
        }
    }

    /// What the API keeps in memory.
    pub fn api_limits(&self) -> api::Limits {
        api::Limits {
            bytes: mib(self.api.memory_max_mib),
            age: minutes(self.api.keep_minutes),
            follower_updates: size(self.api.follower_updates_max),
            requests: size(self.api.requests_max),
            ..api::Limits::default()
        }
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn mib(number: u32) -> usize {
    size(number).saturating_mul(1 << 20)
}

fn minutes(number: u32) -> Duration {
    Duration::from_secs(u64::from(number) * 60)
}
