//! From the graph into the spool: the branch that waits.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{Stream, StreamExt};
use schemas::{Closed, Update};
use tokio::time::Instant;

use super::{AppendError, Spool};
use crate::backoff::Backoff;
use crate::tally::Tally;

/// Windows on their way to the disk. What cannot be written waits in memory up to a limit; beyond
/// it the oldest is counted as lost. While an exporter blocks, nothing more is taken in.
#[derive(Debug)]
pub struct Intake {
    spool: Spool,
    queue: VecDeque<Closed>,
    waiting: Tally,
    stored: Tally,
    lost: Tally,
}

/// What became of everything that came out of the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Written.
    pub stored: Tally,
    /// Given up.
    pub lost: Tally,
}

/// What the intake does next.
enum Next {
    Took(Option<Update>),
    TryAgain,
}

// === impl Intake ===

impl Intake {
    /// Into this spool.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        let [waiting, stored, lost] = [Tally::default(); 3];
        Self { spool, queue: VecDeque::new(), waiting, stored, lost }
    }

    /// Stores every window of the stream; when it has ended, goes on trying for `patience` to store
    /// what is left.
    pub async fn run<S>(mut self, mut updates: S, patience: Duration) -> Taken
    where
        S: Stream<Item = Update> + Unpin,
    {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut result = Ok(());
        while let Some(next) = self.next(&mut updates, &result, &mut backoff).await {
            if let Next::Took(Some(Update::Closed(closed))) = next {
                self.push(closed);
            }
            (self, result) = self.flush_blocking().await;
        }
        let until = Instant::now() + patience;
        while result.is_err() && Instant::now() < until {
            tokio::time::sleep_until(until.min(Instant::now() + backoff.wait(None))).await;
            (self, result) = self.flush_blocking().await;
        }
        self.give_up(usize::MAX);
        Taken { stored: self.stored, lost: self.lost }
    }

    /// `None` when the stream has ended.
    async fn next<S>(
        &self,
        updates: &mut S,
        last: &Result<(), AppendError>,
        backoff: &mut Backoff,
    ) -> Option<Next>
    where
        S: Stream<Item = Update> + Unpin,
    {
        let Err(error) = last else {
            backoff.reset();
            return updates.next().await.map(|update| Next::Took(Some(update)));
        };
        let wait = backoff.wait(None);
        if matches!(error, AppendError::Blocked { .. }) {
            tokio::select! {
                () = self.spool.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            return Some(Next::TryAgain);
        }
        tokio::select! {
            update = updates.next() => update.map(|update| Next::Took(Some(update))),
            () = tokio::time::sleep(wait) => Some(Next::TryAgain),
        }
    }

    /// Takes in a window, without storing it yet.
    pub fn push(&mut self, closed: Closed) {
        self.waiting += Tally::of(&closed.rows);
        self.queue.push_back(closed);
        let limit = self.spool.shared.config.waiting_rows_max;
        while self.waiting.rows > limit && self.queue.len() > 1 {
            self.give_up(1);
        }
    }

    /// Stores what waits, oldest first. What can never be stored is counted as lost.
    ///
    /// # Errors
    /// Why the rest still waits.
    pub fn flush(&mut self) -> Result<(), AppendError> {
        let mut result = Ok(());
        while let Some(closed) = self.queue.front() {
            match self.spool.append(closed) {
                Ok(()) => {
                    let tally = Tally::of(&closed.rows);
                    self.queue.pop_front();
                    self.stored += tally;
                    self.waiting = self.waiting - tally;
                }
                Err(AppendError::Encode(error)) => {
                    tracing::error!(%error, "a window cannot be written and is lost");
                    self.give_up(1);
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let failing = match &result {
            Ok(()) | Err(AppendError::Blocked { .. }) => None,
            Err(error) => Some(chain(error)),
        };
        self.spool.note(self.waiting, failing);
        result
    }

    async fn flush_blocking(mut self) -> (Self, Result<(), AppendError>) {
        let task = tokio::task::spawn_blocking(move || {
            let result = self.flush();
            (self, result)
        });
        match task.await {
            Ok(back) => back,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Counts the oldest of what waits as lost.
    fn give_up(&mut self, windows: usize) {
        for closed in self.queue.drain(..windows.min(self.queue.len())) {
            let tally = Tally::of(&closed.rows);
            self.waiting = self.waiting - tally;
            self.lost += tally;
            self.spool.note_lost(tally);
        }
        let failing = self.spool.ready().err();
        self.spool.note(self.waiting, failing);
    }
}

/// An error with all that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
