//! A lake of Parquet files: `date=YYYY-MM-DD/hour=HH/NAME-SPOOL-FIRST-LAST.parquet` in a folder or an
//! object store.
//!
//! Rows wait in memory, and in the spool, until enough of them or enough time make a file; then the
//! files of the spool from FIRST to LAST become one Parquet file in each hour that they touch.
//! What is about to be written is recorded first (`_whyflow/`), and a name says exactly which rows
//! are in its file: after a kill the same names are made again, one that is already there counts as
//! delivered, and no row is in two files. No file has its final name before it is whole.

mod compact;
mod keeper;
mod plan;
mod shape;
mod store;
mod write;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::ParquetConfig;
use crate::exporter::{Chunk, ExportError, Exporter, Position, Receipt};
use crate::files::Files;
use crate::metrics::LakeCounters;

use keeper::Keeper;
use plan::Plan;
use store::Store;

/// Delivers to a lake of Parquet files.
#[derive(Debug)]
pub struct ParquetLake {
    config: Arc<ParquetConfig>,
    store: Store,
    /// Whose files they are: several may write to one lake.
    writer: Arc<str>,
    counters: LakeCounters,
    /// What is known of the lake; nothing before a store has answered.
    keeper: Option<Keeper>,
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
    /// The store of the lake, or what stands in it.
    #[error("writing Parquet files")]
    Lake(#[from] lake::LakeError),
    /// A file that the manifest names is not there.
    #[error("writing Parquet files: {path} is gone; somebody else removed it")]
    Gone {
        /// Which.
        path: String,
    },
    /// Files that do not go into one.
    #[error("compacting Parquet files: they have different columns")]
    Unlike,
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

// === impl ParquetLake ===

impl ParquetLake {
    /// Opens a folder, or makes it; what was half-written is removed. An object store is asked at
    /// the first delivery: one that is away keeps nobody else from starting.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or holds a plan that cannot be read; when the
    /// settings do not make a store.
    pub fn open(
        name: impl Into<Arc<str>>,
        config: ParquetConfig,
        counters: LakeCounters,
    ) -> Result<Self, ParquetError> {
        let store = Store::open(Files::default(), &config)?;
        Self::open_with(store, name.into(), config, counters)
    }

    fn open_with(
        store: Store,
        name: Arc<str>,
        config: ParquetConfig,
        counters: LakeCounters,
    ) -> Result<Self, ParquetError> {
        let writer = config.writer.as_deref().map_or(name, Arc::from);
        let mut lake = Self {
            config: Arc::new(config),
            store,
            writer,
            counters,
            keeper: None,
            plan: None,
            held: Vec::new(),
            held_bytes: 0,
            held_since: None,
        };
        if !lake.store.is_remote() {
            let (plan, keeper) = lake.look()()?;
            (lake.plan, lake.keeper) = (plan, Some(keeper));
        }
        Ok(lake)
    }

    /// What looks into the lake, on a thread that may wait.
    fn look(&self) -> impl FnOnce() -> Result<(Option<Plan>, Keeper), ParquetError> + Send + use<> {
        let (store, writer) = (self.store.clone(), Arc::clone(&self.writer));
        let (config, counters) = (Arc::clone(&self.config), self.counters.clone());
        move || {
            store.sweep(&writer)?;
            let plan = Plan::recorded(&store, &writer)?;
            let mut keeper = Keeper::open(&store, &writer, counters)?;
            keeper.look(&config);
            Ok((plan, keeper))
        }
    }

    /// What is known of the lake; the first time it is asked.
    async fn keeper(&mut self) -> Result<Keeper, ParquetError> {
        if let Some(keeper) = &self.keeper {
            return Ok(keeper.clone());
        }
        let (plan, keeper) = blocking(self.look()).await?;
        self.plan = plan;
        Ok(self.keeper.insert(keeper).clone())
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
            None => Plan::of(&self.writer, first, last, &self.held),
        };
        let mut keeper = self.keeper().await?;
        self.plan = Some(plan.clone());
        let (store, config, held) =
            (self.store.clone(), Arc::clone(&self.config), std::mem::take(&mut self.held));
        let writer = Arc::clone(&self.writer);
        let (held, result) = blocking(move || {
            let mut write = || {
                plan.record(&store, &writer)?;
                let known = (&*writer, &keeper.manifest);
                let written = write::all(&store, &config, known, &plan, &held)?;
                keeper.add(&store, &writer, written)?;
                keeper.look(&config);
                Ok(keeper.clone())
            };
            let result = write();
            (held, result)
        })
        .await;
        match result {
            Ok(keeper) => self.keeper = Some(keeper),
            Err(error) => {
                self.held = held;
                return Err(error);
            }
        }
        self.plan = None;
        self.held_bytes = 0;
        self.held_since = None;
        Ok(Some(position))
    }

    /// Rows that an earlier run has already made files of, all of them in place.
    async fn is_delivered(&mut self) -> Result<bool, ParquetError> {
        let keeper = self.keeper().await?;
        let Some(plan) = self.plan.clone() else { return Ok(false) };
        let store = self.store.clone();
        blocking(move || plan.is_done(&store, &keeper.manifest)).await
    }
}

/// The file of these rows of one hour, in memory: for measuring what a row costs.
///
/// # Errors
/// When the rows do not go into a file.
pub fn file_of(config: &ParquetConfig, chunks: &[Chunk]) -> Result<Vec<u8>, ParquetError> {
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Ok(Vec::new()) };
    let plan = Plan::of("bench", first, last, chunks);
    write::write(Vec::new(), config, &plan, &chunks.iter().collect::<Vec<_>>())
}

/// Work that waits, on a thread for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Exporter for ParquetLake {
    const NAME: &'static str = "parquet";

    async fn export(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        if self.keeper.is_none() {
            self.keeper().await.map_err(failed)?;
        }
        if self.is_planned(chunk) {
            if self.held.is_empty() && self.is_delivered().await.map_err(failed)? {
                return Ok(Receipt::delivered(chunk));
            }
        } else if self.plan.is_some() {
            // The plan's last files are gone from the spool: what is left of it comes first.
            self.roll().await.map_err(failed)?;
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
                Err(failed(error))
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
        let confirmed = self.roll().await.map_err(failed)?;
        Ok(Receipt::up_to(confirmed))
    }

    fn chore_due(&self) -> Option<Instant> {
        // What is planned and compacted meanwhile is found again by the manifest and the names.
        self.keeper.as_ref().and_then(Keeper::due)
    }

    async fn chore(&mut self) {
        let Some(mut keeper) = self.keeper.clone() else { return };
        let (store, config) = (self.store.clone(), Arc::clone(&self.config));
        let writer = Arc::clone(&self.writer);
        let work = spawn_blocking(move || {
            keeper.work(&store, &config, &writer);
            keeper
        });
        match (work.await, &mut self.keeper) {
            (Ok(keeper), known) => *known = Some(keeper),
            // A damaged file may break its reader; what is written goes on.
            (Err(error), Some(keeper)) => {
                tracing::error!(%error, "tidying the lake stopped in the middle");
                keeper.failed();
            }
            (Err(_), None) => {}
        }
    }
}

/// Whether it is worth another try soon.
fn failed(error: ParquetError) -> ExportError {
    match error {
        ParquetError::Lake(error) if error.is_denied() => {
            ExportError::Denied { source: error.into() }
        }
        error => ExportError::passing(error),
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

    fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Lake(error) => error.is_not_found(),
            _ => false,
        }
    }

    /// Whether it is the files' fault, not the disk's or the store's.
    fn is_of_the_files(&self) -> bool {
        match self {
            Self::Parquet(error) => !matches!(error, ::parquet::errors::ParquetError::External(_)),
            Self::Unlike | Self::Columns(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
