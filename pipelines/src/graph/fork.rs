//! Where the graph ends: a branch that waits, and one that never does.

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

/// Gives each update to both branches.
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
            self.show(&update);
            self.store(update, amount);
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

    fn show(&mut self, update: &Update) {
        let Missed { updates, rows } = self.missed;
        if updates > 0 {
            let gap = Live::Gap { updates, rows };
            let bytes = Load::bytes(update) + Load::bytes(&gap);
            if !self.never_waits.has_room(Load::rows(update), bytes) {
                return self.miss(update);
            }
            if self.never_waits.try_send(gap).is_ok() {
                self.missed = Missed::default();
            }
        }
        if let Err(Refused::Full(_)) = self.never_waits.try_send(Live::Update(update.clone())) {
            self.miss(update);
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
