//! What is known of the cluster, as it changes: objects go to the index, policies to the timeline,
//! each with the time at which it became so.
//!
//! It reads no clock: changes come with their times, from a watched folder or from a recording.

mod policies;
mod report;

use cluster::manifests::Broken;
use cluster::{Change, Index, Reader, Tables};
use policy::Timeline;
use prometheus_client::registry::Registry;
use schemas::UnixNanos;

use crate::config::Settings;
use policies::Policies;
pub use report::Report;

/// The one writer of the index and of the timeline.
pub struct Knowledge {
    index: Index,
    policies: Policies,
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
        (Self { index, policies, report }, reader, timeline)
    }

    /// What the daemon's status says of it.
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// Takes in changes in the order of their times, and all that cannot be read now.
    pub fn apply<'a>(&mut self, changes: &[Change], broken: impl Iterator<Item = &'a Broken>) {
        self.report.broken(broken.map(ToString::to_string).collect());
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
        self.policies.apply(changes, at);
        self.report.count(changes);
    }
}
