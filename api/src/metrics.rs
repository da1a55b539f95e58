//! What this crate counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges of the API. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) rows: Counter,
    pub(crate) dropped: Family<Reason, Counter>,
    pub(crate) held_rows: Gauge,
    pub(crate) held_bytes: Gauge,
    pub(crate) held_keys: Gauge,
    pub(crate) pushed: Counter,
    pub(crate) repeated: Counter,
    pub(crate) late: Counter,
    pub(crate) pushers: Gauge,
    pub(crate) streams: Gauge,
    pub(crate) followers: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) requests: Family<Answered, Counter>,
}

/// Why rows are not there for a reader who asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

/// A request by path and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answered {
    pub(crate) path: &'static str,
    pub(crate) status: u16,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything under `api_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("api");
        let Self { rows, dropped, held_rows, held_bytes, held_keys, .. } = metrics.clone();
        let Self { pushed, repeated, late, pushers, streams, .. } = metrics.clone();
        let Self { followers, connections, requests, .. } = metrics.clone();
        registry.register("rows", "Rows of closed windows taken in", rows);
        let help = "Rows that a reader cannot have: memory (forgotten before their time), graph \
                    (the feed was full), slow_reader (a follower was behind), slow_stream \
                    (updates that a stream was behind), open_rows (told at once, not kept), \
                    pushed_future and pushed_invalid (flows that no window can hold)";
        registry.register("dropped", help, dropped);
        registry.register("held_rows", "Rows held in memory", held_rows);
        registry.register("held_bytes", "Memory of the rows held", held_bytes);
        registry.register("held_keys", "Goldmane's keys of the rows held", held_keys);
        registry.register("pushed", "Flows that agents pushed", pushed);
        let help = "Flows that an agent pushed again, as after a reconnect: not counted twice";
        registry.register("pushed_again", help, repeated);
        let help = "Flows that agents pushed after their window was given to streams: corrections";
        registry.register("pushed_late", help, late);
        registry.register("pushers", "Agents that push now", pushers);
        registry.register("streams", "Readers that stream Goldmane's flows now", streams);
        registry.register("followers", "Readers that follow now", followers);
        registry.register("connections", "Connections of clients", connections);
        registry.register("requests", "Requests answered", requests);
        metrics
    }

    pub(crate) fn dropped(&self, reason: &'static str, rows: u64) {
        self.dropped.get_or_create(&Reason { reason }).inc_by(rows);
    }
}
