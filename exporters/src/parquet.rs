//! A folder of Parquet files: `date=YYYY-MM-DD/hour=HH/NAME-SPOOL-FIRST-LAST.parquet`.
//!
//! Rows wait in memory, and in the spool, until enough of them or enough time make a file; then the
//! files of the spool from FIRST to LAST become one Parquet file in each hour that they touch.
//! What is about to be written is recorded first (`_whyflow/`), and a name says exactly which rows
//! are in its file: after a kill the same names are made again, one that is already there counts as
//! delivered, and no row is in two files. No file has its final name before it is whole.

mod plan;
mod write;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use tokio::time::Instant;

use crate::config::ParquetConfig;
use crate::exporter::{Chunk, ExportError, Exporter, Position, Receipt};
use crate::files::{Files, TEMPORARY};

use plan::Plan;

/// Where plans and half-written files are; readers of the folder pass over names with `_`.
pub(crate) const OWN_FOLDER: &str = "_whyflow";

/// Delivers to a folder of Parquet files.
#[derive(Debug)]
pub struct ParquetFolder {
    config: Arc<ParquetConfig>,
    files: Files,
    /// The exporter's name: several may share a folder.
    name: Arc<str>,
    /// What was recorded before writing and is not confirmed yet.
    plan: Option<Plan>,
    /// Chunks that wait for their file, in order.
    held: Vec<Chunk>,
    held_bytes: u64,
    held_since: Option<Instant>,
}

/// A Parquet file that was not written.
#[derive(Debug, thiserror::Error)]
pub enum ParquetError {
    /// The folder or a file in it.
    #[error("writing Parquet files: {attempt} {path}", path = path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Rows do not go into columns.
    #[error("writing Parquet files: making columns")]
    Columns(#[from] schemas::columns::ColumnsError),
    /// The Parquet library refused.
    #[error("writing Parquet files")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    /// The recorded plan is not one.
    #[error(
        "writing Parquet files: {path} is not a plan of this program; if it is damaged, remove it: \
         rows of the file that was being written may then be in two files", path = path.display()
    )]
    Plan {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

// === impl ParquetFolder ===

impl ParquetFolder {
    /// Opens a folder, or makes it; what was half-written is removed.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or holds a plan that cannot be read.
    pub fn open(name: impl Into<Arc<str>>, config: ParquetConfig) -> Result<Self, ParquetError> {
        Self::open_with(Files::default(), name.into(), config)
    }

    pub(crate) fn open_with(
        files: Files,
        name: Arc<str>,
        config: ParquetConfig,
    ) -> Result<Self, ParquetError> {
        let own = config.dir.join(OWN_FOLDER);
        files.create_dirs(&own).map_err(ParquetError::io("making", &own))?;
        let ours = format!("{name}-");
        for listed in files.list(&own).map_err(ParquetError::io("listing", &own))? {
            if listed.name.starts_with(&ours) && listed.name.ends_with(TEMPORARY) {
                let path = own.join(&listed.name);
                files
                    .remove(&path)
                    .map_err(ParquetError::io("removing the half-written", &path))?;
            }
        }
        let plan = Plan::recorded(&files, &config.dir, &name)?;
        let config = Arc::new(config);
        Ok(Self { config, files, name, plan, held: Vec::new(), held_bytes: 0, held_since: None })
    }

    /// Whether the plan of an earlier run covers this chunk.
    fn is_planned(&self, chunk: &Chunk) -> bool {
        self.plan
            .as_ref()
            .is_some_and(|plan| *plan.spool == *chunk.spool && chunk.position.file <= plan.last)
    }

    fn hold(&mut self, chunk: &Chunk) {
        self.held_since.get_or_insert_with(Instant::now);
        self.held_bytes += bytes_of(chunk, self.held.last());
        self.held.push(chunk.clone());
    }

    /// Forgets the last chunk: it comes again.
    fn let_go(&mut self) {
        if let Some(chunk) = self.held.pop() {
            self.held_bytes -= bytes_of(&chunk, self.held.last());
        }
        if self.held.is_empty() {
            self.held_since = None;
        }
    }

    /// Whether what is held ends where a file of the spool ends, and where the plan ends if there
    /// is one: only then may it become files.
    fn is_complete(&self) -> bool {
        let Some(last) = self.held.last().filter(|chunk| chunk.is_last) else { return false };
        self.plan
            .as_ref()
            .is_none_or(|plan| *plan.spool != *last.spool || last.position.file >= plan.last)
    }

    fn is_enough(&self) -> bool {
        let planned = self.held.last().is_some_and(|chunk| self.is_planned(chunk));
        planned || self.held_bytes >= self.config.roll_bytes || self.is_time()
    }

    fn is_time(&self) -> bool {
        self.due_at().is_some_and(|due| due <= Instant::now())
    }

    fn due_at(&self) -> Option<Instant> {
        let wait = Duration::from_secs(self.config.roll_seconds.into());
        self.held_since.map(|since| since + wait)
    }

    /// What is held becomes files. When this returns they are there for good.
    async fn roll(&mut self) -> Result<Option<Position>, ParquetError> {
        let (Some(first), Some(last)) = (self.held.first(), self.held.last()) else {
            return Ok(None);
        };
        let position = last.position;
        let plan = match self.plan.clone().filter(|plan| *plan.spool == *last.spool) {
            Some(plan) => plan,
            None => Plan::of(&self.name, first, last, &self.held),
        };
        self.plan = Some(plan.clone());
        let (files, config, held) =
            (self.files.clone(), Arc::clone(&self.config), std::mem::take(&mut self.held));
        let name = Arc::clone(&self.name);
        let task = tokio::task::spawn_blocking(move || {
            let result = plan
                .record(&files, &config.dir, &name)
                .and_then(|()| write::all(&files, &config, &name, &plan, &held));
            (held, result)
        });
        let (held, result) = match task.await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if let Err(error) = result {
            self.held = held;
            return Err(error);
        }
        self.plan = None;
        self.held_bytes = 0;
        self.held_since = None;
        Ok(Some(position))
    }

    /// Rows that an earlier run has already made files of, all of them in place.
    fn is_delivered(&self) -> Result<bool, ParquetError> {
        self.plan.as_ref().map_or(Ok(false), |plan| plan.is_done(&self.files, &self.config.dir))
    }
}

impl Exporter for ParquetFolder {
    const NAME: &'static str = "parquet";

    async fn export(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        if self.is_planned(chunk) {
            if self.held.is_empty() && self.is_delivered().map_err(ExportError::passing)? {
                return Ok(Receipt::delivered(chunk));
            }
        } else if self.plan.is_some() {
            // The plan's last files are gone from the spool: what is left of it comes first.
            self.roll().await.map_err(ExportError::passing)?;
            self.plan = None;
        }
        self.hold(chunk);
        if !self.is_complete() || !self.is_enough() {
            return Ok(Receipt::held(chunk));
        }
        match self.roll().await {
            Ok(confirmed) => Ok(Receipt { confirmed, ..Receipt::held(chunk) }),
            Err(error) => {
                self.let_go();
                Err(ExportError::passing(error))
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        if self.is_complete() { self.due_at() } else { None }
    }

    async fn finish(&mut self) -> Result<Receipt, ExportError> {
        if !self.is_complete() {
            return Ok(Receipt::default());
        }
        let confirmed = self.roll().await.map_err(ExportError::passing)?;
        Ok(Receipt::up_to(confirmed))
    }
}

/// What a chunk takes in memory beside the one before it: chunks of one file share its
/// dictionaries.
fn bytes_of(chunk: &Chunk, before: Option<&Chunk>) -> u64 {
    let shares = before.is_some_and(|before| before.position.file == chunk.position.file);
    let columns = chunk.rows.columns().iter();
    let bytes = columns.map(|column| match column.as_any_dictionary_opt() {
        Some(dictionary) if shares => dictionary.keys().get_array_memory_size(),
        _ => column.get_array_memory_size(),
    });
    bytes.sum::<usize>() as u64
}

// === impl ParquetError ===

impl ParquetError {
    fn io(attempt: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { attempt, path, source }
    }
}

#[cfg(test)]
mod tests;
