//! OTLP endpoints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use schemas::filter::Filter;
use serde::{Deserialize, Serialize};

use super::Detail;
use super::delivery::{WhenFull, lag_max_mib};

/// One signal to an OTLP endpoint. What is left out is taken from the environment, as
/// `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`, else from its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// What is sent. Each signal is an exporter of its own, so that none holds up another.
    pub signal: OtlpSignal,
    /// Where, as in `http://127.0.0.1:4318`; for HTTP the signal's path is added, as `/v1/logs`.
    /// `https` encrypts.
    pub endpoint: Option<String>,
    /// How.
    pub protocol: Option<OtlpProtocol>,
    /// Sent with each request.
    pub headers: BTreeMap<String, String>,
    /// Of requests.
    pub compression: Option<OtlpCompression>,
    /// How long a request may take.
    #[schemars(range(min = 1))]
    pub timeout_milliseconds: Option<u32>,
    /// Certificates of the authorities to trust, in PEM; else the machine's.
    pub ca_file: Option<PathBuf>,
    /// This side's certificate, in PEM, where the far side asks for one.
    pub certificate_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The most that a request has before compression; most receivers refuse more than 4 MiB.
    #[schemars(range(min = 16, max = 65_536))]
    pub request_max_kib: u32,
    /// Of metrics: what a point counts from.
    pub temporality: OtlpTemporality,
    /// Of metrics: series that are kept apart; more go into one, counted.
    #[schemars(range(min = 1))]
    pub series_max: u32,
    /// Only these flows: Whisker's `filters`; left out it takes all.
    pub filter: Filter,
    /// How fine its rows are, where that is coarser than `aggregate.detail`.
    pub detail: Option<Detail>,
    /// Keys of the labels that its rows have, as in `[app, "app.kubernetes.io/*"]`; left out they
    /// have all.
    pub labels: Option<Vec<String>>,
    /// What happens when this exporter falls too far behind.
    pub when_full: WhenFull,
    /// How far behind it may fall.
    #[schemars(range(min = 1))]
    pub lag_max_mib: u32,
}

/// What is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpSignal {
    /// A log record for each row.
    #[default]
    Logs,
    /// Bytes, packets, connections and denials by workload pair and policy.
    Metrics,
    /// A span for each connection; it takes `aggregate.detail: connection`.
    Traces,
}

/// How it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// HTTP with Protocol Buffers.
    #[serde(rename = "http/protobuf")]
    Http,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpCompression {
    /// Not at all.
    None,
    /// gzip, which every receiver reads.
    Gzip,
    /// zstd.
    Zstd,
}

/// What a point of a metric counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpTemporality {
    /// The daemon's start.
    #[default]
    Cumulative,
    /// The start of its window.
    Delta,
}

// === impl Otlp ===

impl Default for Otlp {
    fn default() -> Self {
        Self {
            signal: OtlpSignal::Logs,
            endpoint: None,
            protocol: None,
            headers: BTreeMap::new(),
            compression: None,
            timeout_milliseconds: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            request_max_kib: 3_072,
            temporality: OtlpTemporality::Cumulative,
            series_max: 10_000,
            filter: Filter::default(),
            detail: None,
            labels: None,
            when_full: WhenFull::DropOldest,
            lag_max_mib: lag_max_mib(),
        }
    }
}
