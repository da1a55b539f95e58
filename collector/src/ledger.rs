//! What has been drained of each interface and direction, kept in the pins: written whole before a
//! half is cleared, so that whoever comes after a crash knows what was counted and not stored.

use std::mem::offset_of;

use rustc_hash::FxHashMap;
use schemas::batch::LedgerEntry;
use schemas::{Direction, InterfaceId, Ledger};

use crate::kernel::abi::LedgerSlot;
use crate::kernel::mapped::Mapped;

/// Entries of interfaces that are gone are let go, oldest first, when the map is full.
#[derive(Debug, Default)]
pub(crate) struct Book {
    generation: u64,
    sums: FxHashMap<(InterfaceId, Direction), Sum>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    packets: u64,
    bytes: u64,
    /// The generation that last added to it.
    touched: u64,
}

// === impl Book ===

impl Book {
    /// The later of the two copies that are whole.
    pub(crate) fn read(slots: &Mapped<LedgerSlot>) -> Self {
        let copy_len = slots.len() / 2;
        let heads = [slots.read(0), slots.read(copy_len)];
        let newer = usize::from(heads[1].interface > heads[0].interface);
        let head = heads[newer];
        let count = usize::try_from(head.direction).unwrap_or(0).min(copy_len - 1);
        let entries = (1..=count).map(|index| slots.read(newer * copy_len + index));
        let sums = entries.filter_map(|slot| {
            let interface = InterfaceId(u32::try_from(slot.interface).ok()?);
            let direction =
                if slot.direction == 0 { Direction::Ingress } else { Direction::Egress };
            let LedgerSlot { packets, bytes, .. } = slot;
            Some(((interface, direction), Sum { packets, bytes, touched: head.interface }))
        });
        Self { generation: head.interface, sums: sums.collect() }
    }

    /// The last generation whose half is in the sums.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Adds what one half held of an interface.
    pub(crate) fn add(
        &mut self,
        generation: u64,
        interface: InterfaceId,
        direction: Direction,
        packets: u64,
        bytes: u64,
    ) {
        let sum = self.sums.entry((interface, direction)).or_default();
        sum.packets += packets;
        sum.bytes += bytes;
        sum.touched = generation;
    }

    /// Writes the sums with their generation into the older copy: while that is half written, the
    /// other one stands.
    pub(crate) fn write(&mut self, slots: &Mapped<LedgerSlot>, generation: u64) {
        let copy_len = slots.len() / 2;
        self.keep(copy_len - 1);
        let heads = [slots.read(0), slots.read(copy_len)];
        let older = usize::from(heads[1].interface < heads[0].interface) * copy_len;
        let head = |field| match field {
            Head::Generation => offset_of!(LedgerSlot, interface),
            Head::Count => offset_of!(LedgerSlot, direction),
        };
        slots.write_field(older, head(Head::Generation), 0_u64);
        for (index, ((interface, direction), sum)) in self.sums.iter().enumerate() {
            let slot = LedgerSlot {
                interface: interface.0.into(),
                direction: u64::from(*direction == Direction::Egress),
                packets: sum.packets,
                bytes: sum.bytes,
            };
            slots.write(older + 1 + index, slot);
        }
        slots.write_field(older, head(Head::Count), self.sums.len() as u64);
        slots.write_field(older, head(Head::Generation), generation);
        self.generation = generation;
    }

    fn keep(&mut self, max: usize) {
        while self.sums.len() > max {
            let oldest = self.sums.iter().min_by_key(|(_, sum)| sum.touched).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.sums.remove(&oldest);
        }
    }

    /// As it travels with a batch, by interface and direction.
    pub(crate) fn ledger(&self) -> Ledger {
        let entry = |(&(interface, direction), sum): (&(InterfaceId, Direction), &Sum)| {
            LedgerEntry { interface, direction, packets: sum.packets, bytes: sum.bytes }
        };
        let mut entries: Vec<LedgerEntry> = self.sums.iter().map(entry).collect();
        entries.sort_by_key(|entry| (entry.interface, entry.direction));
        Ledger { generation: self.generation, entries }
    }
}

/// The head's fields, which share a slot's layout.
#[derive(Clone, Copy)]
enum Head {
    Generation,
    Count,
}

/// What was drained and is not in what was stored. A stored ledger from before these maps were
/// made says nothing about them.
pub(crate) fn lost(drained: &Ledger, stored: Option<&Ledger>, base: u64) -> Vec<LedgerEntry> {
    let stored = stored.filter(|stored| stored.generation >= base);
    let before = |entry: &LedgerEntry| {
        let same = |other: &&LedgerEntry| {
            (other.interface, other.direction) == (entry.interface, entry.direction)
        };
        stored.and_then(|stored| stored.entries.iter().find(same).copied())
    };
    let differences = drained.entries.iter().map(|entry| {
        let (packets, bytes) = before(entry).map_or((0, 0), |it| (it.packets, it.bytes));
        LedgerEntry {
            packets: entry.packets.saturating_sub(packets),
            bytes: entry.bytes.saturating_sub(bytes),
            ..*entry
        }
    });
    differences.filter(|entry| entry.packets > 0 || entry.bytes > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(generation: u64, packets: u64) -> Ledger {
        let entry = LedgerEntry {
            interface: InterfaceId(3),
            direction: Direction::Egress,
            packets,
            bytes: packets * 100,
        };
        Ledger { generation, entries: vec![entry] }
    }

    #[test]
    fn what_was_drained_and_not_stored_is_lost() {
        let lost_packets = |stored: Option<&Ledger>| -> u64 {
            lost(&ledger(20, 50), stored, 10).iter().map(|entry| entry.packets).sum()
        };
        assert_eq!(lost_packets(Some(&ledger(19, 30))), 20);
        assert_eq!(lost_packets(Some(&ledger(20, 50))), 0);
        assert_eq!(lost_packets(None), 50);
        // Of maps that were there before these.
        assert_eq!(lost_packets(Some(&ledger(9, 30))), 50);
    }
}
