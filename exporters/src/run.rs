//! Drives one exporter: reads the spool by its cursor, delivers, tries again, confirms.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::exporter::{Chunk, ExportError, Exporter, Receipt};
use crate::metrics::Attempts;
use crate::spool::{ReadError, Reader, Spool};

/// How an exporter is driven.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Its name, by which its cursor is known.
    pub name: String,
    /// The wait after the first failure.
    pub retry_first: Duration,
    /// The longest wait.
    pub retry_most: Duration,
    /// Counters of attempts.
    pub attempts: Attempts,
}

/// What to do next. Choosing waits, applying does not look back.
enum Step {
    Deliver(Chunk),
    Finish,
    Stop,
}

/// The tokens that end a run: the first asks to deliver what is there and then stop, the second to
/// stop at once. What is not delivered then stays in the spool.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Nothing more will be added to the spool.
    pub drain: CancellationToken,
    /// There is no more time.
    pub stop: CancellationToken,
}

struct Run<E> {
    spool: Spool,
    exporter: E,
    settings: RunSettings,
    shutdown: Shutdown,
    reader: Option<Reader>,
    backoff: Backoff,
}

/// Delivers everything in the spool with this exporter until it is told to stop; the exporter comes
/// back with its work done.
pub async fn run<E: Exporter>(
    spool: Spool,
    exporter: E,
    settings: RunSettings,
    shutdown: Shutdown,
) -> E {
    let reader = Some(spool.reader(&settings.name));
    let backoff = Backoff::new(settings.retry_first, settings.retry_most);
    let mut run = Run { spool, exporter, settings, shutdown, reader, backoff };
    loop {
        match run.choose().await {
            Step::Deliver(chunk) => run.deliver(chunk).await,
            Step::Finish => run.finish().await,
            Step::Stop => break,
        }
    }
    if !run.shutdown.stop.is_cancelled() {
        run.finish().await;
    }
    run.exporter
}

// === impl RunSettings ===

impl RunSettings {
    /// With the usual waits and no registry.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            retry_first: Duration::from_millis(500),
            retry_most: Duration::from_mins(1),
            attempts: Attempts::default(),
        }
    }
}

// === impl Run ===

impl<E: Exporter> Run<E> {
    async fn choose(&mut self) -> Step {
        loop {
            // Asked before looking, so that what is added in between is not missed.
            let spool = self.spool.clone();
            let changed = spool.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.shutdown.stop.is_cancelled() {
                return Step::Stop;
            }
            if self.exporter.due().is_some_and(|due| due <= Instant::now()) {
                return Step::Finish;
            }
            match self.read().await {
                Ok(Some(chunk)) => return Step::Deliver(chunk),
                Ok(None) if self.shutdown.drain.is_cancelled() => return Step::Stop,
                Ok(None) => {}
                Err(error) => {
                    self.wait_after(&error, None).await;
                    continue;
                }
            }
            let due = self.exporter.due();
            tokio::select! {
                () = changed => {}
                () = self.shutdown.drain.cancelled() => {}
                () = self.shutdown.stop.cancelled() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Chunk>, ReadError> {
        let Some(mut reader) = self.reader.take() else { return Ok(None) };
        let task = tokio::task::spawn_blocking(move || {
            let chunk = reader.next_chunk();
            (reader, chunk)
        });
        match task.await {
            Ok((reader, chunk)) => {
                self.reader = Some(reader);
                chunk
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn deliver(&mut self, chunk: Chunk) {
        while !self.shutdown.stop.is_cancelled() {
            let result = tokio::select! {
                result = self.exporter.export(&chunk) => result,
                () = self.shutdown.stop.cancelled() => return,
            };
            match result {
                Ok(receipt) => return self.settle(receipt).await,
                Err(ExportError::Permanent { source }) => {
                    tracing::error!(exporter = self.settings.name, error = %source,
                        rows = chunk.tally.rows, "rows were refused for good");
                    return self.refuse(&chunk).await;
                }
                Err(error) => self.wait_after_export(error).await,
            }
        }
    }

    /// The rows of a chunk are given up. What the exporter holds before them is delivered first.
    async fn refuse(&mut self, chunk: &Chunk) {
        self.finish().await;
        let receipt = Receipt { refused: chunk.tally, ..Receipt::up_to(chunk.position) };
        self.settle(receipt).await;
    }

    async fn finish(&mut self) {
        while !self.shutdown.stop.is_cancelled() {
            let result = tokio::select! {
                result = self.exporter.finish() => result,
                () = self.shutdown.stop.cancelled() => return,
            };
            match result {
                Ok(receipt) => return self.settle(receipt).await,
                Err(error) => self.wait_after_export(error).await,
            }
        }
    }

    /// Stores what was delivered before anything else is: an exporter that counts on its place may
    /// rely on it.
    async fn settle(&mut self, receipt: Receipt) {
        let Receipt { confirmed: Some(position), refused } = receipt else { return };
        while !self.shutdown.stop.is_cancelled() {
            let (spool, name) = (self.spool.clone(), self.settings.name.clone());
            let confirm = move || spool.confirm(&name, position, refused);
            match tokio::task::spawn_blocking(confirm).await {
                Ok(Ok(())) => {
                    self.backoff.reset();
                    self.settings.attempts.succeeded();
                    return;
                }
                Ok(Err(error)) => self.wait_after(&error, None).await,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }

    async fn wait_after_export(&mut self, error: ExportError) {
        let retry_after = match &error {
            ExportError::Passing { retry_after, .. } => *retry_after,
            ExportError::Permanent { .. } => None,
        };
        self.wait_after(&error, retry_after).await;
    }

    async fn wait_after(
        &mut self,
        error: &(dyn std::error::Error + Sync),
        asked: Option<Duration>,
    ) {
        let wait = self.backoff.wait(asked);
        self.settings.attempts.failed();
        tracing::warn!(
            exporter = self.settings.name,
            kind = E::NAME,
            error = crate::spool::chain(error),
            ?wait,
            "it is tried again"
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.shutdown.stop.cancelled() => {}
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
