//! A stream of rows as they come, for one reader who may be slow.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::answer::{Dictionary, Row, asked, asked_of, json_line};
use crate::feed::{Event, What};
use crate::metrics::Metrics;
use crate::query::Query;

/// A reader's place in what comes.
#[derive(Debug)]
pub(crate) struct Follower {
    query: Query,
    words: Arc<Dictionary>,
    metrics: Metrics,
    /// Rows of the past that go out first, oldest first.
    past: VecDeque<Row>,
    /// Updates up to this one are in the past.
    sequence: u64,
    events: broadcast::Receiver<Event>,
    /// Rows that the feed had sent when this reader had read everything.
    rows_read: Option<u64>,
    /// Held for as long as this reader is there.
    _permit: OwnedSemaphorePermit,
}

/// The line that stands where rows are missing.
#[derive(Debug, Serialize)]
struct GapLine {
    gap: Gap,
}

#[derive(Debug, Serialize)]
struct Gap {
    /// Rows before any filter.
    rows: u64,
    /// `slow_reader`: this reader was behind; `graph`: the API was.
    reason: &'static str,
}

/// Lines of one chunk, at most.
const CHUNK_ROWS: usize = 256;

// === impl Follower ===

impl Follower {
    pub(crate) fn new(
        query: Query,
        words: Arc<Dictionary>,
        metrics: Metrics,
        past: Vec<Row>,
        (sequence, events): (u64, broadcast::Receiver<Event>),
        permit: OwnedSemaphorePermit,
    ) -> Self {
        metrics.followers.inc();
        let past = past.into_iter().rev().collect();
        let rows_read = None;
        Self { query, words, metrics, past, sequence, events, rows_read, _permit: permit }
    }

    /// Chunks of lines, until the feed ends.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        futures::stream::unfold(self, |mut follower| async {
            let chunk = follower.next().await?;
            Some((Ok(chunk), follower))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if !self.past.is_empty() {
            let chunk = self.past.len().min(CHUNK_ROWS);
            let lines = self.past.drain(..chunk).map(|row| row.line(&self.words));
            return Some(lines.collect::<String>().into());
        }
        loop {
            let lines = match self.events.recv().await {
                Ok(event) => self.lines(&event),
                // What was missed is known by the next event.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return None,
            };
            if !lines.is_empty() {
                return Some(lines.into());
            }
        }
    }

    /// The lines of one event, with a mark before it where rows were missed.
    fn lines(&mut self, event: &Event) -> String {
        let mut lines = String::new();
        if event.sequence <= self.sequence && !matches!(event.what, What::Gap(_)) {
            return lines;
        }
        let missed = event.rows_before.saturating_sub(self.rows_read.unwrap_or(event.rows_before));
        if missed > 0 {
            self.metrics.dropped("slow_reader", missed);
            lines += &gap(missed, "slow_reader");
        }
        let rows = match &event.what {
            What::Opened(rows) => {
                let open = rows.iter().filter(|row| self.query.open && asked(&self.query, row));
                lines.extend(open.map(|row| Row::Open(Arc::clone(row)).line(&self.words)));
                rows.len() as u64
            }
            What::Closed(chunk) => {
                lines.extend(asked_of(&self.query, chunk).map(|row| row.line(&self.words)));
                chunk.len() as u64
            }
            What::Gap(rows) => {
                lines += &gap(*rows, "graph");
                *rows
            }
        };
        self.rows_read = Some(event.rows_before + rows);
        lines
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.metrics.followers.dec();
    }
}

fn gap(rows: u64, reason: &'static str) -> String {
    json_line(&GapLine { gap: Gap { rows, reason } })
}
