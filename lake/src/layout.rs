//! Where files are, and what their names say.

use std::fmt;
use std::time::Duration;

use schemas::UnixNanos;
use schemas::json::parse_rfc3339;

/// Where a writer's own notes are; readers of partitioned folders pass over names with `_`.
pub const OWN_FOLDER: &str = "_whyflow";

/// What the files of a lake end with.
pub const EXTENSION: &str = ".parquet";

/// What comes before that in the name of a file that was made of others.
const COMPACTED: &str = "-c";

/// How long a partition is.
pub const HOUR: Duration = Duration::from_hours(1);

/// What a file's name says: whose it is, and which files of which spool are in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// The writer.
    pub writer: String,
    /// The spool that the rows are from.
    pub spool: String,
    /// Its first file.
    pub first: u64,
    /// Its last file.
    pub last: u64,
    /// Made of others that it stands for.
    pub is_compacted: bool,
}

/// The folder of the hour that holds this instant.
#[must_use]
pub fn partition(at: UnixNanos) -> String {
    let text = at.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    let hour = time.get(..2).unwrap_or("00");
    format!("date={date}/hour={hour}")
}

/// When the hour begins in whose folder a path is.
#[must_use]
pub fn hour_of(path: &str) -> Option<UnixNanos> {
    let mut parts = path.split('/');
    let date = parts.next()?.strip_prefix("date=")?;
    let hour = parts.next()?.strip_prefix("hour=")?;
    parse_rfc3339(&format!("{date}T{hour}:00:00Z"))
}

/// The last instant of the hour that begins here.
#[must_use]
pub fn last_of(hour: UnixNanos) -> UnixNanos {
    UnixNanos(hour.after(HOUR).0.saturating_sub(1))
}

/// When the day begins that a folder `date=…` is of.
#[must_use]
pub fn date_of(folder: &str) -> Option<UnixNanos> {
    parse_rfc3339(&format!("{}T00:00:00Z", folder.strip_prefix("date=")?))
}

/// Whether a path names a file of rows: not somebody's own notes.
#[must_use]
pub fn is_data(path: &str) -> bool {
    path.ends_with(EXTENSION) && !path.split('/').any(|part| part.starts_with(['_', '.']))
}

/// Where a writer's manifest is.
#[must_use]
pub fn manifest_path(writer: &str) -> String {
    format!("{OWN_FOLDER}/{writer}{MANIFEST_EXTENSION}")
}

/// What manifests end with.
pub const MANIFEST_EXTENSION: &str = ".manifest.json";

/// Where a writer records what it is about to write of a spool.
#[must_use]
pub fn plan_path(writer: &str) -> String {
    format!("{OWN_FOLDER}/{writer}.plan.json")
}

// === impl FileName ===

impl FileName {
    /// What the name at the end of a path says; nothing for a file of somebody else.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_suffix(EXTENSION)?;
        let (name, is_compacted) = match name.strip_suffix(COMPACTED) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (name, last) = name.rsplit_once('-')?;
        let (name, first) = name.rsplit_once('-')?;
        let (writer, spool) = name.rsplit_once('-')?;
        let number = |digits: &str| {
            let is_number = digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { digits.parse::<u64>().ok() } else { None }
        };
        let (first, last) = (number(first)?, number(last)?);
        let (writer, spool) = (writer.to_owned(), spool.to_owned());
        (first <= last).then_some(Self { writer, spool, first, last, is_compacted })
    }

    /// Whether this file, in the same hour, holds the rows of the other.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let is_wider = (self.first, self.last) != (other.first, other.last) || !other.is_compacted;
        let is_around = self.first <= other.first && other.last <= self.last;
        let is_same = self.writer == other.writer && self.spool == other.spool;
        self.is_compacted && is_same && is_around && is_wider
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer, spool, first, last, is_compacted } = self;
        let compacted = if *is_compacted { COMPACTED } else { "" };
        write!(f, "{writer}-{spool}-{first:012}-{last:012}{compacted}{EXTENSION}")
    }
}
