//! What an exporter is.

use std::error::Error;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::time::Instant;

use crate::spool::Header;
use crate::tally::Tally;

/// A place in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file's number.
    pub file: u64,
    /// The chunk in it, from 0.
    pub chunk: u32,
}

/// Rows of one file of the spool, delivered and confirmed together. After a part of them was
/// delivered or refused, the rest comes as a chunk of the same position with fewer rows.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The spool that they are from.
    pub spool: Arc<str>,
    /// Where they are in it.
    pub position: Position,
    /// Nothing of the same file follows.
    pub is_last: bool,
    /// What their file says of itself.
    pub header: Arc<Header>,
    /// The rows, in the stored layout of [`schemas::columns`].
    pub rows: RecordBatch,
    /// What they count.
    pub tally: Tally,
}

/// What became of rows that an exporter was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Rows of the chunk, from its first, that need not come again; the rest comes next.
    pub taken: usize,
    /// Everything up to this place is delivered for good. `None` while the exporter holds it.
    pub confirmed: Option<Position>,
    /// Rows among those that were taken which the far side refused for what they are. They are set
    /// aside with the reason.
    pub refused: Vec<Refusal>,
    /// Rows among those that were taken which the far side says it threw away, without saying which
    /// ones: they are counted and never sent again.
    pub rejected: u64,
}

/// Rows that the far side will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the chunk's rows.
    pub rows: Range<usize>,
    /// What the far side said.
    pub reason: String,
}

/// A delivery that failed. Nothing of the rows that it is about was taken.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It may succeed later: the network, a restart, too much load.
    #[error("delivering rows, to be tried again")]
    Passing {
        /// What the far side asked to wait.
        retry_after: Option<Duration>,
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The far side refuses whatever it is sent: credentials, an address, a topic that is not there.
    /// No row is at fault, so none is set aside; it is tried again at the longest wait until somebody
    /// puts it right, and the exporter's limit says what happens meanwhile.
    #[error("delivering rows, which nothing but another configuration will change")]
    Denied {
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The far side refuses the chunk's first `rows` rows for what they are, and never takes them
    /// together. They are cut in halves until only those that it refuses alone are left, which are
    /// set aside. Only from an exporter that holds nothing of them.
    #[error("delivering rows, refused for good")]
    Refused {
        /// How many, from the chunk's first; at least one.
        rows: usize,
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Delivers chunks, in the order of the spool. It waits, may fail, and says which failures are
/// worth another try. It may hold chunks and confirm them later.
pub trait Exporter: Send + 'static {
    /// What it is called in logs.
    const NAME: &'static str;

    /// Delivers rows from the chunk's first on, as many as go in one request, or takes all in to
    /// deliver them later. After an error the same rows come again: an exporter that fails has taken
    /// none in.
    fn export(
        &mut self,
        chunk: &Chunk,
    ) -> impl Future<Output = Result<Receipt, ExportError>> + Send;

    /// When what it holds should be delivered even if nothing more comes.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Delivers what it holds.
    fn finish(&mut self) -> impl Future<Output = Result<Receipt, ExportError>> + Send {
        async { Ok(Receipt::default()) }
    }

    /// When it has something to tidy up where it delivers to.
    fn chore_due(&self) -> Option<Instant> {
        None
    }

    /// Tidies up a bit. Everything that was confirmed so far is stored as such. It says itself what
    /// fails: no row waits for it.
    fn chore(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

// === impl Chunk ===

impl Chunk {
    /// These of its rows, as a chunk of their own.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        if rows == (0..self.rows.num_rows()) {
            return self.clone();
        }
        let is_last = self.is_last && rows.end == self.rows.num_rows();
        let rows = self.rows.slice(rows.start, rows.len());
        let tally = Tally::of_columns(&rows);
        Self { is_last, rows, tally, ..self.clone() }
    }
}

// === impl Receipt ===

impl Receipt {
    /// The whole chunk is delivered.
    #[must_use]
    pub fn delivered(chunk: &Chunk) -> Self {
        let taken = chunk.rows.num_rows();
        Self { taken, confirmed: Some(chunk.position), ..Self::default() }
    }

    /// So many of its rows are, from the first.
    #[must_use]
    pub fn delivered_rows(chunk: &Chunk, taken: usize) -> Self {
        Self { taken, ..Self::delivered(chunk) }
    }

    /// The exporter holds the whole chunk.
    #[must_use]
    pub fn held(chunk: &Chunk) -> Self {
        Self { confirmed: None, ..Self::delivered(chunk) }
    }

    /// Everything that the exporter held up to this place is delivered.
    #[must_use]
    pub fn up_to(confirmed: Option<Position>) -> Self {
        Self { confirmed, ..Self::default() }
    }
}

// === impl ExportError ===

impl ExportError {
    /// A failure that may pass.
    pub fn passing(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Passing { retry_after: None, source: source.into() }
    }
}
