//! What one drain saw of one conversation.

use schemas::evidence::Dropped;
use schemas::{Direction, InterfaceId, Observation, TcpFlags, UnixNanos};

/// The most reasons and places kept apart for one conversation in one drain; the rest count with
/// the last.
const DROPS_MAX: usize = 16;

/// What one drain saw of one conversation, by end.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) slot: u32,
    /// What each end's own interface saw.
    pub(super) ends: [EndTally; 2],
    /// First packet that each end sent, wherever it was seen.
    pub(super) first_from: [UnixNanos; 2],
    /// Flags of what each end sent, wherever it was seen.
    pub(super) flags_from: [TcpFlags; 2],
    /// Packets of each end that were dropped.
    pub(super) drops: Vec<(u8, Dropped)>,
    /// Observations of drops and uplinks: evidence beside the counters.
    pub(super) evidence: u32,
    pub(super) first: UnixNanos,
    pub(super) last: UnixNanos,
}

/// What one end's own interface saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndTally {
    pub(super) interface: InterfaceId,
    pub(super) observations: u32,
    pub(super) out: Sum,
    pub(super) into: Sum,
    pub(super) first: UnixNanos,
    pub(super) last: UnixNanos,
}

/// Packets one way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Of them ICMP errors about this conversation.
    pub(super) errors: u32,
    /// Connections opened.
    pub(super) opened: u32,
    pub(super) flags: TcpFlags,
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(slot: u32) -> Self {
        Self {
            slot,
            ends: [EndTally::default(); 2],
            first_from: [UnixNanos::MAX; 2],
            flags_from: [TcpFlags::default(); 2],
            drops: Vec::new(),
            evidence: 0,
            first: UnixNanos::MAX,
            last: UnixNanos(0),
        }
    }

    /// Takes in what was seen of packets from `sender`, but not the counters of an interface.
    pub(super) fn note(&mut self, seen: &Observation, sender: usize) {
        self.first_from[sender] = self.first_from[sender].min(seen.first);
        self.flags_from[sender] = self.flags_from[sender].and(seen.tcp_flags);
        self.first = self.first.min(seen.first);
        self.last = self.last.max(seen.last);
    }

    /// Counts packets from `sender` that were dropped.
    pub(super) fn count_drop(&mut self, sender: usize, dropped: Dropped) {
        self.evidence += 1;
        let sender = u8::from(sender == 1);
        let is_full = self.drops.len() >= DROPS_MAX;
        let same = |(from, known): &&mut (u8, Dropped)| *from == sender && known.by == dropped.by;
        let known = match self.drops.iter_mut().find(same) {
            Some((_, known)) => Some(known),
            None if is_full => self.drops.last_mut().map(|(_, known)| known),
            None => None,
        };
        match known {
            Some(known) => {
                known.packets += dropped.packets;
                known.bytes += dropped.bytes;
            }
            None => self.drops.push((sender, dropped)),
        }
    }
}

// === impl EndTally ===

impl Default for EndTally {
    fn default() -> Self {
        Self {
            interface: InterfaceId(0),
            observations: 0,
            out: Sum::default(),
            into: Sum::default(),
            first: UnixNanos::MAX,
            last: UnixNanos(0),
        }
    }
}

impl EndTally {
    /// Counts what this end's own interface saw.
    pub(super) fn count(&mut self, seen: &Observation, is_error: bool) {
        self.observations += 1;
        self.first = self.first.min(seen.first);
        self.last = self.last.max(seen.last);
        let sum = match seen.direction {
            Direction::Ingress => &mut self.out,
            Direction::Egress => &mut self.into,
        };
        sum.packets += seen.packets;
        sum.bytes += seen.bytes;
        sum.opened += seen.opened;
        if is_error {
            sum.errors = sum.errors.saturating_add(u32::try_from(seen.packets).unwrap_or(u32::MAX));
        } else {
            sum.flags = sum.flags.and(seen.tcp_flags);
        }
    }
}
