//! The one writer: updates go into memory and to everyone who follows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use schemas::json::{FlowJson, Rereader};
use schemas::{Closed, Flow, RowId, UnixNanos, Update};
use tokio::sync::broadcast;

use crate::memory::{Bucket, Chunk, Limits, Recent, by_window};
use crate::metrics::Metrics;

/// Takes updates in, and ends every follower's stream when it is dropped.
#[derive(Debug)]
pub struct Feed {
    recent: Recent,
    metrics: Metrics,
    sender: broadcast::Sender<Event>,
    buckets: broadcast::Sender<Arc<Bucket>>,
    /// Rows sent to followers ever: how a follower knows what it missed.
    rows_sent: u64,
    restored: Restored,
}

/// What was read back from the disk, so that a recording that is played again counts once.
#[derive(Debug, Default)]
struct Restored {
    ids: HashSet<RowId>,
    /// The end of the newest window of them.
    until: UnixNanos,
}

/// What followers get.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    /// Rows sent before this one.
    pub(crate) rows_before: u64,
    pub(crate) what: What,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Opened(Arc<[Arc<Flow>]>),
    Closed(Arc<Chunk>),
    /// Rows that the graph could not hand over in time.
    Gap(u64),
}

/// A feed, and what its readers see.
#[must_use]
pub fn feed(limits: Limits, metrics: Metrics) -> (Feed, Recent) {
    let (sender, _) = broadcast::channel(limits.follower_updates.max(1));
    let (buckets, _) = broadcast::channel(limits.follower_updates.max(1));
    let (events, weak_buckets) = (sender.downgrade(), buckets.downgrade());
    let recent = Recent::new(limits, metrics.clone(), events, weak_buckets);
    let restored = Restored::default();
    (Feed { recent: recent.clone(), metrics, sender, buckets, rows_sent: 0, restored }, recent)
}

// === impl Feed ===

impl Feed {
    /// Takes in rows that were stored before this process began: they are listed, not followed.
    pub fn restore(&mut self, rereader: &Rereader, rows: Vec<FlowJson>) {
        let restored = &mut self.restored;
        let rows = rows.into_iter().filter(|row| restored.ids.insert(row.id)).collect();
        for ((window, lane), rows) in by_window(rereader, rows) {
            restored.until = restored.until.max(window.end);
            let lane = Arc::new(lane);
            let closed = Closed { lane, window, rows, is_last: false, ledger: None };
            self.recent.state.write().restore(closed);
        }
    }

    /// Takes in what left the graph. Never waits for a reader.
    pub fn apply(&mut self, mut update: Update) {
        if let Update::Closed(closed) = &mut update {
            self.restored.leave_out(closed, self.recent.limits().age);
        }
        let mut state = self.recent.state.write();
        let (sequence, rows, what) = match update {
            Update::Opened(rows) => {
                let (sequence, rows) = state.open(rows);
                (sequence, rows.len(), What::Opened(rows))
            }
            Update::Closed(closed) => {
                let (chunk, settled) = state.close(closed);
                // Under the lock: who begins to stream has what is settled either from memory or
                // from here.
                self.settle(settled);
                (state.sequence(), chunk.len(), What::Closed(chunk))
            }
        };
        drop(state);
        if rows > 0 {
            self.send(sequence, rows as u64, what);
        }
    }

    fn settle(&self, settled: Vec<Arc<Bucket>>) {
        for bucket in settled {
            // Nobody streaming is not an error.
            drop(self.buckets.send(bucket));
        }
    }

    /// Says that the graph could not hand over this many rows in time.
    pub fn gap(&mut self, rows: u64) {
        self.metrics.dropped("graph", rows);
        let sequence = self.recent.state.read().sequence();
        self.send(sequence, rows, What::Gap(rows));
    }

    fn send(&mut self, sequence: u64, rows: u64, what: What) {
        let event = Event { sequence, rows_before: self.rows_sent, what };
        self.rows_sent += rows;
        // Nobody following is not an error.
        drop(self.sender.send(event));
    }
}

// === impl Restored ===

impl Restored {
    /// Leaves out rows that were read back already.
    fn leave_out(&mut self, closed: &mut Closed, age: Duration) {
        if self.ids.is_empty() {
            return;
        }
        closed.rows.retain(|row| !self.ids.contains(&row.id));
        if closed.window.start > self.until.after(age) {
            self.ids = HashSet::new();
        }
    }
}
