//! What an exporter is.

use std::error::Error;
use std::future::Future;
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

/// Rows of one file of the spool, delivered and confirmed together.
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

/// What became of chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Everything up to this place is delivered for good. `None` while the exporter holds it.
    pub confirmed: Option<Position>,
    /// Rows of what is confirmed that the far side refused for good.
    pub refused: Tally,
}

/// A delivery that failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It may succeed later.
    #[error("delivering rows, to be tried again")]
    Passing {
        /// What the far side asked to wait.
        retry_after: Option<Duration>,
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It never will: the chunk is counted as refused. Only from an exporter that holds nothing
    /// before it.
    #[error("delivering rows, refused for good")]
    Permanent {
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Delivers chunks, in the order of the spool. It waits, may fail, and says which failures are
/// worth another try. It may hold chunks and confirm them later.
pub trait Exporter: Send + 'static {
    /// What it is called in logs.
    const NAME: &'static str;

    /// Delivers a chunk, or takes it in to deliver it later. After an error the same chunk comes
    /// again: an exporter that fails has not taken it in.
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
}

// === impl Receipt ===

impl Receipt {
    /// Everything up to this place is delivered.
    #[must_use]
    pub fn up_to(position: Position) -> Self {
        Self { confirmed: Some(position), refused: Tally::default() }
    }

    /// The exporter holds it.
    #[must_use]
    pub fn held() -> Self {
        Self::default()
    }
}

// === impl ExportError ===

impl ExportError {
    /// A failure that may pass.
    pub fn passing(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Passing { retry_after: None, source: source.into() }
    }
}
