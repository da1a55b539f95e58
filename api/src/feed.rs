//! The one writer: updates go into memory and to everyone who follows.

use std::sync::Arc;

use schemas::{Flow, Update};
use tokio::sync::broadcast;

use crate::metrics::Metrics;
use crate::recent::{Limits, Piece, Recent};

/// Takes updates in, and ends every follower's stream when it is dropped.
#[derive(Debug)]
pub struct Feed {
    recent: Recent,
    metrics: Metrics,
    sender: broadcast::Sender<Event>,
    /// Rows sent to followers ever: how a follower knows what it missed.
    rows_sent: u64,
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
    Closed(Arc<Piece>),
    /// Rows that the graph could not hand over in time.
    Gap(u64),
}

/// A feed, and what its readers see.
#[must_use]
pub fn feed(limits: Limits, metrics: Metrics) -> (Feed, Recent) {
    let (sender, _) = broadcast::channel(limits.follower_updates.max(1));
    let recent = Recent::new(limits, metrics.clone(), sender.downgrade());
    (Feed { recent: recent.clone(), metrics, sender, rows_sent: 0 }, recent)
}

// === impl Feed ===

impl Feed {
    /// Takes in what left the graph. Never waits for a reader.
    pub fn apply(&mut self, update: Update) {
        let mut state = self.recent.state.write();
        let (sequence, rows, what) = match update {
            Update::Opened(rows) => {
                let (sequence, rows) = state.open(rows);
                (sequence, rows.len(), What::Opened(rows))
            }
            Update::Closed(closed) => {
                let piece = state.close(closed);
                (piece.sequence, piece.rows.len(), What::Closed(piece))
            }
        };
        drop(state);
        if rows > 0 {
            self.send(sequence, rows as u64, what);
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
