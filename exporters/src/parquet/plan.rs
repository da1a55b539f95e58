//! What is about to be written, recorded before it is.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemas::UnixNanos;
use serde::{Deserialize, Serialize};

use super::{OWN_FOLDER, ParquetError};
use crate::exporter::Chunk;
use crate::files::Files;

/// Files of one spool, and the Parquet files that they become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The spool.
    pub(super) spool: Arc<str>,
    /// Its first file.
    pub(super) first: u64,
    /// Its last file.
    pub(super) last: u64,
    /// The Parquet files, relative to the folder.
    pub(super) paths: BTreeSet<String>,
}

// === impl Plan ===

impl Plan {
    /// For these chunks.
    pub(super) fn of(name: &str, first: &Chunk, last: &Chunk, held: &[Chunk]) -> Self {
        let spool = Arc::clone(&last.spool);
        let (first, last) = (first.position.file, last.position.file);
        let with_rows = held.iter().filter(|chunk| chunk.rows.num_rows() > 0);
        let hours: BTreeSet<String> =
            with_rows.map(|chunk| partition(chunk.header.window.start)).collect();
        let file = format!("{name}-{spool}-{first:012}-{last:012}.parquet");
        let paths = hours.iter().map(|hour| format!("{hour}/{file}")).collect();
        Self { spool, first, last, paths }
    }

    /// The plan that an earlier run recorded; it may have been carried out, in part or whole.
    pub(super) fn recorded(
        files: &Files,
        dir: &Path,
        name: &str,
    ) -> Result<Option<Self>, ParquetError> {
        let path = path(dir, name);
        match files.read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| ParquetError::Plan { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ParquetError::io("reading", &path)(error)),
        }
    }

    pub(super) fn record(&self, files: &Files, dir: &Path, name: &str) -> Result<(), ParquetError> {
        let path = path(dir, name);
        let record = serde_json::to_vec_pretty(self).map_err(io::Error::other);
        record
            .and_then(|text| files.publish(&path, &text))
            .map_err(ParquetError::io("recording what is about to be written in", &path))
    }

    /// Whether every file is in place.
    pub(super) fn is_done(&self, files: &Files, dir: &Path) -> Result<bool, ParquetError> {
        for path in &self.paths {
            let path = dir.join(path);
            if !files.exists(&path).map_err(ParquetError::io("looking for", &path))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The file of an hour.
    pub(super) fn path_of(&self, hour: &str) -> Option<&str> {
        let in_hour = |path: &&String| path.rsplit_once('/').is_some_and(|(dir, _)| dir == hour);
        self.paths.iter().find(in_hour).map(String::as_str)
    }
}

/// The folder of the hour that holds this instant.
pub(super) fn partition(at: UnixNanos) -> String {
    let text = at.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    let hour = time.get(..2).unwrap_or("00");
    format!("date={date}/hour={hour}")
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(OWN_FOLDER).join(format!("{name}.plan.json"))
}
