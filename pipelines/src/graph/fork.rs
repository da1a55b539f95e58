//! Where the graph ends: a branch that waits and gets what sums use, and one that never waits and
//! gets all that it can take.

use schemas::{Batch, Update};

use crate::edge::{Refused, Sender};
use crate::row::Load;
use crate::{Account, Amount, Row};

/// What the branch that never waits gets.
#[derive(Clone, Debug)]
pub enum Live {
    /// An update.
    Update(Update),
    /// Updates were missed here.
    Gap {
        /// How many.
        updates: u64,
        /// Rows in them.
        rows: u64,
    },
}

/// Gives closed windows to both branches, and what is opened to the one that never waits.
pub(super) struct Fork {
    waits: Sender<Update>,
    never_waits: Sender<Live>,
    missed: Missed,
    missed_in_all: Missed,
    account: Account,
}

#[derive(Clone, Copy, Default)]
struct Missed {
    updates: u64,
    rows: u64,
}

// === impl Live ===

impl Load for Live {
    fn rows(&self) -> usize {
        match self {
            Self::Update(update) => Load::rows(update),
            Self::Gap { .. } => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Update(update) => Load::bytes(update),
            Self::Gap { .. } => size_of::<Self>(),
        }
    }
}

// === impl Fork ===

impl Fork {
    pub(super) fn new(waits: Sender<Update>, never_waits: Sender<Live>) -> Self {
        let (missed, missed_in_all) = (Missed::default(), Missed::default());
        Self { waits, never_waits, missed, missed_in_all, account: Account::default() }
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn process(&mut self, batch: Batch<Update>) {
        self.account.batches += 1;
        for update in batch.rows {
            let amount = update.amount();
            self.account.received += amount;
            match update {
                // No sum uses it, so nothing stores it.
                Update::Opened(_) => self.show(update),
                Update::Closed(_) => {
                    if self.has_room(&update) {
                        self.show(update.clone());
                    } else {
                        self.miss(&update);
                    }
                    self.store(update, amount);
                }
            }
        }
        self.account.counts.insert("live_updates_missed", self.missed_in_all.updates);
        self.account.counts.insert("live_rows_missed", self.missed_in_all.rows);
    }

    fn store(&mut self, update: Update, amount: Amount) {
        match self.waits.send_blocking(update) {
            Ok(()) => self.account.sent += amount,
            Err(_) => *self.account.dropped.entry("closed").or_default() += amount,
        }
    }

    /// Whether there is room for an update, and for the gap before it.
    fn has_room(&self, update: &Update) -> bool {
        let gap = if self.missed.updates > 0 { size_of::<Live>() } else { 0 };
        self.never_waits.has_room(Load::rows(update), Load::bytes(update) + gap)
    }

    fn show(&mut self, update: Update) {
        if !self.has_room(&update) {
            return self.miss(&update);
        }
        let Missed { updates, rows } = std::mem::take(&mut self.missed);
        if updates > 0 {
            let is_told = self.never_waits.try_send(Live::Gap { updates, rows });
            debug_assert!(!matches!(is_told, Err(Refused::Full(_))), "there was room");
        }
        if let Err(Refused::Full(Live::Update(update))) =
            self.never_waits.try_send(Live::Update(update))
        {
            self.miss(&update);
        }
    }

    fn miss(&mut self, update: &Update) {
        let rows = Load::rows(update) as u64;
        for missed in [&mut self.missed, &mut self.missed_in_all] {
            missed.updates += 1;
            missed.rows += rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::UnixNanos;

    use super::*;
    use crate::edge::{EdgeLimits, edge};
    use crate::testing::{AT_CART, AT_WEB};
    use crate::testing::{Path, Scene, call, drain, lane};

    #[test]
    fn a_gap_is_told_before_the_next_update() {
        let scene = Scene::under(&[]);
        let rows = drain(&lane("a", 1), 0, call(AT_WEB, 4_000, AT_CART));
        let updates = Path::new(&scene).feed(rows);
        assert!(matches!(&*updates, [Update::Opened(rows)] if rows.len() == 2));
        let (waits, _stored) = edge(EdgeLimits::default());
        let (never_waits, mut live) = edge(EdgeLimits { rows: 3, bytes: 1 << 20 });
        let mut fork = Fork::new(waits, never_waits);
        let (from, to) = (UnixNanos(0), UnixNanos(1));
        let batch = Batch { lane: lane("a", 1), from, to, rows: updates, ledger: None };
        for _ in 0..3 {
            fork.process(batch.clone());
        }
        assert!(matches!(live.recv_blocking(), Some(Live::Update(_))));
        fork.process(batch);
        assert!(matches!(live.recv_blocking(), Some(Live::Gap { updates: 2, rows: 4 })));
        assert!(matches!(live.recv_blocking(), Some(Live::Update(_))));
    }
}
