//! What a collector counts of itself.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Counters and gauges; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) drains: Counter,
    pub(crate) drains_early: Counter,
    pub(crate) grace_nanoseconds: Counter,
    pub(crate) drain_nanoseconds: Counter,
    pub(crate) observations: Counter,
    pub(crate) packets: Family<DirectionLabel, Counter>,
    pub(crate) bytes: Family<DirectionLabel, Counter>,
    pub(crate) spilled_packets: Counter,
    pub(crate) overflow_packets: Family<OverflowLabel, Counter>,
    pub(crate) overflow_bytes: Family<OverflowLabel, Counter>,
    pub(crate) before_packets: Family<InterfaceLabel, Gauge>,
    pub(crate) lost_packets: Family<ReasonLabel, Counter>,
    pub(crate) lost_bytes: Family<ReasonLabel, Counter>,
    pub(crate) interfaces: Gauge,
    pub(crate) attach_failures: Counter,
    pub(crate) clock_steps: Counter,
    pub(crate) openings_forgotten: Counter,
    pub(crate) drops_not_ours: Counter,
    pub(crate) conntrack_entries: Gauge,
    pub(crate) conntrack_refused: Counter,
    pub(crate) conntrack_overruns: Counter,
    pub(crate) places_used: Gauge,
}

/// A direction, as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DirectionLabel {
    pub(crate) direction: &'static str,
}

/// An interface's hook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct InterfaceLabel {
    pub(crate) interface: Arc<str>,
    pub(crate) direction: &'static str,
}

/// An interface's hook and why its packets found no place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OverflowLabel {
    pub(crate) interface: Arc<str>,
    pub(crate) direction: &'static str,
    pub(crate) reason: &'static str,
}

/// Why packets that were seen are in no batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Makes them known to a registry, under `collector_`.
    pub fn register(registry: &mut Registry) -> Self {
        let it = Self::default();
        let to = registry.sub_registry_with_prefix("collector");
        it.register_drains(to);
        it.register_losses(to);
        to.register("interfaces", "Interfaces watched", it.interfaces.clone());
        to.register("attach_failures", "Attachments refused", it.attach_failures.clone());
        to.register("clock_steps", "Times that the wall clock was set", it.clock_steps.clone());
        to.register(
            "openings_forgotten",
            "Initial sequence numbers let go before their time, for want of room",
            it.openings_forgotten.clone(),
        );
        to.register(
            "drops_not_ours",
            "Drops of interfaces that are not watched",
            it.drops_not_ours.clone(),
        );
        to.register("conntrack_entries", "Translated tuples held", it.conntrack_entries.clone());
        to.register(
            "conntrack_refused",
            "Translated connections left out of a full mirror",
            it.conntrack_refused.clone(),
        );
        to.register(
            "conntrack_overruns",
            "Times that connection events were lost and asked for again",
            it.conntrack_overruns.clone(),
        );
        it
    }

    fn register_drains(&self, to: &mut Registry) {
        to.register("drains", "Drains of the table", self.drains.clone());
        to.register("drains_early", "Drains because a half filled up", self.drains_early.clone());
        let nanoseconds = || Unit::Other("nanoseconds".into());
        to.register_with_unit(
            "grace",
            "Time waited for running programs",
            nanoseconds(),
            self.grace_nanoseconds.clone(),
        );
        to.register_with_unit(
            "drain",
            "Time spent reading and clearing",
            nanoseconds(),
            self.drain_nanoseconds.clone(),
        );
        to.register("observations", "Observations sent on", self.observations.clone());
        to.register("packets", "Packets in them, drops apart", self.packets.clone());
        to.register("bytes", "Bytes in them, drops apart", self.bytes.clone());
        to.register("places_used", "Places used in the last drain", self.places_used.clone());
    }

    fn register_losses(&self, to: &mut Registry) {
        to.register(
            "spilled_packets",
            "Packets counted in the fallback",
            self.spilled_packets.clone(),
        );
        to.register(
            "overflow_packets",
            "Packets that no flow was found for",
            self.overflow_packets.clone(),
        );
        to.register("overflow_bytes", "Bytes of those packets", self.overflow_bytes.clone());
        to.register(
            "before_attach_packets",
            "Packets that an interface had carried before it was watched",
            self.before_packets.clone(),
        );
        to.register(
            "lost_packets",
            "Packets that were counted and are in no stored batch",
            self.lost_packets.clone(),
        );
        to.register("lost_bytes", "Bytes of those packets", self.lost_bytes.clone());
    }
}

/// A direction's name.
pub(crate) fn direction_name(direction: schemas::Direction) -> &'static str {
    match direction {
        schemas::Direction::Ingress => "ingress",
        schemas::Direction::Egress => "egress",
    }
}
