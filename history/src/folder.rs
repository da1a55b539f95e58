//! The folder's hours, newest first, and the files of each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemas::UnixNanos;
use schemas::json::parse_rfc3339;

use crate::rows::Rows;
use crate::{HistoryError, Query};

/// A folder of Parquet files.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
}

/// The files of one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Where they are.
    pub dir: PathBuf,
    /// When the hour begins; `None` for files that are in no hour's folder.
    pub hour: Option<UnixNanos>,
}

/// A row is in the folder of the hour in which its window starts, and no window is longer.
const LONGEST_WINDOW: Duration = Duration::from_hours(1);

const HOUR: Duration = Duration::from_hours(1);

// === impl Folder ===

impl Folder {
    /// Opens a folder that is there.
    ///
    /// # Errors
    /// When it is not a folder, or cannot be listed.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, HistoryError> {
        let dir = dir.into();
        fs::read_dir(&dir).map_err(HistoryError::io("opening", &dir))?;
        Ok(Self { dir })
    }

    /// Its hours that a question is about, newest first; files outside any hour come first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn partitions(&self, query: &Query) -> Result<Vec<Partition>, HistoryError> {
        let mut partitions = vec![Partition { dir: self.dir.clone(), hour: None }];
        for (date, date_dir) in subfolders(&self.dir, "date=")? {
            for (hour, dir) in subfolders(&date_dir, "hour=")? {
                let begins = parse_rfc3339(&format!("{date}T{hour}:00:00Z"));
                partitions.push(Partition { dir, hour: begins });
            }
        }
        partitions.retain(|partition| partition.may_hold(query));
        let newest_first = |one: &Partition, other: &Partition| match (one.hour, other.hour) {
            (Some(one), Some(other)) => other.cmp(&one),
            (one, other) => one.cmp(&other),
        };
        partitions.sort_by(newest_first);
        Ok(partitions)
    }

    /// The rows that are asked for, newest window first, each once.
    ///
    /// # Errors
    /// When the folder cannot be listed. A file that cannot be read is an error among the rows.
    pub fn read(&self, query: Query) -> Result<Rows, HistoryError> {
        Ok(Rows::new(self.partitions(&query)?, query))
    }
}

// === impl Partition ===

impl Partition {
    fn may_hold(&self, query: &Query) -> bool {
        let Some(hour) = self.hour else { return true };
        let ends = hour.after(HOUR).after(LONGEST_WINDOW);
        query.from.is_none_or(|from| ends > from) && query.to.is_none_or(|to| hour < to)
    }

    /// Its Parquet files, by name. Names that begin with `_` or `.` are somebody's own.
    ///
    /// # Errors
    /// When the folder cannot be listed. One that is gone is empty: old hours are removed.
    pub fn files(&self) -> Result<Vec<PathBuf>, HistoryError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(HistoryError::io("listing", &self.dir)(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(HistoryError::io("listing", &self.dir))?.path();
            let is_parquet = path.extension().is_some_and(|extension| extension == "parquet");
            if is_parquet && !is_own(&path) && path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

fn is_own(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("_");
    name.starts_with(['_', '.'])
}

/// Subfolders of this prefix, with what follows it.
fn subfolders(dir: &Path, prefix: &str) -> Result<Vec<(String, PathBuf)>, HistoryError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(HistoryError::io("listing", dir))? {
        let path = entry.map_err(HistoryError::io("listing", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(value) = name.strip_prefix(prefix).filter(|_| path.is_dir()) {
            found.push((value.to_owned(), path.clone()));
        }
    }
    Ok(found)
}
