//! The ends of connections that are remembered, at each connection's own place.

use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::sync::Arc;

use rustc_hash::FxHasher;
use schemas::{Connection, ConnectionId, Since, UnixNanos};

use super::Ends;
use crate::chunks::Chunks;
use crate::connect::place;

/// Memories by place.
pub(super) struct Remembered {
    places: Chunks<Option<Memory>>,
    limit: usize,
}

/// The version of what is to be looked up again whatever the cluster's version.
pub(super) const NOT_SETTLED: u64 = u64::MAX;

/// What is remembered of one connection.
pub(super) struct Memory {
    pub(super) id: ConnectionId,
    /// What it asked, hashed: a translation may become known later.
    pub(super) asked: u64,
    /// The cluster's version when this was last looked up.
    pub(super) version: u64,
    /// Since when an address of it belongs to somebody else.
    pub(super) reopened_at: Option<UnixNanos>,
    pub(super) ends: Arc<Ends>,
}

/// What this row's connection asked, and what the far end got, hashed.
pub(super) fn asked(row: &Connection) -> u64 {
    let mut hasher = FxHasher::default();
    row.tuple.dst.hash(&mut hasher);
    hasher.write_u16(row.tuple.dst_port);
    if let Some(translated) = &row.translated {
        translated.dst.hash(&mut hasher);
        hasher.write_u16(translated.dst_port);
    }
    hasher.finish()
}

// === impl Remembered ===

impl Remembered {
    pub(super) fn new(limit: usize) -> Self {
        Self { places: Chunks::new(), limit }
    }

    pub(super) fn get(&mut self, place: usize, id: ConnectionId) -> Option<&mut Memory> {
        self.places.get_mut(place)?.as_mut().filter(|memory| memory.id == id)
    }

    /// Touches what is remembered of these connections, so that the memory's delays are waited for
    /// together.
    pub(super) fn touch(&self, rows: &[Connection]) {
        let memories = rows.iter().filter_map(|row| self.places.get(place(row))?.as_ref());
        let touched = |sum: u64, memory: &Memory| {
            sum ^ memory.asked ^ memory.id.0 ^ Arc::strong_count(&memory.ends) as u64
        };
        black_box(memories.fold(0, touched));
    }

    pub(super) fn insert(&mut self, place: usize, memory: Memory) {
        if place >= self.limit {
            return;
        }
        while place >= self.places.len() {
            self.places.push(None);
        }
        self.places[place] = Some(memory);
    }
}

// === impl Memory ===

impl Memory {
    /// Says in the row that what is seen now is another connection than what began then.
    pub(super) fn reopen(&self, row: &mut Connection) {
        if let Some(at) = self.reopened_at {
            row.opened_at = at;
            row.since = Since::Seen;
        }
    }
}
