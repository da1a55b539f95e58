//! The settings in the words of the crates that they are for.

use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use exporters::config::{SinkConfig, SpoolConfig};
use pipelines::edge::EdgeLimits;
use pipelines::graph::GraphLimits;
use pipelines::{AggregateConfig, AttributeConfig, ConnectConfig, EnrichConfig};

use schemas::Origin;
use schemas::observation::Names;

use super::Source;
use crate::config::written::{self, Assume, Dialect};
use crate::privilege;

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

    /// How much the graph holds between its nodes.
    pub fn graph_limits(&self) -> GraphLimits {
        let rows = size(self.edges.rows_max);
        let edge = EdgeLimits { rows, bytes: mib(self.edges.memory_max_mib) };
        GraphLimits { edge, ..GraphLimits::default() }
    }

    /// How connections are remembered.
    pub fn connect_config(&self) -> ConnectConfig {
        ConnectConfig {
            connections_max: size(self.connect.connections_max),
            bytes_max: mib(self.connect.memory_max_mib),
            idle: pipelines::connect::Idle {
                tcp: seconds(self.connect.tcp_idle_seconds),
                tcp_closed: seconds(self.connect.tcp_closed_idle_seconds),
                other: seconds(self.connect.other_idle_seconds),
            },
            window: self.window(),
            ..ConnectConfig::default()
        }
    }

    /// How ends are found and waited for.
    pub fn enrich_config(&self) -> EnrichConfig {
        EnrichConfig {
            hold: Duration::from_millis(self.enrich.hold_milliseconds.into()),
            held_max: size(self.enrich.held_rows_max),
            connections_max: size(self.connect.connections_max),
            window: self.window(),
            ..EnrichConfig::default()
        }
    }

    /// How connections are judged.
    pub fn attribute_config(&self) -> AttributeConfig {
        AttributeConfig {
            connections_max: size(self.connect.connections_max),
            are_drops_seen: self.has_evidence(),
            ..AttributeConfig::default()
        }
    }

    /// How flows are counted, with these names of the kernel's reasons.
    pub fn aggregate_config(&self, names: Names) -> AggregateConfig {
        let (detail, origin) = match self.source {
            Source::Kernel(_) => (self.detail(), Origin::Kernel),
            Source::Replay(_) | Source::Pushed => (self.detail(), Origin::Replay),
        };
        AggregateConfig {
            window: self.window(),
            detail,
            origin,
            cluster: self.cluster_name.as_str().into(),
            rows_max: size(self.aggregate.rows_max),
            bytes_max: mib(self.aggregate.memory_max_mib),
            names,
            ..AggregateConfig::default()
        }
    }

    fn detail(&self) -> schemas::Detail {
        match self.aggregate.detail {
            written::Detail::Workload => schemas::Detail::Workload,
            written::Detail::Pod => schemas::Detail::Pod,
            written::Detail::Connection => schemas::Detail::Connection,
        }
    }

    /// Whether the kernel's drops are watched.
    fn has_evidence(&self) -> bool {
        match &self.source {
            Source::Kernel(capture) => capture.evidence,
            Source::Replay(_) => true,
            Source::Pushed => false,
        }
    }

    /// What the collector watches in the kernel.
    pub fn collector_config(&self, capture: &written::Capture) -> collector::Config {
        let namespace = |netns: &written::Namespace| collector::Namespace {
            node: netns.node.as_str().into(),
            path: netns.path.clone(),
        };
        collector::Config {
            instance: self.instance.clone(),
            node: self.node.as_str().into(),
            namespaces: capture.netns.iter().map(namespace).collect(),
            pods: capture.pods.clone(),
            uplinks: capture.uplinks.clone(),
            attach: match capture.attach {
                written::Attach::Auto => collector::Attach::Auto,
                written::Attach::Tcx => collector::Attach::Tcx,
                written::Attach::Clsact => collector::Attach::Clsact,
            },
            places: capture.places,
            fallback_places: capture.fallback_places,
            drop_places: if capture.evidence { capture.drop_places } else { 0 },
            interfaces_max: capture.interfaces_max,
            openings_max: size(capture.openings_max),
            conntrack: capture.conntrack,
            conntrack_entries_max: size(capture.conntrack_entries_max),
            interval: Duration::from_millis(capture.drain_interval_milliseconds.into()),
            window: self.window(),
            keep_pins: capture.keep_pins,
            ..collector::Config::default()
        }
    }

    /// Refuses where this process may not do what is asked.
    ///
    /// # Errors
    /// What it lacks, and what to do.
    pub fn check_privilege(&self) -> anyhow::Result<()> {
        match &self.source {
            Source::Kernel(capture) => privilege::check_capture(!capture.netns.is_empty()),
            Source::Replay(_) | Source::Pushed => Ok(()),
        }
    }

    /// How often the manifests are looked at.
    pub fn reload_interval(&self) -> Duration {
        Duration::from_millis(self.cluster.reload_interval_milliseconds.into())
    }

    /// The cluster's name, where it has one.
    pub fn cluster_word(&self) -> Option<Arc<str>> {
        Some(self.cluster_name.as_str()).filter(|name| !name.is_empty()).map(Arc::from)
    }

    /// The folder of manifests as the status shows it.
    pub fn manifests_shown(&self) -> String {
        self.cluster.manifests.as_deref().map(|it| it.display().to_string()).unwrap_or_default()
    }

    /// How long a window is.
    pub fn window(&self) -> Duration {
        seconds(self.aggregate.window_seconds)
    }

    /// Closed windows on disk.
    pub fn spool_config(&self) -> SpoolConfig {
        SpoolConfig {
            dir: self.spool_folder.clone(),
            disk_bytes_max: mib(self.spool.disk_max_mib) as u64,
            keep_minutes: self.spool.keep_minutes,
            chunk_rows: self.spool.chunk_rows,
            waiting_rows_max: self.spool.waiting_rows_max.into(),
            aside_files_max: self.spool.aside_files_max,
            refused_bytes_max: mib(self.spool.refused_max_mib) as u64,
        }
    }

    /// What the API keeps in memory.
    pub fn api_limits(&self) -> api::Limits {
        let defaults = api::Limits::default();
        api::Limits {
            bytes: mib(self.api.memory_max_mib),
            age: minutes(self.api.keep_minutes),
            follower_updates: size(self.api.follower_updates_max),
            requests: size(self.api.requests_max),
            settle: self.goldmane.as_ref().map_or(defaults.settle, |goldmane| goldmane.settle),
            ..defaults
        }
    }

    /// Streams of Goldmane's flows at the same time.
    pub fn streams_max(&self) -> usize {
        self.goldmane.as_ref().map_or(size(self.api.requests_max), |goldmane| goldmane.streams)
    }

    /// The lake that this daemon writes whole, if it does.
    pub fn lake(&self) -> Option<history::Address> {
        self.exporters.iter().find_map(|(_, sink)| match &sink.config {
            // One that leaves out rows could not answer for them.
            SinkConfig::Parquet(parquet) if sink.view.filter.is_empty() => {
                let (place, store) = (parquet.place.clone(), parquet.store.clone());
                Some(history::Address { place, store })
            }
            _ => None,
        })
    }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
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
