//! Who answers questions in Goldmane's terms, however they are asked: from memory, and where a
//! question begins before that, from the lake.

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
    lake: Option<history::Address>,
    rereader: Arc<Rereader>,
    streams: Arc<Semaphore>,
}

/// What an asker has beside the memory.
pub struct AskerConfig {
    /// What the time is.
    pub clock: Clock,
    /// How long a window is.
    pub window: Duration,
    /// The lake that the daemon writes, if it does.
    pub lake: Option<history::Address>,
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

    /// The rows of a range as Goldmane's clients say it. Reads the disk where the memory does not
    /// reach.
    pub(crate) fn find(&self, gte: i64, lt: i64) -> Result<Found, AskError> {
        let range = Range::new(gte, lt, self.now())?;
        let from = (gte != 0).then_some(range.from);
        self.rows(from, range.to, |window| range.holds(window))
    }

    /// The rows of windows that overlap a time, which begins with the memory where nothing is said.
    pub(crate) fn overlapping(
        &self,
        from: Option<UnixNanos>,
        to: Option<UnixNanos>,
    ) -> Result<Found, AskError> {
        let is_in = |window: Window| {
            from.is_none_or(|from| window.end > from) && to.is_none_or(|to| window.start < to)
        };
        self.rows(from, to.unwrap_or(UnixNanos::MAX), is_in)
    }

    fn rows(
        &self,
        from: Option<UnixNanos>,
        to: UnixNanos,
        is_in: impl Fn(Window) -> bool,
    ) -> Result<Found, AskError> {
        let snapshot = self.recent.snapshot();
        let oldest = snapshot.oldest(self.now());
        let (mut chunks, mut only_from) = (snapshot.chunks, None);
        if let Some(from) = from {
            only_from = self.reach(&mut chunks, oldest, (from, to), &is_in)?;
        }
        Ok(Found { scope: Scope::new(chunks, is_in), only_from })
    }

    /// Adds what is older than `oldest`, from when on the memory has everything, to chunks of it; or
    /// says from when on there is something.
    pub(crate) fn reach(
        &self,
        chunks: &mut Vec<Arc<Chunk>>,
        oldest: UnixNanos,
        (from, to): (UnixNanos, UnixNanos),
        is_in: impl Fn(Window) -> bool,
    ) -> Result<Option<UnixNanos>, AskError> {
        if from >= oldest {
            return Ok(None);
        }
        let Some(folder) = self.folder()? else { return Ok(Some(oldest)) };
        // Windows of which the memory has forgotten rows are the lake's.
        chunks.retain(|chunk| chunk.window.start >= oldest);
        let (from, to) = (Some(from), Some(oldest.min(to)));
        let query = history::Query { from, to, ..history::Query::default() };
        let mut rows: Vec<FlowJson> = Vec::new();
        for row in folder.read(query)? {
            let row = row?;
            let window = Window { start: row.window_start, end: row.window_end };
            if is_in(window) && window.end <= oldest {
                rows.push(row);
            }
            if rows.len() > LAKE_ROWS_MAX {
                return Err(AskError::TooMany);
            }
        }
        chunks.extend(self.recent.chunks_of(&self.rereader, rows));
        Ok(None)
    }

    /// The Parquet files; nothing where there is no lake, or nothing was written yet.
    pub(crate) fn folder(&self) -> Result<Option<history::History>, AskError> {
        let Some(lake) = &self.lake else { return Ok(None) };
        match history::History::open(lake) {
            Ok(lake) => Ok(Some(lake)),
            Err(error) if error.is_not_there() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
