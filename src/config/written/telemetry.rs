//! What the daemon tells of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The daemon's own log, spans of its deliveries and the metrics of `/metrics`, over OTLP by gRPC. What is
/// left out here is taken from `OTEL_EXPORTER_OTLP_*`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where, as in `http://127.0.0.1:4317`; one that begins with `https` encrypts. Left out it is
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, else this machine's Collector.
    pub endpoint: Option<String>,
    /// Sends the log, at its level.
    pub logs: bool,
    /// Sends a span for each attempt to deliver.
    pub traces: bool,
    /// Sends what `/metrics` has.
    pub metrics: bool,
    /// How often metrics are sent.
    #[schemars(range(min = 1))]
    pub metrics_seconds: u32,
}

// === impl Telemetry ===

impl Default for Telemetry {
    fn default() -> Self {
        Self { endpoint: None, logs: true, traces: true, metrics: true, metrics_seconds: 15 }
    }
}
