//! The spool and the exporters behind it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use schemas::filter::Filter;
use serde::{Deserialize, Serialize};

use super::{Detail, Kafka, Otlp};

/// Closed windows on disk, written once, read by every exporter at its own pace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Where; nothing takes `spool` in the instance's part of `state_folder`.
    pub folder: Option<PathBuf>,
    /// The most disk space it takes; the oldest files go first, counted.
    #[schemars(range(min = 1))]
    pub disk_max_mib: u32,
    /// How long a file stays after every exporter has passed it, in the data's own time.
    pub keep_minutes: u32,
    /// Rows that are delivered and confirmed at once.
    #[schemars(range(min = 1))]
    pub chunk_rows: u32,
    /// Rows that wait in memory while the disk does not take them; the oldest go first, counted.
    #[schemars(range(min = 1))]
    pub waiting_rows_max: u32,
    /// Unreadable files that are kept aside for inspection.
    pub aside_files_max: u32,
    /// The most disk space that the rows take which one exporter's far side refused for good; the
    /// oldest go first, counted.
    #[schemars(range(min = 1))]
    pub refused_max_mib: u32,
}

/// One destination of flows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exporter {
    /// Parquet files in a folder or an object store. docs/parquet.md has the columns.
    Parquet(Parquet),
    /// This process's standard output.
    Stdout(Stdout),
    /// An OTLP endpoint, such as an OpenTelemetry Collector. docs/otlp.md has the names.
    Otlp(Otlp),
    /// A topic of Apache Kafka. docs/kafka.md says what is in it.
    Kafka(Kafka),
    /// A file of JSON lines, rolled at a size, for what ships logs.
    File(FileLines),
    /// Counters of the flows by workload pair and policy, on the daemon's own `/metrics`.
    Prometheus(Prometheus),
}

/// A file of JSON lines, as `docs/flow.md` describes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileLines {
    /// Where. Older files have a number behind the name, `.1` for the newest of them.
    pub path: PathBuf,
    /// Another file is begun at this size.
    #[serde(default = "file_roll_mib")]
    #[schemars(range(min = 1))]
    pub roll_mib: u32,
    /// How many older files stay.
    #[serde(default = "file_keep")]
    #[schemars(range(max = 1000))]
    pub keep: u32,
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

/// Counters of the flows. docs/prometheus.md has their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// The most series that are kept apart; what comes beyond it goes into one for all, counted.
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

/// Parquet files, partitioned by date and hour, compressed with zstd. A file under its final name
/// is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parquet {
    /// Where: a folder, or s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX. Several
    /// daemons may write to one prefix in a store.
    pub folder: String,
    /// How an object store is reached, beyond the standard variables of the environment.
    #[serde(default)]
    pub store: Store,
    /// A file is finished after this long.
    #[serde(default = "parquet_roll_seconds")]
    #[schemars(range(min = 1))]
    pub roll_seconds: u32,
    /// A file is finished at this size.
    #[serde(default = "parquet_roll_mib")]
    #[schemars(range(min = 1))]
    pub roll_mib: u32,
    /// Rows of a row group: what a reader skips or reads as a whole.
    #[serde(default = "row_group_rows")]
    #[schemars(range(min = 1))]
    pub row_group_rows: u32,
    /// Compression by zstd, from fast to small.
    #[serde(default = "zstd_level")]
    #[schemars(range(min = 1, max = 22))]
    pub zstd_level: u8,
    /// Small files of an hour become one of up to this size; 0 leaves them as they are.
    #[serde(default = "compact_mib")]
    #[schemars(range(max = 1024))]
    pub compact_mib: u32,
    /// Rows older than this go, in the data's own time; left out they stay.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub keep_hours: Option<u32>,
    /// The most that this exporter's files take, the oldest go first; left out there is no limit.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub keep_mib: Option<u32>,
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

/// How an object store is reached. Credentials come from the environment, as in `AWS_ACCESS_KEY_ID`,
/// `AZURE_STORAGE_ACCOUNT_KEY` or `GOOGLE_SERVICE_ACCOUNT`, or from `options`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The store's address, where it is not the cloud's own, as in http://127.0.0.1:9000.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Whether an address without TLS may be used.
    pub allow_http: bool,
    /// More options, by the names of object_store, as in `aws_virtual_hosted_style_request`. Values
    /// are never shown.
    pub options: BTreeMap<String, String>,
    /// Files larger than this are uploaded in parts of this size.
    #[schemars(range(min = 5, max = 1024))]
    pub part_mib: Option<u32>,
}

/// Standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stdout {
    /// How rows look.
    pub form: StdoutForm,
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

/// How rows look on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StdoutForm {
    /// A table on a terminal, JSON lines otherwise.
    #[default]
    Auto,
    /// A table.
    Table,
    /// JSON lines.
    Json,
}

/// What happens when an exporter falls too far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Its oldest files are skipped, counted.
    #[default]
    DropOldest,
    /// The whole graph waits; only where every source can wait.
    Block,
}

fn parquet_roll_seconds() -> u32 {
    300
}

fn parquet_roll_mib() -> u32 {
    64
}

fn row_group_rows() -> u32 {
    32_768
}

fn compact_mib() -> u32 {
    128
}

fn zstd_level() -> u8 {
    3
}

fn file_roll_mib() -> u32 {
    64
}

fn file_keep() -> u32 {
    5
}

pub(super) fn lag_max_mib() -> u32 {
    1_024
}

/// What every exporter has.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// Its kind, as the config names it.
    pub kind: &'static str,
    /// Only these flows.
    pub filter: &'a Filter,
    /// How fine its rows are.
    pub detail: Option<Detail>,
    /// Keys of the labels that its rows have.
    pub labels: Option<&'a [String]>,
    /// What happens when it falls too far behind.
    pub when_full: WhenFull,
    /// How far behind it may fall.
    pub lag_max_mib: u32,
}

// === impl Exporter ===

macro_rules! common {
    ($kind:literal, $it:expr) => {
        Common {
            kind: $kind,
            filter: &$it.filter,
            detail: $it.detail,
            labels: $it.labels.as_deref(),
            when_full: $it.when_full,
            lag_max_mib: $it.lag_max_mib,
        }
    };
}

impl Exporter {
    /// What it has in common with every other.
    pub fn common(&self) -> Common<'_> {
        match self {
            Self::Parquet(it) => common!("parquet", it),
            Self::Stdout(it) => common!("stdout", it),
            Self::Otlp(it) => common!("otlp", it),
            Self::Kafka(it) => common!("kafka", it),
            Self::File(it) => common!("file", it),
            Self::Prometheus(it) => common!("prometheus", it),
        }
    }
}

// === impl Store ===

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options.keys().collect();
        f.debug_struct("Store")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("allow_http", &self.allow_http)
            .field("options", &options)
            .finish_non_exhaustive()
    }
}

// === impl Spool ===

impl Default for Spool {
    fn default() -> Self {
        Self {
            folder: None,
            disk_max_mib: 2_048,
            keep_minutes: 60,
            chunk_rows: 8_192,
            waiting_rows_max: 200_000,
            aside_files_max: 16,
            refused_max_mib: 64,
        }
    }
}

// === impl Stdout ===

impl Default for Stdout {
    fn default() -> Self {
        let (form, when_full) = (StdoutForm::Auto, WhenFull::DropOldest);
        let (filter, detail, labels) = (Filter::default(), None, None);
        Self { form, filter, detail, labels, when_full, lag_max_mib: lag_max_mib() }
    }
}

// === impl Prometheus ===

impl Default for Prometheus {
    fn default() -> Self {
        let (filter, detail, labels) = (Filter::default(), None, None);
        let (series_max, when_full) = (10_000, WhenFull::DropOldest);
        Self { series_max, filter, detail, labels, when_full, lag_max_mib: lag_max_mib() }
    }
}
