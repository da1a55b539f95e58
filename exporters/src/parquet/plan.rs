//! What is about to be written, recorded before it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use lake::layout::{FileName, partition, plan_path};
use lake::{Manifest, manifest};
use serde::{Deserialize, Serialize};

use super::ParquetError;
use super::store::Store;
use crate::exporter::Chunk;

/// Files of one spool, and the Parquet files that they become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The spool.
    pub(super) spool: Arc<str>,
    /// Its first file.
    pub(super) first: u64,
    /// Its last file.
    pub(super) last: u64,
    /// The Parquet files, relative to the lake.
    pub(super) paths: BTreeSet<String>,
}

// === impl Plan ===

impl Plan {
    /// For these chunks.
    pub(super) fn of(writer: &str, first: &Chunk, last: &Chunk, held: &[Chunk]) -> Self {
        let spool = Arc::clone(&last.spool);
        let (first, last) = (first.position.file, last.position.file);
        let with_rows = held.iter().filter(|chunk| chunk.rows.num_rows() > 0);
        let hours: BTreeSet<String> =
            with_rows.map(|chunk| partition(chunk.header.window.start)).collect();
        let (writer, in_name) = (writer.to_owned(), spool.to_string());
        let file = FileName { writer, spool: in_name, first, last, is_compacted: false };
        let paths = hours.iter().map(|hour| format!("{hour}/{file}")).collect();
        Self { spool, first, last, paths }
    }

    /// The plan that an earlier run recorded; it may have been carried out, in part or whole.
    pub(super) fn recorded(store: &Store, writer: &str) -> Result<Option<Self>, ParquetError> {
        let path = plan_path(writer);
        let Some(bytes) = store.read(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| ParquetError::Plan { path: path.into(), source })
    }

    pub(super) fn record(&self, store: &Store, writer: &str) -> Result<(), ParquetError> {
        let path = plan_path(writer);
        let record = serde_json::to_vec_pretty(self);
        store.put(
            &path,
            record.map_err(|source| ParquetError::Plan { path: path.clone().into(), source })?,
        )
    }

    /// Whether every file is in place, or its rows are in one that was made of it.
    pub(super) fn is_done(&self, store: &Store, manifest: &Manifest) -> Result<bool, ParquetError> {
        for path in &self.paths {
            if !is_there(path, manifest) && store.size(path)?.is_none() {
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

/// Whether the manifest knows where the rows of a file are, or were.
pub(super) fn is_there(path: &str, known: &Manifest) -> bool {
    let is_named = known.files.contains_key(path) || known.replaced.contains(path);
    let all = || known.files.keys().map(String::as_str).chain([path]);
    is_named || manifest::covered(all()).contains(path)
}
