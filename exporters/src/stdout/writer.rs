//! The exporter to a stream, on a thread of its own.

use std::io::{self, Write};

use schemas::columns;
use schemas::json::FlowJson;
use tokio::sync::{mpsc, oneshot};

use super::Stdout;
use crate::exporter::{Chunk, ExportError, Exporter, Receipt};

/// Writes chunks on a thread of its own: who does not read a pipe holds up this exporter and
/// nothing else, also when the process ends.
#[derive(Debug)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// Rows to write, and whom to tell.
struct Job {
    rows: Vec<FlowJson>,
    written: oneshot::Sender<io::Result<()>>,
}

/// The thread is gone: it panicked.
#[derive(Debug, thiserror::Error)]
#[error("the thread that writes rows has ended")]
struct Ended;

// === impl Writer ===

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<W: Write + Send + 'static>(mut to: Stdout<W>) -> io::Result<Self> {
        let (jobs, mut asked) = mpsc::channel::<Job>(1);
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            while let Some(Job { rows, written }) = asked.blocking_recv() {
                let result = to.write(&rows);
                // Who asked may have given up waiting.
                drop(written.send(result));
            }
        })?;
        Ok(Self { jobs })
    }
}

impl Exporter for Writer {
    const NAME: &'static str = "stdout";

    async fn export(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        let rows = columns::read(&chunk.rows).map_err(ExportError::passing)?;
        let (written, done) = oneshot::channel();
        self.jobs
            .send(Job { rows, written })
            .await
            .map_err(|_ended| ExportError::passing(Ended))?;
        let result = done.await.map_err(|_ended| ExportError::passing(Ended))?;
        result.map_err(ExportError::passing)?;
        Ok(Receipt::delivered(chunk))
    }
}
