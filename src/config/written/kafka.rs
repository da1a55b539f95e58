//! Kafka topics.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use schemas::filter::Filter;
use serde::{Deserialize, Serialize};

use super::Detail;
use super::delivery::{WhenFull, lag_max_mib};

/// A topic of Apache Kafka. The producer is idempotent and waits for all replicas; both reports of a
/// connection have one key and so one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to begin with, as in `127.0.0.1:9092` or `a:9092,b:9092`.
    pub brokers: String,
    /// The topic, which must be there unless the brokers make it.
    pub topic: String,
    /// What a message is.
    #[serde(default)]
    pub value: KafkaValue,
    /// Puts Confluent's Schema Registry framing with this id before each value; not for `arrow`.
    #[serde(default)]
    pub schema_id: Option<u32>,
    /// Of what the brokers store.
    #[serde(default)]
    pub compression: KafkaCompression,
    /// How long the brokers may be silent before that counts as a failure; what was sent is waited for
    /// all the same.
    #[serde(default = "timeout_milliseconds")]
    #[schemars(range(min = 100, max = 600_000))]
    pub timeout_milliseconds: u32,
    /// The most memory of messages that wait to be sent.
    #[serde(default = "queue_max_mib")]
    #[schemars(range(min = 1, max = 2_047))]
    pub queue_max_mib: u32,
    /// librdkafka's own settings, as `security.protocol` or `sasl.username`.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// The same, each with a file that holds the value, as `sasl.password: /run/secrets/kafka`. The files
    /// are read again after a failure.
    #[serde(default)]
    pub property_files: BTreeMap<String, PathBuf>,
    /// Only these flows: Whisker's `filters`; left out it takes all.
    #[serde(default)]
    pub filter: Filter,
    /// How fine its rows are, where that is coarser than `aggregate.detail`.
    #[serde(default)]
    pub detail: Option<Detail>,
    /// Keys of the labels that its rows have, as in `[app, "app.kubernetes.io/*"]`; left out they
    /// have all.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
    /// What happens when this exporter falls too far behind.
    #[serde(default)]
    pub when_full: WhenFull,
    /// How far behind it may fall.
    #[serde(default = "lag_max_mib")]
    #[schemars(range(min = 1))]
    pub lag_max_mib: u32,
}

/// What a message's value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaValue {
    /// A row as JSON; docs/flow.md has the fields.
    #[default]
    Json,
    /// A row as a message of schemas/proto/flow.proto.
    Protobuf,
    /// The rows of a partition as an Arrow IPC stream.
    Arrow,
}

/// How batches of messages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaCompression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// zstd.
    #[default]
    Zstd,
}

fn timeout_milliseconds() -> u32 {
    10_000
}

fn queue_max_mib() -> u32 {
    64
}
