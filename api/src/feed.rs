//! The one writer: updates go into memory and to everyone who follows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use schemas::json::{FlowJson, Rereader};
use schemas::{Closed, Flow, Lane, RowId, UnixNanos, Update, Window};
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
    Closed(Arc<Piece>),
    /// Rows that the graph could not hand over in time.
    Gap(u64),
}

/// A feed, and what its readers see.
#[must_use]
pub fn feed(limits: Limits, metrics: Metrics) -> (Feed, Recent) {
    let (sender, _) = broadcast::channel(limits.follower_updates.max(1));
    let recent = Recent::new(limits, metrics.clone(), sender.downgrade());
    let restored = Restored::default();
    (Feed { recent: recent.clone(), metrics, sender, rows_sent: 0, restored }, recent)
}

// === impl Feed ===

impl Feed {
    /// Takes in rows that were stored before this process began: they are listed, not followed.
    pub fn restore(&mut self, rereader: &Rereader, rows: Vec<FlowJson>) {
        let mut windows: BTreeMap<(Window, Option<Lane>), Vec<Flow>> = BTreeMap::new();
        for row in rows {
            let lane = row.lane.clone();
            let flow = rereader.flow(row);
            if self.restored.ids.insert(flow.id) {
                self.restored.until = self.restored.until.max(flow.window.end);
                windows.entry((flow.window, lane)).or_default().push(flow);
            }
        }
        let mut state = self.recent.state.write();
        for ((window, lane), rows) in windows {
            let lane = Arc::new(lane.unwrap_or_else(nobody));
            state.close(Closed { lane, window, rows, is_last: false, ledger: None });
        }
    }

    /// Takes in what left the graph. Never waits for a reader.
    pub fn apply(&mut self, mut update: Update) {
        if let Update::Closed(closed) = &mut update {
            self.restored.leave_out(closed, self.recent.age());
        }
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

/// Whose rows are that do not say.
fn nobody() -> Lane {
    Lane { node: "".into(), boot_id: "".into(), incarnation: 0 }
}
