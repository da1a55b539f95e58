//! What one drain saw of one conversation.

use schemas::evidence::Dropped;
use schemas::{Direction, InterfaceId, Observation, TcpFlags, UnixNanos};

/// The most reasons and places kept apart for one conversation in one drain; the rest count with
/// the last.
const DROPS_MAX: usize = 16;

/// What one drain saw of one conversation, by end. Three cache lines, of which an observation
/// touches two: a drain touches its tallies in no order.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Tally {
    pub(super) slot: u32,
    /// Observations of drops and uplinks: evidence beside the counters.
    pub(super) evidence: u32,
    pub(super) first: UnixNanos,
    pub(super) last: UnixNanos,
    /// First packet that each end sent, wherever it was seen.
    pub(super) first_from: [UnixNanos; 2],
    /// Flags of what each end sent, wherever it was seen.
    pub(super) flags_from: [TcpFlags; 2],
    #[expect(clippy::box_collection, reason = "most have none, and it keeps to its cache line")]
    drops: Option<Box<Vec<FromEnd>>>,
    /// What each end's own interface saw.
    pub(super) ends: [EndTally; 2],
}

/// Packets of one end that were dropped.
type FromEnd = (usize, Dropped);

/// What one end's own interface saw: one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct EndTally {
    pub(super) interface: InterfaceId,
    pub(super) observations: u32,
    pub(super) out: Sum,
    pub(super) into: Sum,
}

/// Packets one way.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Sum {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Connections opened.
    pub(super) opened: u32,
    /// Of the packets, ICMP errors about this conversation; at most these many.
    pub(super) errors: u16,
    pub(super) flags: TcpFlags,
}

const _: () = assert!(size_of::<Tally>() == 192, "three cache lines");

// === impl Tally ===

impl Tally {
    pub(super) fn new(slot: u32) -> Self {
        Self {
            slot,
            evidence: 0,
            first: UnixNanos::MAX,
            last: UnixNanos(0),
            first_from: [UnixNanos::MAX; 2],
            flags_from: [TcpFlags::default(); 2],
            drops: None,
            ends: [EndTally::default(); 2],
        }
    }

    /// Takes in what was seen of packets from `sender`, but not the counters of an interface.
    pub(super) fn note(&mut self, seen: &Observation, sender: usize) {
        self.first_from[sender] = self.first_from[sender].min(seen.first);
        self.flags_from[sender] = self.flags_from[sender].and(seen.tcp_flags);
        self.note_time(seen);
    }

    /// Takes in when something was seen.
    pub(super) fn note_time(&mut self, seen: &Observation) {
        self.first = self.first.min(seen.first);
        self.last = self.last.max(seen.last);
    }

    /// Counts packets from `sender` that were dropped.
    pub(super) fn count_drop(&mut self, sender: usize, dropped: Dropped) {
        self.evidence += 1;
        let drops = self.drops.get_or_insert_default();
        let is_full = drops.len() >= DROPS_MAX;
        let same = |(from, known): &FromEnd| *from == sender && known.by == dropped.by;
        let place = drops.iter().position(same).or(is_full.then(|| drops.len() - 1));
        match place.and_then(|place| drops.get_mut(place)) {
            Some((_, known)) => {
                known.packets += dropped.packets;
                known.bytes += dropped.bytes;
            }
            None => drops.push((sender, dropped)),
        }
    }

    /// Something of every part of it: reading it brings it near.
    pub(super) fn touched(&self) -> u64 {
        let [one, other] = &self.ends;
        self.first.0 ^ one.out.packets ^ other.out.packets
    }

    /// Packets that were dropped, and of which end.
    pub(super) fn drops(&self) -> &[FromEnd] {
        self.drops.as_deref().map_or(&[], Vec::as_slice)
    }
}

// === impl EndTally ===

impl EndTally {
    /// Counts what this end's own interface saw.
    pub(super) fn count(&mut self, seen: &Observation, is_error: bool) {
        self.observations += 1;
        let sum = match seen.direction {
            Direction::Ingress => &mut self.out,
            Direction::Egress => &mut self.into,
        };
        sum.packets += seen.packets;
        sum.bytes += seen.bytes;
        sum.opened += seen.opened;
        if is_error {
            sum.errors = sum.errors.saturating_add(u16::try_from(seen.packets).unwrap_or(u16::MAX));
        } else {
            sum.flags = sum.flags.and(seen.tcp_flags);
        }
    }
}
