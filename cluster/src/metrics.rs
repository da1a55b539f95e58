//! What the index counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and sizes of one index. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Objects held.
    pub objects: Gauge,
    /// Changes taken in.
    pub applied: Counter,
    /// Objects that could not be read.
    pub unreadable: Counter,
    /// New objects refused because [`crate::Limits::objects`] were held.
    pub refused: Counter,
    /// Ended tenures of addresses kept.
    pub history: Gauge,
    /// Ended tenures forgotten because they were too old.
    pub forgotten_age: Counter,
    /// Ended tenures forgotten because there were too many.
    pub forgotten_count: Counter,
    /// Values that an interning table did not take: they are held, but not shared.
    pub not_interned: Counter,
    /// Addresses outside the cluster kept apart.
    pub outside: Gauge,
    /// Answers that named `other` because too many outside addresses were kept apart.
    pub other: Counter,
}

// === impl Metrics ===

impl Metrics {
    /// Makes them and registers them under `cluster_`.
    pub fn register(registry: &mut Registry) -> Self {
        let made = Self::default();
        let to = registry.sub_registry_with_prefix("cluster");
        let counters = [
            ("changes_applied", "Changes of objects taken in", &made.applied),
            ("objects_unreadable", "Objects that could not be read", &made.unreadable),
            ("objects_refused", "New objects refused at the limit of objects", &made.refused),
            ("history_forgotten_age", "Ended tenures forgotten at their age", &made.forgotten_age),
            (
                "history_forgotten_count",
                "Ended tenures forgotten at the limit",
                &made.forgotten_count,
            ),
            ("values_not_interned", "Values held beside a full table", &made.not_interned),
            ("outside_other", "Answers that named the one `other` endpoint", &made.other),
        ];
        for (name, help, counter) in counters {
            to.register(name, help, counter.clone());
        }
        let gauges = [
            ("objects", "Objects held", &made.objects),
            ("history", "Ended tenures of addresses kept", &made.history),
            ("outside", "Addresses outside the cluster kept apart", &made.outside),
        ];
        for (name, help, gauge) in gauges {
            to.register(name, help, gauge.clone());
        }
        made
    }
}
