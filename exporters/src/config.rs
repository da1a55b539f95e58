//! What the spool and the exporters are told: settings as meant, with no choice left open. Units are
//! in the names; every limit has one.

use std::path::PathBuf;

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
    /// A folder of Parquet files.
    Parquet(ParquetConfig),
    /// Standard output: a table on a terminal, JSON lines otherwise.
    Stdout(StdoutConfig),
}

/// A folder of Parquet files, partitioned by date and hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParquetConfig {
    /// The folder.
    pub dir: PathBuf,
    /// The longest that a row waits for its file to be finished.
    pub roll_seconds: u32,
    /// A file is finished when so many bytes wait in memory for it.
    pub roll_bytes: u64,
    /// Rows of a row group: what a reader skips or reads as a whole.
    pub row_group_rows: u32,
    /// Compression from 1 (fast) to 22 (small).
    pub zstd_level: u8,
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

// === impl ParquetConfig ===

impl ParquetConfig {
    /// This folder, with the defaults for everything else.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            roll_seconds: 300,
            roll_bytes: 64 << 20,
            row_group_rows: 32_768,
            zstd_level: 3,
        }
    }
}
