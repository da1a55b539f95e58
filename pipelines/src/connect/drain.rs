//! The drain that is being taken in.

use schemas::{Batch, Observation, UnixNanos};

use super::tally::Tally;
use crate::stage::Head;
use crate::{Amount, Row};

/// What was taken in of one drain and not told yet.
#[derive(Debug, Default)]
pub(super) struct Drain {
    head: Option<Head>,
    pub(super) tallies: Vec<Tally>,
    /// What a second interface saw of an end that has one already.
    pub(super) elsewhere: Vec<(u32, usize, super::tally::EndTally)>,
    /// ICMP errors, joined when what they are about has been taken in.
    pub(super) errors: Vec<Observation>,
    held: Amount,
    now: UnixNanos,
    /// The place of its lane in the list of lanes.
    pub(super) lane: u16,
    /// Nothing of this lane was seen before: what runs already may have been opened long ago.
    pub(super) is_first_of_lane: bool,
}

// === impl Drain ===

impl Drain {
    /// Whether this batch is another piece of the same drain.
    pub(super) fn is_continued_by<T>(&self, batch: &Batch<T>) -> bool {
        let Some(head) = &self.head else { return false };
        head.lane == batch.lane && head.from == batch.from && head.to == batch.to
    }

    pub(super) fn begin<T>(&mut self, batch: &Batch<T>) {
        self.head = Some(Head::of(batch));
        self.held = Amount::default();
    }

    pub(super) fn extend<T>(&mut self, batch: &Batch<T>) {
        if let Some(head) = &mut self.head {
            head.ledger.clone_from(&batch.ledger);
        }
        if batch.to < UnixNanos::MAX {
            self.now = self.now.max(batch.to);
        }
    }

    /// The latest time that any lane has told of.
    pub(super) fn now(&self) -> UnixNanos {
        self.now
    }

    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    pub(super) fn hold(&mut self, seen: &Observation) {
        self.held += seen.amount();
    }

    pub(super) fn held(&self) -> Amount {
        self.held
    }

    /// The tallies have been told; what is held now are the errors that wait for them.
    pub(super) fn told(&mut self) {
        self.held = self.errors.iter().map(Row::amount).sum();
    }
}
