//! Rows of one window as columns: what they share by number and handle, the rest packed. A chunk
//! never changes, so a reader looks at it without a lock.

use std::mem::size_of;
use std::sync::Arc;

use schemas::{Flow, Lane, Origin, RowId, Window};

use super::keys::{Key, Keys};
use super::numbers::Numbered;
use super::packed::{self, Own};

/// Rows of one window.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) window: Window,
    /// The place in the window of the first row; rows that come later have higher ones.
    pub(crate) first: u64,
    /// Whose rows, and of which origins.
    lanes: Box<[(Arc<Lane>, Origins)]>,
    /// Each row's lane; empty where there is one lane.
    lane_of: Box<[u16]>,
    keys: Box<[Arc<Numbered<Key>>]>,
    /// Goldmane's keys, by number.
    groups: Box<[u32]>,
    ids: Box<[RowId]>,
    /// Where each row's bytes begin.
    offsets: Box<[u32]>,
    bytes: Box<[u8]>,
}

/// A set of origins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origins(u8);

/// A window's rows in the making.
#[derive(Default)]
struct Columns {
    lanes: Vec<(Arc<Lane>, Origins)>,
    lane_of: Vec<u16>,
    keys: Vec<Arc<Numbered<Key>>>,
    groups: Vec<u32>,
    ids: Vec<RowId>,
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

/// The most bytes of rows that a chunk takes.
const BYTES_MAX: usize = 1 << 30;

/// The most lanes of one chunk.
const LANES_MAX: usize = u16::MAX as usize;

// === impl Chunk ===

impl Chunk {
    /// Rows of one lane's window, last seen last. What they share is looked up or taken in.
    pub(crate) fn new(
        lane: &Arc<Lane>,
        window: Window,
        first: u64,
        rows: &[Flow],
        keys: &mut Keys,
    ) -> Self {
        let mut columns = Columns::default();
        let mut origins = Origins::default();
        for flow in rows {
            let key = keys.key(flow);
            origins.add(flow.key.origin);
            columns.groups.push(key.group.number());
            columns.keys.push(key);
            columns.ids.push(flow.id);
            columns.offsets.push(offset(&columns.bytes));
            packed::pack(flow, &mut columns.bytes);
        }
        columns.lanes.push((Arc::clone(lane), origins));
        columns.done(window, first)
    }

    /// Both, the other behind; nothing when they are too large for one or do not follow one
    /// another.
    pub(crate) fn joined(&self, other: &Self) -> Option<Self> {
        let fits = self.bytes.len() + other.bytes.len() <= BYTES_MAX
            && self.lanes.len() + other.lanes.len() <= LANES_MAX
            && self.first + self.len() as u64 == other.first
            && self.window == other.window;
        if !fits {
            return None;
        }
        let mut columns = Columns::default();
        for chunk in [self, other] {
            let start = offset(&columns.bytes);
            let lanes: Vec<u16> = chunk.lanes.iter().map(|lane| columns.lane(lane)).collect();
            let lane_of = |row| chunk.lane_of.get(row).copied().unwrap_or_default();
            let rows = 0..chunk.len();
            columns.lane_of.extend(rows.map(|row| lanes[usize::from(lane_of(row))]));
            columns.keys.extend_from_slice(&chunk.keys);
            columns.groups.extend_from_slice(&chunk.groups);
            columns.ids.extend_from_slice(&chunk.ids);
            columns.offsets.extend(chunk.offsets.iter().map(|offset| start + offset));
            columns.bytes.extend_from_slice(&chunk.bytes);
        }
        Some(columns.done(self.window, self.first))
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Memory of its columns: what rows share is counted where it is held.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.lanes)
            + size_of_val(&*self.lane_of)
            + size_of_val(&*self.keys)
            + size_of_val(&*self.groups)
            + size_of_val(&*self.ids)
            + size_of_val(&*self.offsets)
            + self.bytes.len()
    }

    /// Goldmane's keys of the rows, by number.
    pub(crate) fn groups(&self) -> &[u32] {
        &self.groups
    }

    pub(crate) fn key(&self, row: usize) -> &Arc<Numbered<Key>> {
        &self.keys[row]
    }

    pub(crate) fn lanes(&self) -> &[(Arc<Lane>, Origins)] {
        &self.lanes
    }

    pub(crate) fn lane(&self, row: usize) -> &Arc<Lane> {
        let lane = self.lane_of.get(row).copied().unwrap_or_default();
        &self.lanes[usize::from(lane)].0
    }

    pub(crate) fn counters(&self, row: usize) -> schemas::Counters {
        packed::counters(&self.bytes[self.offsets[row] as usize..])
    }

    pub(crate) fn own(&self, row: usize) -> Own {
        packed::unpack(&self.bytes[self.offsets[row] as usize..], self.window)
    }

    /// The row as it came.
    pub(crate) fn flow(&self, row: usize) -> Flow {
        let Own { counters, evidence, tcp_flags, first, last, correction } = self.own(row);
        let shared = &self.keys[row].shared;
        Flow {
            id: self.ids[row],
            window: self.window,
            key: shared.flow.clone(),
            counters,
            evidence,
            tcp_flags,
            first,
            last,
            initiator_from: shared.initiator_from,
            since: shared.since,
            reason: Arc::clone(&shared.reason),
            disagreement: shared.disagreement.clone(),
            correction,
        }
    }
}

// === impl Columns ===

impl Columns {
    fn lane(&mut self, lane: &(Arc<Lane>, Origins)) -> u16 {
        let known = self.lanes.iter().position(|(known, _)| *known == lane.0);
        let place = known.unwrap_or_else(|| {
            self.lanes.push((Arc::clone(&lane.0), Origins::default()));
            self.lanes.len() - 1
        });
        self.lanes[place].1.add_all(lane.1);
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    fn done(self, window: Window, first: u64) -> Chunk {
        let is_one_lane = self.lanes.len() <= 1;
        Chunk {
            window,
            first,
            lanes: self.lanes.into(),
            lane_of: if is_one_lane { Box::default() } else { self.lane_of.into() },
            keys: self.keys.into(),
            groups: self.groups.into(),
            ids: self.ids.into(),
            offsets: self.offsets.into(),
            bytes: self.bytes.into(),
        }
    }
}

fn offset(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

// === impl Origins ===

impl Origins {
    pub(crate) fn add(&mut self, origin: Origin) {
        self.0 |= Self::bit(origin);
    }

    pub(crate) fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// More than one.
    pub(crate) fn is_mixed(self) -> bool {
        self.0.count_ones() > 1
    }

    /// Whether no better one is among them.
    pub(crate) fn is_best(self, origin: Origin) -> bool {
        self.0.trailing_zeros() == Self::bit(origin).trailing_zeros()
    }

    /// The best first: what the kernel says, then Felix.
    const fn bit(origin: Origin) -> u8 {
        match origin {
            Origin::Kernel => 1,
            Origin::Felix => 2,
            Origin::Hubble => 4,
            Origin::Replay => 8,
        }
    }
}
