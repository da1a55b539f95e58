//! What the kernel did, beside what the policies say.

use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::observation::Drop;

/// Packets that the kernel dropped for one reason at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dropped {
    /// Why and where.
    pub by: Drop,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Counters of what the kernel did with the packets of the direction that opened the connection,
/// and of what came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Packets that were seen at the far interface.
    pub delivered: u64,
    /// Packets that came back from the far side.
    pub answered: u64,
    /// RSTs and ICMP errors that came back from the far side after it had seen the request.
    pub refused: u64,
    /// Packets dropped, by reason and place.
    pub dropped: SmallVec<[Dropped; 1]>,
    /// The far interface cannot be seen from here (another node's, outside, or a datapath that
    /// hides it), so nothing delivered does not mean that nothing was.
    pub far_not_visible: bool,
}

/// What became of the packets, in one word.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The far side answered.
    Answered,
    /// The far side saw it and said no: a closed port.
    Refused,
    /// The far side saw it; no answer was seen.
    Delivered,
    /// The kernel dropped it and none was delivered.
    Dropped,
    /// The far interface is watched and saw nothing; no drop was seen either.
    Lost,
    /// Nothing can be said: the far interface is not watched.
    #[default]
    NotVisible,
}

// === impl Evidence ===

impl Evidence {
    /// Adds what another row saw of the same connections.
    pub fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.answered += other.answered;
        self.refused += other.refused;
        self.far_not_visible |= other.far_not_visible;
        for dropped in &other.dropped {
            self.add_dropped(*dropped);
        }
    }

    /// Adds dropped packets to those of the same reason and place.
    pub fn add_dropped(&mut self, dropped: Dropped) {
        match self.dropped.iter_mut().find(|known| known.by == dropped.by) {
            Some(known) => {
                known.packets += dropped.packets;
                known.bytes += dropped.bytes;
            }
            None => self.dropped.push(dropped),
        }
    }

    /// Packets dropped for any reason.
    #[must_use]
    pub fn packets_dropped(&self) -> u64 {
        self.dropped.iter().map(|dropped| dropped.packets).sum()
    }

    /// What became of the packets.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.answered > self.refused {
            Outcome::Answered
        } else if self.refused > 0 {
            Outcome::Refused
        } else if self.delivered > 0 {
            Outcome::Delivered
        } else if !self.dropped.is_empty() {
            Outcome::Dropped
        } else if self.far_not_visible {
            Outcome::NotVisible
        } else {
            Outcome::Lost
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Name as it is written in rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Lost => "lost",
            Self::NotVisible => "not_visible",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
