//! A Kafka topic as meant.

use std::path::PathBuf;
use std::time::Duration;

/// A Kafka topic, and what is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Where to begin: `host:port` behind commas.
    pub brokers: String,
    /// The topic. It must be there, or be made by the brokers when it is first asked for.
    pub topic: String,
    /// What a message is.
    pub value: KafkaValue,
    /// Stands before each value as Confluent's Schema Registry has it. Not for Arrow.
    pub schema_id: Option<u32>,
    /// Of what the brokers store.
    pub compression: KafkaCompression,
    /// How long the brokers may be silent about what was sent before that counts as a failure. What was
    /// sent is not forgotten then: it is waited for again.
    pub timeout: Duration,
    /// The most that waits in librdkafka.
    pub queue_bytes_max: usize,
    /// librdkafka's own settings.
    pub properties: Vec<(String, String)>,
    /// The same, with files that hold the values.
    pub property_files: Vec<(String, PathBuf)>,
}

/// What a message's value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KafkaValue {
    /// One row as JSON.
    #[default]
    Json,
    /// One row as a message of `schemas/proto/flow.proto`.
    Protobuf,
    /// Rows of one partition as an Arrow IPC stream.
    Arrow,
}

/// How batches of messages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

// === impl KafkaConfig ===

impl KafkaConfig {
    /// This topic of these brokers, with the defaults for everything else.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: topic.into(),
            value: KafkaValue::default(),
            schema_id: None,
            compression: KafkaCompression::default(),
            timeout: Duration::from_secs(10),
            queue_bytes_max: 64 << 20,
            properties: Vec::new(),
            property_files: Vec::new(),
        }
    }
}

// === impl KafkaValue ===

impl KafkaValue {
    /// For the header `content-type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

// === impl KafkaCompression ===

impl KafkaCompression {
    /// librdkafka's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}
