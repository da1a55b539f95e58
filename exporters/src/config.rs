//! What the spool and the exporters are told: settings as meant, with no choice left open. Units are
//! in the names; every limit has one.

mod kafka;

use std::path::PathBuf;
use std::time::Duration;

use lake::{Place, StoreOptions};

pub use kafka::{KafkaCompression, KafkaConfig, KafkaValue};

/// The spool: where closed windows wait until every exporter has delivered them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Folder of the spool. One daemon at a time uses it.
    pub dir: PathBuf,
    /// The most that the files of closed windows take together.
    pub disk_bytes_max: u64,
    /// How long a file stays after everybody has delivered it, in minutes of the data's own time:
    /// what the API shows again after a restart.
    pub keep_minutes: u32,
    /// Rows that are delivered and confirmed at once.
    pub chunk_rows: u32,
    /// The most rows that wait in memory while the disk does not take them.
    pub waiting_rows_max: u64,
    /// How many unreadable files are kept aside for inspection.
    pub aside_files_max: u32,
    /// The most that the rows take that one exporter's far side refused for good; the oldest go
    /// first, counted.
    pub refused_bytes_max: u64,
}

/// What happens when an exporter is too far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Its oldest rows are counted as dropped, and it goes on with newer ones.
    #[default]
    DropOldest,
    /// Nothing more is taken in until it has caught up. Only where every source can wait.
    Block,
}

/// Where an exporter delivers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkConfig {
    /// A lake of Parquet files.
    Parquet(ParquetConfig),
    /// Standard output: a table on a terminal, JSON lines otherwise.
    Stdout(StdoutConfig),
    /// An OTLP endpoint.
    Otlp(OtlpConfig),
    /// A Kafka topic.
    Kafka(KafkaConfig),
    /// A file of JSON lines.
    File(FileConfig),
    /// Counters on the daemon's own `/metrics`.
    Prometheus(PrometheusConfig),
}

/// A file of JSON lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// Where; older files have a number behind the name.
    pub path: PathBuf,
    /// Another one is begun at this size.
    pub roll_bytes: u64,
    /// How many older ones stay.
    pub keep: u32,
}

/// Flows as Prometheus counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusConfig {
    /// The most series that are kept apart.
    pub series_max: usize,
}

/// An OTLP endpoint, and what is sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Logs, metrics or traces.
    pub signal: OtlpSignal,
    /// gRPC or HTTP.
    pub protocol: OtlpProtocol,
    /// Where: for HTTP with the signal's path.
    pub endpoint: String,
    /// Sent with each request.
    pub headers: Vec<(String, String)>,
    /// Of requests.
    pub compression: OtlpCompression,
    /// How long a request may take.
    pub timeout: Duration,
    /// Whom to trust, and who this is.
    pub tls: OtlpTls,
    /// The most that a request may have before compression.
    pub request_bytes_max: usize,
    /// Of metrics.
    pub temporality: Temporality,
    /// The most series of metrics that are kept apart.
    pub series_max: usize,
}

/// What is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpSignal {
    /// A log record for each row.
    #[default]
    Logs,
    /// Sums by workload pair and policy.
    Metrics,
    /// A span for each connection.
    Traces,
}

/// How it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// HTTP with Protocol Buffers.
    #[default]
    Http,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpCompression {
    /// Not at all.
    None,
    /// gzip.
    #[default]
    Gzip,
    /// zstd.
    Zstd,
}

/// What points of metrics count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// The daemon's start.
    #[default]
    Cumulative,
    /// The window's.
    Delta,
}

/// Whom to trust, and who this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpTls {
    /// Authorities in PEM; nothing takes the machine's.
    pub ca_file: Option<PathBuf>,
    /// This side's certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The name that the far side's certificate must have; nothing takes the address's. gRPC only.
    pub server_name: Option<String>,
}

/// A lake of Parquet files, partitioned by date and hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParquetConfig {
    /// Where.
    pub place: Place,
    /// How an object store is reached.
    pub store: StoreOptions,
    /// Whose files they are, where more than this daemon writes to one lake; else the exporter's name.
    pub writer: Option<String>,
    /// What is larger is uploaded in parts of this size.
    pub part_bytes: usize,
    /// The longest that a row waits for its file to be finished.
    pub roll_seconds: u32,
    /// A file is finished when so many bytes wait in memory for it.
    pub roll_bytes: u64,
    /// Rows of a row group: what a reader skips or reads as a whole.
    pub row_group_rows: u32,
    /// Compression from 1 (fast) to 22 (small).
    pub zstd_level: u8,
    /// How large files of an hour become when they are compacted; 0 leaves them as they are.
    pub compact_bytes: u64,
    /// How long rows are kept, in the data's own time.
    pub keep: Option<Duration>,
    /// The most that the files take whose rows count; the oldest go first.
    pub keep_bytes: Option<u64>,
    /// How long a file stays whose rows are in another, for readers that have begun.
    pub linger: Duration,
}

/// Standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StdoutConfig {
    /// How rows look.
    pub format: Format,
}

/// How rows look on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A table on a terminal, JSON lines otherwise.
    #[default]
    Auto,
    /// A table.
    Table,
    /// One JSON object a line.
    Json,
}

/// How far behind the exporter of a cursor may be that is configured no more.
pub(crate) const BEHIND_BYTES_MAX: u64 = 512 << 20;

// === impl SpoolConfig ===

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            dir: "/var/lib/whyflow/spool".into(),
            disk_bytes_max: 1 << 30,
            keep_minutes: 60,
            chunk_rows: 8_192,
            waiting_rows_max: 200_000,
            aside_files_max: 16,
            refused_bytes_max: 64 << 20,
        }
    }
}

// === impl OtlpConfig ===

impl OtlpConfig {
    /// This signal to this endpoint, with the defaults for everything else.
    pub fn new(signal: OtlpSignal, protocol: OtlpProtocol, endpoint: impl Into<String>) -> Self {
        Self {
            signal,
            protocol,
            endpoint: endpoint.into(),
            headers: Vec::new(),
            compression: OtlpCompression::default(),
            timeout: Duration::from_secs(10),
            tls: OtlpTls::default(),
            request_bytes_max: 3 << 20,
            temporality: Temporality::default(),
            series_max: 10_000,
        }
    }
}

// === impl ParquetConfig ===

impl ParquetConfig {
    /// This folder, with the defaults for everything else.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::Folder(dir.into()),
            store: StoreOptions::default(),
            writer: None,
            part_bytes: 8 << 20,
            roll_seconds: 300,
            roll_bytes: 64 << 20,
            row_group_rows: 32_768,
            zstd_level: 3,
            compact_bytes: 128 << 20,
            keep: None,
            keep_bytes: None,
            linger: Duration::from_mins(1),
        }
    }
}
