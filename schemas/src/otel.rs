//! What a flow is called in OpenTelemetry: one table, which the encoders and `docs/otlp.md` follow.
//!
//! A name of the semantic conventions' registry is used where there is one; where there is none, a
//! fact of one end is named by its direction first (`source.k8s.pod.name`), and whyflow's own words
//! begin with `whyflow.`. The conventions name no flows yet, so [`VERSION`] says which of ours this
//! is.

/// The mapping's version, as the instrumentation scope carries it.
pub const VERSION: &str = "1";

/// The name of the instrumentation scope, and of the service in a resource.
pub const SCOPE: &str = "whyflow";

/// The event name of a log record.
pub const EVENT: &str = "whyflow.flow";

/// The start of the name of a label: its key follows.
pub const LABEL: &str = "k8s.pod.label.";

/// The start of the name of a namespace's label.
pub const NAMESPACE_LABEL: &str = "k8s.namespace.label.";

/// Where a name is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The semantic conventions' registry.
    Registry,
    /// The registry's name behind a direction.
    Directed,
    /// This project.
    Own,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// The field of a flow's JSON (`docs/flow.md`) that it has.
    pub field: &'static str,
    /// Where the name is from.
    pub origin: Origin,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit, in UCUM.
    pub unit: &'static str,
    /// What it counts.
    pub description: &'static str,
}

/// The names of one fact at both ends: the source's, the destination's.
pub type Ends = [&'static str; 2];

macro_rules! attributes {
    ($($name:ident = $text:literal, $field:literal, $origin:ident;)+) => {
        $(#[doc = concat!("`", $text, "`.")] pub const $name: &str = $text;)+

        /// Attributes of the row.
        pub const ROW: &[Attribute] =
            &[$(Attribute { name: $text, field: $field, origin: Origin::$origin }),+];
    };
}

macro_rules! ends {
    ($($name:ident = $text:literal, $field:literal, $origin:ident;)+) => {
        $(
            #[doc = concat!("`source.", $text, "` and `destination.", $text, "`.")]
            pub const $name: Ends = [concat!("source.", $text), concat!("destination.", $text)];
        )+

        /// Attributes of both ends.
        pub const ENDS: &[Attribute] = &[$(
            Attribute {
                name: concat!("source.", $text), field: concat!("source.", $field),
                origin: Origin::$origin,
            },
            Attribute {
                name: concat!("destination.", $text), field: concat!("destination.", $field),
                origin: Origin::$origin,
            }
        ),+];
    };
}

attributes! {
    ID = "whyflow.flow.id", "id", Own;
    REPORTER = "whyflow.reporter", "reporter", Own;
    ORIGIN = "whyflow.origin", "origin", Own;
    SEEN = "whyflow.seen", "seen", Own;
    ACTION = "whyflow.action", "action", Own;
    OUTCOME = "whyflow.outcome", "outcome", Own;
    DISAGREEMENT = "whyflow.disagreement", "disagreement", Own;
    TRANSPORT = "network.transport", "protocol", Registry;
    ICMP_TYPE = "whyflow.icmp.type", "icmp.type", Own;
    ICMP_CODE = "whyflow.icmp.code", "icmp.code", Own;
    SERVICE_NAMESPACE = "destination.k8s.service.namespace", "service.namespace", Own;
    SERVICE_NAME = "destination.k8s.service.name", "service.name", Directed;
    SERVICE_PORT_NAME = "destination.k8s.service.port.name", "service.port_name", Own;
    SERVICE_PORT = "destination.k8s.service.port", "service.port", Own;
    POLICY_KIND = "whyflow.policy.kind", "decided_by.kind", Own;
    POLICY_TIER = "whyflow.policy.tier", "decided_by.tier", Own;
    POLICY_NAMESPACE = "whyflow.policy.namespace", "decided_by.namespace", Own;
    POLICY_NAME = "whyflow.policy.name", "decided_by.name", Own;
    POLICY_RULE = "whyflow.policy.rule", "decided_by.rule.index", Own;
    POLICY_REVISION = "whyflow.policy.revision", "policy_revision", Own;
    PENDING_ACTION = "whyflow.pending_action", "policies.pending_action", Own;
    INITIATOR_FROM = "whyflow.initiator_from", "initiator_from", Own;
    SINCE = "whyflow.since", "since", Own;
    WINDOW_START = "whyflow.window.start", "window_start", Own;
    FIRST_SEEN = "whyflow.first_seen", "first_seen", Own;
    LAST_SEEN = "whyflow.last_seen", "last_seen", Own;
    CORRECTION = "whyflow.correction", "correction", Own;
    PACKETS_IN = "whyflow.packets.in", "counters.packets_in", Own;
    PACKETS_OUT = "whyflow.packets.out", "counters.packets_out", Own;
    BYTES_IN = "whyflow.bytes.in", "counters.bytes_in", Own;
    BYTES_OUT = "whyflow.bytes.out", "counters.bytes_out", Own;
    CONNECTIONS_STARTED = "whyflow.connections.started", "counters.connections_started", Own;
    CONNECTIONS_COMPLETED = "whyflow.connections.completed", "counters.connections_completed", Own;
    CONNECTIONS_LIVE = "whyflow.connections.live", "counters.connections_live", Own;
    OBSERVATIONS = "whyflow.observations", "counters.observations", Own;
    DELIVERED = "whyflow.evidence.delivered", "evidence.delivered", Own;
    ANSWERED = "whyflow.evidence.answered", "evidence.answered", Own;
    REFUSED = "whyflow.evidence.refused", "evidence.refused", Own;
}

ends! {
    KIND = "whyflow.kind", "kind", Own;
    NAMESPACE = "k8s.namespace.name", "namespace", Directed;
    POD = "k8s.pod.name", "name", Directed;
    NAME = "whyflow.name", "name", Own;
    WORKLOAD = "whyflow.workload", "aggregated_name", Own;
    OWNER_KIND = "whyflow.owner.kind", "owner.kind", Own;
    OWNER_NAME = "whyflow.owner.name", "owner.name", Own;
    SERVICE_ACCOUNT = "k8s.serviceaccount.name", "service_account", Directed;
    NODE = "k8s.node.name", "node", Directed;
    ZONE = "cloud.availability_zone", "zone", Directed;
    ADDRESS = "address", "addresses", Registry;
    PORT = "port", "port", Registry;
}

/// The metrics, in the order in which they are sent.
pub const METRICS: [Metric; 4] = [
    Metric { name: "whyflow.flow.bytes", unit: "By", description: "Bytes of flows" },
    Metric { name: "whyflow.flow.packets", unit: "{packet}", description: "Packets of flows" },
    Metric {
        name: "whyflow.flow.connections",
        unit: "{connection}",
        description: "Connections opened",
    },
    Metric {
        name: "whyflow.flow.denials",
        unit: "{connection}",
        description: "Connections opened that policies deny",
    },
];

/// The direction of bytes and packets, relative to the reporter.
pub const DIRECTION: &str = "network.io.direction";

/// What stands for all series beyond the limit.
pub const OVERFLOW: &str = "otel.metric.overflow";
