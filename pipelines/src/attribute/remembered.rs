//! What was said of connections that are remembered, at each connection's own place.

use std::hint::black_box;
use std::sync::Arc;

use schemas::{Connection, ConnectionId, UnixNanos};

use super::Judged;
use crate::chunks::Chunks;
use crate::connect::place;
use crate::{Ends, Enriched};

/// Memories by place.
pub(super) struct Remembered {
    places: Chunks<Option<Memory>>,
    limit: usize,
}

/// What was said of one connection.
pub(super) struct Memory {
    pub(super) id: ConnectionId,
    pub(super) opened_at: UnixNanos,
    pub(super) ends: Arc<Ends>,
    /// By the set of its opening.
    pub(super) first: Arc<Judged>,
    /// The same, with what has changed since.
    pub(super) judged: Arc<Judged>,
    /// The set that it was compared with last.
    pub(super) checked: u64,
}

// === impl Remembered ===

impl Remembered {
    pub(super) fn new(limit: usize) -> Self {
        Self { places: Chunks::new(), limit }
    }

    /// What is remembered of this row's connection, if its ends are still the same.
    pub(super) fn get(
        &mut self,
        place: usize,
        row: &Connection,
        ends: &Arc<Ends>,
    ) -> Option<&mut Memory> {
        let memory = self.places.get_mut(place)?.as_mut()?;
        let is_same = memory.id == row.id
            && memory.opened_at == row.opened_at
            && (Arc::ptr_eq(&memory.ends, ends) || memory.ends.digest == ends.digest);
        is_same.then_some(memory)
    }

    /// Touches what is remembered of these connections, so that the memory's delays are waited for
    /// together.
    pub(super) fn touch(&self, rows: &[Enriched]) {
        let places = rows.iter().map(|row| place(&row.connection));
        let memories = places.filter_map(|place| self.places.get(place)?.as_ref());
        let touched = |sum: u64, memory: &Memory| {
            sum ^ memory.checked ^ memory.id.0 ^ Arc::strong_count(&memory.judged) as u64
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
