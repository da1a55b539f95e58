//! What is known of the cluster, as it changes: objects go to the index, policies to the timeline,
//! each with the time at which it became so.
//!
//! It reads no clock: changes come with their times, from a watched folder or from a recording.

mod policies;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::manifests::Broken;
use cluster::{Change, Index, Key, Reader, Tables};
use policy::Timeline;
use prometheus_client::registry::Registry;
use schemas::UnixNanos;

use crate::config::Settings;
use crate::objects;
use policies::Policies;
pub use report::Report;

/// The one writer of the index and of the timeline.
pub struct Knowledge {
    index: Index,
    policies: Policies,
    /// Every object that is known, with the file that it is from.
    files: BTreeMap<Key, Arc<str>>,
    report: Report,
}

// === impl Knowledge ===

impl Knowledge {
    /// Knows nothing yet; with what reads it.
    pub fn new(
        settings: &Settings,
        tables: Tables,
        registry: &mut Registry,
    ) -> (Self, Reader, Timeline) {
        let metrics = cluster::Metrics::register(registry);
        let limits = settings.cluster_limits();
        let (mut index, reader) = Index::with_metrics(limits, tables, metrics);
        index.set_ranges(&settings.ranges, UnixNanos::default());
        let report = Report::default();
        let (policies, timeline) = Policies::new(settings, report.clone());
        (Self { index, policies, files: BTreeMap::new(), report }, reader, timeline)
    }

    /// What the daemon's status says of it.
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// Takes in changes in the order of their times, and all that cannot be read `now`. What has no
    /// last good state and may be a policy makes what it could touch `incomplete`.
    pub fn apply(&mut self, changes: &[Change], broken: &[&Broken], now: UnixNanos) {
        self.report.broken(broken.iter().map(ToString::to_string).collect());
        for change in changes {
            match change {
                Change::Applied { object, .. } => {
                    self.files.insert(object.key(), Arc::clone(&object.source.file))
                }
                Change::Deleted { key, .. } => self.files.remove(key),
            };
        }
        let never_good = broken.iter().filter(|broken| !self.has_good_state(broken));
        self.policies.set_unreadable(never_good.filter_map(|it| objects::unreadable(it)).collect());
        self.policies.publish_if_changed(changes.first().map_or(now, Change::at));
        for at_once in changes.chunk_by(|one, next| one.at() == next.at()) {
            if let Some(at) = at_once.first().map(Change::at) {
                self.apply_at(at_once, at);
            }
        }
    }

    /// Changes that came true at the same time.
    fn apply_at(&mut self, changes: &[Change], at: UnixNanos) {
        for change in changes {
            if let Change::Deleted { key, .. } = change {
                self.index.delete(key, at);
            }
        }
        let applied = changes.iter().filter_map(|change| match change {
            Change::Applied { object, .. } => Some(object),
            Change::Deleted { .. } => None,
        });
        for refused in self.index.apply_all(applied, at) {
            tracing::warn!(problem = %refused, "an object was refused");
            self.report.refused(refused.to_string());
        }
        self.policies.apply(changes);
        self.policies.publish_if_changed(at);
        self.report.objects(self.files.len());
    }

    /// Whether a state of it from before stays in force: of the object, or of its file.
    fn has_good_state(&self, broken: &Broken) -> bool {
        let (Some(kind), Some(name)) = (&broken.kind, &broken.name) else {
            return self.files.values().any(|file| *file == broken.source.file);
        };
        let namespace = broken.namespace.as_deref().unwrap_or_default();
        let is_it =
            |key: &Key| key.kind == *kind && key.name == *name && *key.namespace == *namespace;
        self.files.keys().any(is_it)
    }
}
