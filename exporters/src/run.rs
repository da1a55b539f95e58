//! Drives one exporter: reads the spool by its cursor, delivers, tries again, sets aside what is
//! refused, confirms.

mod parts;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::exporter::{Chunk, ExportError, Exporter, Position};
use crate::metrics::Attempts;
use crate::spool::{Dropped, ReadError, Reader, Spool, reason};
use crate::tally::Tally;
use crate::view::View;
use parts::Parts;

/// How an exporter is driven.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Its name, by which its cursor is known.
    pub name: String,
    /// The wait after the first failure.
    pub retry_first: Duration,
    /// The longest wait.
    pub retry_most: Duration,
    /// How it sees the rows.
    pub view: View,
    /// Counters of attempts.
    pub attempts: Attempts,
}

/// What to do next. Choosing waits, applying does not look back.
enum Step {
    Deliver(Seen),
    Finish,
    Chore,
    Stop,
}

/// A chunk as the exporter sees it, and what its view leaves out.
struct Seen {
    chunk: Chunk,
    dropped: Dropped,
    /// Why nothing of it can be seen.
    unreadable: Option<String>,
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
    /// What of chunks that the exporter holds is not delivered, until they are confirmed.
    dropped: VecDeque<(Position, Dropped)>,
}

/// How often rows that somebody wants to be tried again are looked for.
const AGAIN_EVERY: Duration = Duration::from_secs(5);

/// The longest that a far side may ask to wait: a mistaken hint must not stop an exporter for good.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

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
    let dropped = VecDeque::new();
    let mut run = Run { spool, exporter, settings, shutdown, reader, backoff, dropped };
    run.take_again(true).await;
    loop {
        match run.choose().await {
            Step::Deliver(seen) => run.deliver(seen).await,
            Step::Finish => drop(run.finish().await),
            Step::Chore => run.exporter.chore().await,
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
            view: View::default(),
            attempts: Attempts::default(),
        }
    }
}

// === impl Seen ===

impl Seen {
    fn through(view: &View, chunk: Chunk) -> Self {
        match view.apply(chunk.clone()) {
            Ok((chunk, dropped)) => Self { chunk, dropped, unreadable: None },
            Err(error) => {
                let unreadable = Some(crate::spool::chain(&error));
                Self { chunk, dropped: Dropped::default(), unreadable }
            }
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
            // Who is asked to end does not tidy up first.
            let is_ending = self.shutdown.drain.is_cancelled();
            let chore_due = self.exporter.chore_due().filter(|_| !is_ending);
            if chore_due.is_some_and(|due| due <= Instant::now()) {
                return Step::Chore;
            }
            match self.read().await {
                Ok(Some(seen)) => return Step::Deliver(seen),
                Ok(None) if self.shutdown.drain.is_cancelled() => return Step::Stop,
                Ok(None) => {}
                Err(error) => {
                    self.wait_after(&error, None).await;
                    continue;
                }
            }
            let due = [self.exporter.due(), chore_due].into_iter().flatten().min();
            tokio::select! {
                () = changed => {}
                () = self.shutdown.drain.cancelled() => {}
                () = self.shutdown.stop.cancelled() => {}
                () = sleep_until(due) => {}
                () = tokio::time::sleep(AGAIN_EVERY) => self.take_again(false).await,
            }
        }
    }

    /// Takes rows that were set aside and that somebody wants to be tried again.
    async fn take_again(&mut self, begins: bool) {
        let (spool, name) = (self.spool.clone(), self.settings.name.clone());
        let take = move || {
            if begins { spool.sweep_refused(&name) } else { spool.take_again(&name) }
        };
        match tokio::task::spawn_blocking(take).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                exporter = self.settings.name,
                error = crate::spool::chain(&error),
                "rows that were set aside cannot be taken again yet"
            ),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn read(&mut self) -> Result<Option<Seen>, ReadError> {
        let Some(mut reader) = self.reader.take() else { return Ok(None) };
        let view = self.settings.view.clone();
        let task = tokio::task::spawn_blocking(move || {
            let chunk = reader.next_chunk();
            (reader, chunk.map(|chunk| chunk.map(|chunk| Seen::through(&view, chunk))))
        });
        match task.await {
            Ok((reader, chunk)) => {
                self.reader = Some(reader);
                chunk
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Delivers a chunk, in as many parts as it takes, and confirms it as a whole.
    async fn deliver(&mut self, seen: Seen) {
        let Seen { chunk, dropped, unreadable } = seen;
        let position = chunk.position;
        let mut parts = Parts::of(chunk);
        if let Some(reason) = unreadable {
            if !self.finish().await {
                return;
            }
            parts.refuse_all(&reason);
        }
        let mut confirmed = Some(position);
        while let Some(part) = parts.next() {
            if self.shutdown.stop.is_cancelled() {
                return;
            }
            let span = tracing::info_span!(
                "deliver",
                exporter = self.settings.name,
                kind = E::NAME,
                file = position.file,
                chunk = position.chunk,
                rows = part.rows.num_rows(),
                error = tracing::field::Empty,
            );
            let result = self.exporter.export(&part).instrument(span.clone()).await;
            if let Err(error) = &result {
                span.record("error", crate::spool::chain(error));
            }
            match result {
                Ok(receipt) => {
                    self.backoff.reset();
                    confirmed = receipt.confirmed;
                    parts.took(receipt.taken, receipt.refused, receipt.rejected);
                }
                Err(ExportError::Refused { rows, source }) => {
                    // What it holds is of earlier chunks: that is not refused.
                    if !self.finish().await {
                        return;
                    }
                    confirmed = Some(position);
                    parts.were_refused(rows, &crate::spool::chain(&*source));
                }
                Err(error) => self.wait_after_export(error).await,
            }
        }
        if self.set_aside(parts, dropped).await
            && let Some(confirmed) = confirmed
        {
            self.settle(confirmed).await;
        }
    }

    /// Stores the refused rows of a chunk with their reasons, and counts them when it is confirmed.
    /// False when there is no time left.
    async fn set_aside(&mut self, parts: Parts, mut dropped: Dropped) -> bool {
        let (chunk, refused, rejected) = parts.done();
        dropped.add(reason::REJECTED, Tally { rows: rejected, ..Tally::default() });
        let position = chunk.position;
        if let Some(first) = refused.first() {
            let rows: usize = refused.iter().map(|refusal| refusal.rows.len()).sum();
            tracing::error!(
                exporter = self.settings.name,
                rows,
                reason = first.reason,
                "rows were refused for good and are set aside: see `whyflow spool`"
            );
            let (spool, name) = (self.spool.clone(), self.settings.name.clone());
            let store = move || spool.set_aside_rows(&name, &chunk, &refused);
            match self.until_stored(store).await {
                Some(tally) => dropped.add(reason::REFUSED, tally),
                None => return false,
            }
        }
        if !dropped.is_empty() {
            self.dropped.push_back((position, dropped));
        }
        true
    }

    /// Delivers what the exporter holds; false when there is no time left.
    async fn finish(&mut self) -> bool {
        while !self.shutdown.stop.is_cancelled() {
            let result = self.exporter.finish().await;
            match result {
                Ok(receipt) => {
                    return match receipt.confirmed {
                        Some(position) => self.settle(position).await,
                        None => true,
                    };
                }
                Err(error) => self.wait_after_export(error).await,
            }
        }
        false
    }

    /// Stores what was delivered before anything else is: an exporter that counts on its place may
    /// rely on it. False when there is no time left.
    async fn settle(&mut self, position: Position) -> bool {
        let mut dropped = Dropped::default();
        while let Some((_, part)) = self.dropped.pop_front_if(|(at, _)| *at <= position) {
            dropped.extend(&part);
        }
        let (spool, name) = (self.spool.clone(), self.settings.name.clone());
        let confirm = move || spool.confirm(&name, position, dropped.clone());
        let is_stored = self.until_stored(confirm).await.is_some();
        if is_stored {
            self.backoff.reset();
            self.settings.attempts.succeeded();
            self.spool.note_failure(&self.settings.name, None);
        }
        is_stored
    }

    /// Does something with the disk until it succeeds; `None` when there is no time left.
    async fn until_stored<T, F>(&mut self, store: F) -> Option<T>
    where
        T: Send + 'static,
        F: Fn() -> Result<T, ReadError> + Clone + Send + 'static,
    {
        while !self.shutdown.stop.is_cancelled() {
            match tokio::task::spawn_blocking(store.clone()).await {
                Ok(Ok(stored)) => return Some(stored),
                Ok(Err(error)) => self.wait_after(&error, None).await,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        None
    }

    async fn wait_after_export(&mut self, error: ExportError) {
        let asked = match &error {
            ExportError::Passing { retry_after, .. } => {
                retry_after.map(|asked| asked.min(RETRY_AFTER_MAX))
            }
            ExportError::Denied { .. } => Some(self.settings.retry_most),
            ExportError::Refused { .. } => None,
        };
        self.wait_after(&error, asked).await;
    }

    async fn wait_after(
        &mut self,
        error: &(dyn std::error::Error + Sync),
        asked: Option<Duration>,
    ) {
        let wait = self.backoff.wait(asked);
        self.settings.attempts.failed();
        let why = crate::spool::chain(error);
        self.spool.note_failure(&self.settings.name, Some(why.clone()));
        tracing::warn!(
            exporter = self.settings.name,
            kind = E::NAME,
            error = why,
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
