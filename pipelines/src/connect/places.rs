//! Where an address is seen: which lane watches its pod's interface.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use schemas::{Addr, Lane, UnixNanos};

/// The most lanes that are told apart; a newer one takes the oldest one's place.
const LANES_MAX: usize = 4_096;

/// Lanes, and addresses by the lane that watches their pod's interface.
#[derive(Debug)]
pub(super) struct Places {
    by_address: FxHashMap<Addr, u16>,
    limit: usize,
    lanes: FxHashMap<Arc<Lane>, u16>,
    next_lane: u16,
}

// === impl Places ===

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        let (by_address, lanes) = (FxHashMap::default(), FxHashMap::default());
        Self { by_address, limit, lanes, next_lane: 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// This lane's number, and whether it is new.
    pub(super) fn lane(&mut self, lane: &Arc<Lane>) -> (u16, bool) {
        if let Some(number) = self.lanes.get(lane) {
            return (*number, false);
        }
        if self.lanes.len() >= LANES_MAX {
            self.lanes.clear();
        }
        let number = self.next_lane;
        self.next_lane = self.next_lane.checked_add(1).unwrap_or(1);
        self.lanes.insert(lane.clone(), number);
        (number, true)
    }

    /// A lane that has ended is forgotten.
    pub(super) fn end(&mut self, lane: &Arc<Lane>, from: UnixNanos) {
        if from == UnixNanos::MAX {
            self.lanes.remove(lane);
        }
    }

    /// Notes that this lane watches the interface of the pod that has this address.
    pub(super) fn note(&mut self, addr: Addr, lane: u16) {
        if self.by_address.len() < self.limit || self.by_address.contains_key(&addr) {
            self.by_address.insert(addr, lane);
        }
    }

    /// Whether this lane watches the interface of the pod that has this address.
    pub(super) fn watches(&self, lane: u16, addr: Addr) -> bool {
        self.by_address.get(&addr) == Some(&lane)
    }
}
