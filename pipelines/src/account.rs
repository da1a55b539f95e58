//! What a node has received and what became of it.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};

/// Observations, and the packets that pods' own interfaces counted. Drops and uplinks are evidence
/// beside them: their observations count, their packets do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Observations.
    pub observations: u64,
    /// Packets.
    pub packets: u64,
}

/// One node's counters, taken between two batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What came in.
    pub received: Amount,
    /// What went out.
    pub sent: Amount,
    /// What is kept for a later batch.
    pub held: Amount,
    /// What was let go, by reason.
    pub dropped: BTreeMap<&'static str, Amount>,
    /// Batches that came in.
    pub batches: u64,
    /// Sizes that the node tells of itself, by name.
    pub gauges: BTreeMap<&'static str, u64>,
    /// Counts that the node tells of itself, by name; they only grow.
    pub counts: BTreeMap<&'static str, u64>,
}

// === impl Amount ===

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.observations += other.observations;
        self.packets += other.packets;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        self.observations = self.observations.saturating_sub(other.observations);
        self.packets = self.packets.saturating_sub(other.packets);
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |mut sum, amount| {
            sum += amount;
            sum
        })
    }
}

// === impl Account ===

impl Account {
    /// What was let go for any reason.
    #[must_use]
    pub fn dropped_in_all(&self) -> Amount {
        self.dropped.values().copied().sum()
    }

    /// Whether received = sent + dropped + held.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let parts = [self.sent, self.dropped_in_all(), self.held].into_iter().sum::<Amount>();
        self.received == parts
    }
}
