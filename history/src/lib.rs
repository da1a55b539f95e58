//! Flows of the past, from a lake of Parquet files: listing, filters, newest first; and SQL.
//!
//! The lake has the layout that the Parquet exporter writes, `date=YYYY-MM-DD/hour=HH/*.parquet`,
//! in a folder or an object store, and may be written to and compacted meanwhile: a file is whole as
//! soon as it has its name, and the manifests say which files' rows count. What is not asked
//! for is not read: hours by their folders' names, row groups by their statistics. At most the row
//! groups of one window are in memory.
//!
//! This crate refuses to know about the kernel and about the exporters: the files are the seam.

mod input;
mod partitions;
mod prune;
mod rows;

#[cfg(feature = "sql")]
pub mod sql;

use std::io;
use std::path::PathBuf;

use schemas::UnixNanos;
use schemas::columns::ColumnsError;
use schemas::filter::Filter;

pub use lake::{Lake, Place, StoreOptions};
pub use partitions::{Address, History, Partition};
pub use rows::Rows;

/// What is asked of a lake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which flows.
    pub filter: Filter,
    /// Only windows that end after this.
    pub from: Option<UnixNanos>,
    /// Only windows that start before this.
    pub to: Option<UnixNanos>,
    /// The most rows; all of them when nothing is said.
    pub limit: Option<usize>,
}

/// A lake or a file in it that cannot be read. Reading goes on with the next file.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The lake's folder or store, or its manifests.
    #[error("reading history")]
    Lake(#[from] lake::LakeError),
    /// The file system.
    #[error("reading history: {attempt} {path}", path = path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a Parquet file, or a damaged one.
    #[error("reading history: {path} is not a readable Parquet file", path = path.display())]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: parquet::errors::ParquetError,
    },
    /// A Parquet file with damage that its reader has no error for.
    #[error("reading history: {path} is damaged: {found}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the reader ran into.
        found: String,
    },
    /// A Parquet file with other columns.
    #[error("reading history: {path} does not hold flows", path = path.display())]
    Columns {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: ColumnsError,
    },
    /// A Parquet file of another version, or of somebody else.
    #[error(
        "reading history: {path} has schema '{found}', expected '{expected}'",
        path = path.display(), expected = schemas::columns::VERSION
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// What its metadata says; empty when it says nothing.
        found: String,
    },
}

// === impl HistoryError ===

impl HistoryError {
    /// Whether there is no lake.
    #[must_use]
    pub fn is_not_there(&self) -> bool {
        matches!(self, Self::Lake(error) if error.is_not_found())
    }

    pub(crate) fn io(
        attempt: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { attempt, path, source }
    }
}

#[cfg(test)]
mod tests;
