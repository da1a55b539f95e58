//! What waits in one lane: rows for an address, and later windows behind them.

use std::collections::VecDeque;
use std::time::Duration;

use schemas::{Connection, UnixNanos, Window};

use super::{Enriched, amount};
use crate::stage::Head;
use crate::{Amount, Outbox, Row};

/// What waits in one lane.
#[derive(Default)]
pub(super) struct Waiting {
    held: Vec<Held>,
    queued: VecDeque<(Head, Vec<Enriched>)>,
    queued_rows: usize,
    /// When and at which version of the cluster the held rows were last looked at.
    looked: Option<(UnixNanos, u64)>,
}

/// A row that waits for an address.
pub(super) struct Held {
    pub(super) connection: Connection,
    /// The head of the batch that it came in.
    pub(super) head: Head,
    /// The cluster's version when it was last resolved.
    pub(super) version: u64,
    /// It has been shown as unknown.
    pub(super) is_shown: bool,
}

// === impl Held ===

impl Held {
    pub(super) fn new(connection: Connection, head: Head, version: u64) -> Self {
        Self { connection, head, version, is_shown: false }
    }
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.queued.is_empty()
    }

    pub(super) fn hold(&mut self, held: Held) {
        self.held.push(held);
    }

    pub(super) fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// Whether there is a reason to look at the held rows again.
    pub(super) fn is_due(&mut self, now: UnixNanos, version: u64) -> bool {
        let is_due = !self.held.is_empty() && self.looked != Some((now, version));
        self.looked = Some((now, version));
        is_due
    }

    /// Whether rows of this head must wait for held rows of an earlier window.
    pub(super) fn stalls(&self, head: &Head, window: Duration) -> bool {
        !self.queued.is_empty() || self.is_before(head, window)
    }

    fn is_before(&self, head: &Head, window: Duration) -> bool {
        let start = Window::holding(head.from, window).start;
        self.held.iter().any(|held| held.head.from < start)
    }

    pub(super) fn queue(&mut self, head: Head, rows: Vec<Enriched>) {
        self.queued_rows += rows.len();
        self.queued.push_back((head, rows));
    }

    pub(super) fn queued_rows(&self) -> usize {
        self.queued_rows
    }

    /// Sends what waits no longer for an earlier window.
    pub(super) fn send_ready(&mut self, window: Duration, out: &mut Outbox<Enriched>) {
        while let Some((head, rows)) = self.queued.pop_front() {
            if self.is_before(&head, window) {
                self.queued.push_front((head, rows));
                return;
            }
            self.queued_rows -= rows.len();
            out.begin(head);
            for row in rows {
                out.push(row);
            }
            out.flush();
        }
    }

    /// What waits here.
    pub(super) fn amount(&self) -> Amount {
        let held = self.held.iter().map(|held| held.connection.amount());
        held.chain(self.queued.iter().map(|(_, rows)| amount(rows))).sum()
    }
}
