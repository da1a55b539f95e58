//! The bounded table of conversations.

use std::hint::black_box;
use std::time::Duration;

use hashbrown::HashTable;
use rustc_hash::FxHashMap;
use schemas::{Protocol, TcpFlags, Tuple, UnixNanos};

use super::key::{End, Pair, PairHasher};
use super::slot::{NO_TALLY, SLOTS_MAX, Slot, number};
use super::{ConnectConfig, Idle};
use crate::chunks::Chunks;

/// Conversations, by their ends after translation, and by what the opener asked.
#[derive(Debug)]
pub(super) struct Table {
    slots: Chunks<Slot>,
    free: Vec<u32>,
    by_pair: HashTable<Entry>,
    by_asked: HashTable<Entry>,
    /// Asked a service, and the backend is not known: by the asking end.
    unresolved: FxHashMap<(End, Protocol), u32>,
    hasher: PairHasher,
    limit: usize,
    idle: Idle,
    serial: u64,
    hand: usize,
    swept_at: UnixNanos,
    pub(super) evicted: u64,
    pub(super) expired: u64,
}

/// A slot, and half of its hash, which is compared before the slot is touched.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// A packet's pair, and the slot where it likely is: looked up for many packets at once, so that
/// the memory's delays are waited for together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) pair: Pair,
    hash: u32,
    likely: Option<u32>,
    /// The tally of that slot in this drain.
    pub(super) tally: u32,
}

/// Memory of one conversation: its slot, its places in the indices, and what was asked.
const BYTES_EACH: usize = size_of::<Slot>() + 4 * size_of::<Entry>() + size_of::<[End; 2]>() + 16;

/// How many conversations are looked at to find one to evict.
const CANDIDATES: usize = 32;

/// A sweep looks at one part of the table; this many look at all of it.
const SWEEPS: usize = 8;

/// Time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl Table {
    pub(super) fn new(config: &ConnectConfig) -> Self {
        let limit = config.connections_max.min(config.bytes_max / BYTES_EACH).clamp(1, SLOTS_MAX);
        Self {
            slots: Chunks::new(),
            free: Vec::new(),
            by_pair: HashTable::new(),
            by_asked: HashTable::new(),
            unresolved: FxHashMap::default(),
            hasher: PairHasher::new(),
            limit,
            idle: config.idle,
            serial: 0,
            hand: 0,
            swept_at: UnixNanos(0),
            evicted: 0,
            expired: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    pub(super) fn slot_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// What can be looked up ahead for a packet of this tuple.
    pub(super) fn ahead(&self, tuple: &Tuple) -> Ahead {
        let pair = Pair::of(tuple);
        Ahead { pair, hash: self.hash(&pair), likely: None, tally: NO_TALLY }
    }

    /// Looks up the likely slots. Each loop is short, and one turn of it does not wait for another:
    /// so the processor waits for many places of the memory at once.
    pub(super) fn look_ahead(&self, ahead: &mut [Ahead]) {
        for Ahead { hash, likely, .. } in &mut *ahead {
            let found = self.by_pair.find(spread(*hash), |entry| entry.hash == *hash);
            *likely = found.map(|entry| entry.slot);
        }
        let mut touched = 0;
        for Ahead { likely, tally, .. } in ahead {
            let Some(slot) = *likely else { continue };
            let slot = &self.slots[slot as usize];
            *tally = slot.tally;
            touched ^= slot.id.0;
        }
        black_box(touched);
    }

    /// The conversation that was looked up ahead, and which of its ends comes first.
    pub(super) fn find_ahead(&self, ahead: &Ahead) -> Option<(u32, usize)> {
        let matched = |slot: u32| {
            let order = self.slots[slot as usize].pair.matches(&ahead.pair)?;
            self.slots[slot as usize].is_in_use.then_some((slot, order))
        };
        ahead.likely.and_then(matched).or_else(|| self.find_hashed(&ahead.pair, ahead.hash))
    }

    /// The conversation of these ends, and which of its ends comes first in `pair`.
    pub(super) fn find(&self, pair: &Pair) -> Option<(u32, usize)> {
        self.find_hashed(pair, self.hash(pair))
    }

    fn find_hashed(&self, pair: &Pair, hash: u32) -> Option<(u32, usize)> {
        let (slots, mut order) = (&self.slots, 0);
        let found = self.by_pair.find(spread(hash), |entry| {
            let is_likely = entry.hash == hash;
            let matched = is_likely.then(|| slots[entry.slot as usize].pair.matches(pair));
            order = matched.flatten().unwrap_or(order);
            matched.flatten().is_some()
        });
        Some((found?.slot, order))
    }

    /// The conversation whose opener sees these ends.
    pub(super) fn find_asked(&self, pair: &Pair) -> Option<(u32, usize)> {
        if self.by_asked.is_empty() {
            return None;
        }
        let (hash, slots) = (self.hash(pair), &self.slots);
        let is_same = |entry: &Entry| {
            entry.hash == hash && slots[entry.slot as usize].asked_pair().matches(pair).is_some()
        };
        let index = self.by_asked.find(spread(hash), is_same)?.slot;
        let order = slots[index as usize].asked_pair().matches(pair)?;
        Some((index, order))
    }

    /// The conversation that this end has with a service whose backend is not known.
    pub(super) fn find_unresolved(&self, asking: End, protocol: Protocol) -> Option<u32> {
        if self.unresolved.is_empty() {
            return None;
        }
        self.unresolved.get(&(asking, protocol)).copied()
    }

    /// A new conversation. `None` when the table is full of those of this drain.
    pub(super) fn insert(&mut self, pair: Pair, first: UnixNanos) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.limit => u32::try_from(self.slots.len()).ok()?,
            None => self.evict()?,
        };
        let id = self.next_id(index);
        let slot = Slot::new(pair, id, first);
        match self.slots.get_mut(index as usize) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        self.index(index);
        Some(index)
    }

    /// The next connection's number, for this slot.
    pub(super) fn next_id(&mut self, index: u32) -> schemas::ConnectionId {
        self.serial += 1;
        number(self.serial, index)
    }

    /// Notes what the opener sees of a conversation whose ends after translation are known.
    pub(super) fn ask(&mut self, index: u32, asked: [End; 2]) {
        let slot = &mut self.slots[index as usize];
        if slot.asked.is_some() || slot.pair.ends == asked {
            return;
        }
        slot.asked = Some(Box::new(asked));
        let pair = slot.asked_pair();
        let (hash, slots) = (self.hash(&pair), &self.slots);
        // The same question may have gone to another backend before: the newer one stands for it.
        let is_same = |entry: &Entry| {
            entry.hash == hash && slots[entry.slot as usize].asked_pair().matches(&pair).is_some()
        };
        if let Ok(older) = self.by_asked.find_entry(spread(hash), is_same) {
            older.remove();
        }
        let entry = Entry { hash, slot: index };
        self.by_asked.insert_unique(spread(hash), entry, |entry| spread(entry.hash));
    }

    /// Notes that a conversation's opener asked a service and that its backend is not known.
    pub(super) fn mark_unresolved(&mut self, index: u32, asking: usize) {
        let slot = &mut self.slots[index as usize];
        slot.is_unresolved = true;
        self.unresolved.insert((slot.pair.ends[asking], slot.pair.protocol), index);
    }

    /// Gives a conversation its ends after translation; what it had is what its opener sees.
    pub(super) fn translate(&mut self, index: u32, ends: [End; 2]) {
        self.forget_unresolved(index);
        self.unindex(index);
        let slot = &mut self.slots[index as usize];
        let asked = std::mem::replace(&mut slot.pair.ends, ends);
        self.index(index);
        self.ask(index, asked);
    }

    /// Forgets conversations that have been idle, a part of the table at a time.
    pub(super) fn sweep(&mut self, now: UnixNanos) {
        if now.since(self.swept_at) < SWEEP_EVERY && self.swept_at <= now {
            return;
        }
        self.swept_at = now;
        let part = self.slots.len().div_ceil(SWEEPS);
        for _ in 0..part {
            let index = self.turn();
            let slot = &self.slots[index];
            if slot.is_in_use && slot.tally == NO_TALLY && self.is_idle(slot, now) {
                self.remove(u32::try_from(index).unwrap_or(0));
                self.expired += 1;
            }
        }
    }

    fn is_idle(&self, slot: &Slot, now: UnixNanos) -> bool {
        let flags = slot
            .sides
            .iter()
            .fold(TcpFlags::default(), |flags, side| flags.and(side.flags_out).and(side.flags_in));
        let is_tcp = slot.pair.protocol == Protocol::TCP;
        let is_open = flags.has(TcpFlags::ACK) && !slot.is_over();
        let limit = match (is_tcp, is_open) {
            (true, true) => self.idle.tcp,
            (true, false) => self.idle.tcp_closed,
            (false, _) => self.idle.other,
        };
        now.since(slot.last) > limit
    }

    /// Makes room by forgetting the longest idle of a few conversations.
    fn evict(&mut self) -> Option<u32> {
        let mut oldest: Option<usize> = None;
        let mut candidates = 0;
        for _ in 0..self.slots.len() {
            let index = self.turn();
            let slot = &self.slots[index];
            if !slot.is_in_use || slot.tally != NO_TALLY {
                continue;
            }
            if oldest.is_none_or(|oldest| slot.last < self.slots[oldest].last) {
                oldest = Some(index);
            }
            candidates += 1;
            if candidates >= CANDIDATES {
                break;
            }
        }
        self.remove(u32::try_from(oldest?).ok()?);
        self.evicted += 1;
        self.free.pop()
    }

    fn turn(&mut self) -> usize {
        self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
        self.hand
    }

    /// Forgets a conversation.
    pub(super) fn remove(&mut self, index: u32) {
        self.forget_unresolved(index);
        self.unindex(index);
        let slot = &mut self.slots[index as usize];
        if slot.asked.is_some() {
            let pair = slot.asked_pair();
            let hash = spread(self.hash(&pair));
            if let Ok(found) = self.by_asked.find_entry(hash, |entry| entry.slot == index) {
                found.remove();
            }
        }
        let slot = &mut self.slots[index as usize];
        slot.asked = None;
        slot.is_in_use = false;
        self.free.push(index);
    }

    fn forget_unresolved(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !std::mem::take(&mut slot.is_unresolved) {
            return;
        }
        let protocol = slot.pair.protocol;
        for end in slot.pair.ends {
            if self.unresolved.get(&(end, protocol)) == Some(&index) {
                self.unresolved.remove(&(end, protocol));
            }
        }
    }

    fn index(&mut self, index: u32) {
        let hash = self.hash(&self.slots[index as usize].pair);
        let entry = Entry { hash, slot: index };
        self.by_pair.insert_unique(spread(hash), entry, |entry| spread(entry.hash));
    }

    fn unindex(&mut self, index: u32) {
        let hash = spread(self.hash(&self.slots[index as usize].pair));
        if let Ok(found) = self.by_pair.find_entry(hash, |entry| entry.slot == index) {
            found.remove();
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of the hash is enough")]
    fn hash(&self, pair: &Pair) -> u32 {
        self.hasher.hash(pair) as u32
    }
}

/// A hash for the index of half a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
