//! Which windows streams get, and when: each once when no more of its rows are expected, and after
//! that what comes late, at once, as corrections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use schemas::{Lane, Origin, UnixNanos, Window};

use super::{Best, Chunk, Sum};

/// What streams get: one sum for each of Goldmane's keys of one window.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) window: Window,
    /// Deltas to a window that streams had.
    pub(crate) is_correction: bool,
    pub(crate) sums: Vec<Sum>,
}

/// Windows on their way to streams.
#[derive(Debug)]
pub(crate) struct Settling {
    /// How long after its end a window's rows are waited for.
    wait: Duration,
    /// Windows that ended longer ago than this are taken as settled.
    age: Duration,
    waiting: BTreeMap<Window, Vec<Arc<Chunk>>>,
    settled: BTreeSet<Window>,
    /// How far each lane that says when a window is whole has come.
    lanes: BTreeMap<Arc<Lane>, UnixNanos>,
    /// Somebody sends rows who never says when a window is whole.
    has_pushers: bool,
}

/// A lane that is this many windows behind holds up nobody.
const WINDOWS_BEHIND: u32 = 4;

// === impl Settling ===

impl Settling {
    pub(crate) fn new(wait: Duration, age: Duration) -> Self {
        let (waiting, settled, lanes) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { wait, age, waiting, settled, lanes, has_pushers: false }
    }

    /// Whether streams had this window, but for what may come late.
    pub(crate) fn is_settled(&self, window: Window) -> bool {
        !self.waiting.contains_key(&window)
    }

    /// Nobody waits for this window.
    pub(super) fn restored(&mut self, window: Window) {
        self.settled.insert(window);
    }

    /// Takes in rows of a lane's window, which may be none: what streams get now.
    pub(super) fn closed(
        &mut self,
        lane: &Arc<Lane>,
        chunk: &Arc<Chunk>,
        is_last: bool,
        newest: UnixNanos,
        best: impl Fn(Window) -> Best,
    ) -> Vec<Arc<Bucket>> {
        let window = chunk.window;
        let oldest = newest.before(self.age);
        self.settled.retain(|settled| settled.end >= oldest);
        self.has_pushers |= chunk.lanes().iter().any(|(_, origins)| origins.is_best(Origin::Felix));
        if self.settled.contains(&window) || window.end < oldest {
            let correction = bucket(window, true, &[Arc::clone(chunk)], &best(window));
            return correction.into_iter().collect();
        }
        if chunk.len() > 0 {
            self.waiting.entry(window).or_default().push(Arc::clone(chunk));
        }
        if is_last {
            let reached = self.lanes.entry(Arc::clone(lane)).or_default();
            *reached = window.end.max(*reached);
        }
        let length = window.end.since(window.start);
        self.lanes.retain(|_, reached| *reached >= newest.before(length * WINDOWS_BEHIND));
        let reached = self.lanes.values().min().copied().unwrap_or_default();
        if self.has_pushers { Vec::new() } else { self.settle(reached, best) }
    }

    /// What streams get at this time.
    pub(super) fn tick(
        &mut self,
        now: UnixNanos,
        best: impl Fn(Window) -> Best,
    ) -> Vec<Arc<Bucket>> {
        self.settle(now.before(self.wait), best)
    }

    /// Windows that end at `until` or before.
    fn settle(&mut self, until: UnixNanos, best: impl Fn(Window) -> Best) -> Vec<Arc<Bucket>> {
        let mut settled = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let window = *first.key();
            if window.end > until {
                break;
            }
            let chunks = first.remove();
            self.settled.insert(window);
            settled.extend(bucket(window, false, &chunks, &best(window)));
        }
        settled
    }
}

/// One sum for each key; nothing when no row counts.
fn bucket(
    window: Window,
    is_correction: bool,
    chunks: &[Arc<Chunk>],
    best: &Best,
) -> Option<Arc<Bucket>> {
    let mut places: FxHashMap<u32, usize> = FxHashMap::default();
    let mut sums: Vec<Sum> = Vec::new();
    for chunk in chunks {
        for (row, group) in chunk.groups().iter().enumerate() {
            if !best.counts(chunk, row) {
                continue;
            }
            let key = chunk.key(row);
            let place = *places.entry(*group).or_insert_with(|| {
                sums.push(Sum::new(key, window).detailed());
                sums.len() - 1
            });
            sums[place].add(chunk, row);
        }
    }
    // In the order of their numbers, so that a reader can say how far he has come.
    sums.sort_unstable_by_key(|sum| sum.group.id);
    (!sums.is_empty()).then(|| Arc::new(Bucket { window, is_correction, sums }))
}
