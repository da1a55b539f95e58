//! Who answers questions in Goldmane's terms, however they are asked: from memory, and where a
//! question begins before that, from the Parquet folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemas::json::{FlowJson, Rereader};
use schemas::{UnixNanos, Window};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ask::{Range, RangeError, Scope};
use crate::memory::{Chunk, Recent};

/// What the time is: the wall clock, or a recording's.
pub type Clock = Arc<dyn Fn() -> UnixNanos + Send + Sync>;

/// Answers questions. Clones share what it knows.
#[derive(Clone)]
pub struct Asker {
    recent: Recent,
    clock: Clock,
    window: Duration,
    lake: Option<PathBuf>,
    rereader: Arc<Rereader>,
    streams: Arc<Semaphore>,
}

/// What an asker has beside the memory.
pub struct AskerConfig {
    /// What the time is.
    pub clock: Clock,
    /// How long a window is.
    pub window: Duration,
    /// The folder of Parquet files that the daemon writes, if it does.
    pub lake: Option<PathBuf>,
    /// For the lake's rows.
    pub rereader: Arc<Rereader>,
    /// Streams at the same time.
    pub streams: usize,
}

/// Rows, and from when on there are any.
pub(crate) struct Found {
    pub(crate) scope: Scope,
    /// The start of what is there, where the question began before that.
    pub(crate) only_from: Option<UnixNanos>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Range(#[from] RangeError),
    #[error("reading what is older than the memory")]
    Lake(#[from] history::HistoryError),
    #[error(
        "the range holds more than {LAKE_ROWS_MAX} rows that are older than the memory; ask for \
         less, or use `whyflow query`"
    )]
    TooMany,
}

/// Rows of the lake that one question may read.
const LAKE_ROWS_MAX: usize = 1_000_000;

// === impl Asker ===

impl Asker {
    /// Over this memory.
    #[must_use]
    pub fn new(recent: Recent, config: AskerConfig) -> Self {
        let AskerConfig { clock, window, lake, rereader, streams } = config;
        let streams = Arc::new(Semaphore::new(streams));
        Self { recent, clock, window, lake, rereader, streams }
    }

    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(crate) fn now(&self) -> UnixNanos {
        (self.clock)()
    }

    pub(crate) fn window(&self) -> Duration {
        self.window
    }

    /// Room for one more stream.
    pub(crate) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }

    /// The rows of a range. Reads the disk where the memory does not reach.
    pub(crate) fn find(&self, gte: i64, lt: i64) -> Result<Found, AskError> {
        let range = Range::new(gte, lt, self.now())?;
        let mut chunks = self.recent.snapshot().chunks;
        let oldest = chunks.iter().map(|chunk| chunk.window.start).min();
        let oldest = oldest.unwrap_or_else(|| self.now());
        let mut only_from = None;
        if gte != 0 && range.from < oldest {
            match self.older(range, oldest)? {
                Some(older) => chunks.extend(older),
                None => only_from = Some(oldest),
            }
        }
        Ok(Found { scope: Scope::new(chunks, |window| range.holds(window)), only_from })
    }

    /// Chunks of what is older; nothing where there is no lake.
    fn older(&self, range: Range, oldest: UnixNanos) -> Result<Option<Vec<Arc<Chunk>>>, AskError> {
        let Some(lake) = &self.lake else { return Ok(None) };
        if !lake.is_dir() {
            return Ok(None);
        }
        let to = Some(oldest.min(range.to));
        let query = history::Query { from: Some(range.from), to, ..history::Query::default() };
        let mut rows: Vec<FlowJson> = Vec::new();
        for row in history::Folder::open(lake)?.read(query)? {
            let row = row?;
            let window = Window { start: row.window_start, end: row.window_end };
            if range.holds(window) && window.end <= oldest {
                rows.push(row);
            }
            if rows.len() > LAKE_ROWS_MAX {
                return Err(AskError::TooMany);
            }
        }
        Ok(Some(self.recent.chunks_of(&self.rereader, rows)))
    }
}
