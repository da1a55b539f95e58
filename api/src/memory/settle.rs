//! Which windows streams get, and when: each once when no more of its rows are expected, and after
//! that what comes late, at once, as corrections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use schemas::{Lane, Origin, UnixNanos, Window};

use super::{Best, Chunk, Sum};

/// What streams get: one sum for each of Goldmane's keys of one window.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) window: Window,
    /// Of deltas to a window that streams had: the number of the first, from 1; the others' follow.
    /// 0 is the window itself.
    pub(crate) correction: u64,
    pub(crate) sums: Vec<Sum>,
}

/// Corrections that were told, so that a reader who comes back gets those that he missed.
#[derive(Debug)]
pub(crate) struct Corrections {
    /// Another for each process: numbers begin again with it.
    run: u32,
    /// Of the newest sum.
    number: u64,
    /// The newest, in order.
    kept: VecDeque<Arc<Bucket>>,
    /// Their sums.
    sums: usize,
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
    corrections: Corrections,
}

/// A lane that is this many windows behind holds up nobody.
const WINDOWS_BEHIND: u32 = 4;

/// Sums of corrections that are kept; a reader who missed more is told so.
const CORRECTED_SUMS_MAX: usize = 65_536;

// === impl Settling ===

impl Settling {
    pub(crate) fn new(wait: Duration, age: Duration) -> Self {
        let (waiting, settled, lanes) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let corrections = Corrections::new();
        Self { wait, age, waiting, settled, lanes, has_pushers: false, corrections }
    }

    /// The newest window that streams had.
    pub(crate) fn newest(&self) -> Option<Window> {
        self.settled.last().copied()
    }

    /// What came late and was told.
    pub(crate) fn corrections(&self) -> &Corrections {
        &self.corrections
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
            let (number, best) = (self.corrections.number + 1, best(window));
            let correction = bucket(window, number, &[Arc::clone(chunk)], &best, |_, _| true);
            return correction.map(|told| self.corrections.keep(told)).into_iter().collect();
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
            settled.extend(bucket(window, 0, &chunks, &best(window), |_, _| true));
        }
        settled
    }
}

// === impl Corrections ===

impl Corrections {
    fn new() -> Self {
        let run = RandomState::new().build_hasher().finish();
        let run = u32::try_from(run >> u32::BITS).unwrap_or_default();
        Self { run, number: 0, kept: VecDeque::new(), sums: 0 }
    }

    fn keep(&mut self, correction: Arc<Bucket>) -> Arc<Bucket> {
        self.number = correction.last();
        self.sums += correction.sums.len();
        self.kept.push_back(Arc::clone(&correction));
        while self.sums > CORRECTED_SUMS_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            self.sums -= oldest.sums.len();
        }
        correction
    }

    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Those with sums after this number, and how many sums are not kept any more.
    pub(crate) fn after(&self, number: u64) -> (Vec<Arc<Bucket>>, u64) {
        let kept = self.kept.iter().filter(|kept| kept.last() > number);
        let kept: Vec<_> = kept.cloned().collect();
        let next = kept.first().map_or(self.number + 1, |kept| kept.correction);
        (kept, next.saturating_sub(number.saturating_add(1)))
    }
}

// === impl Bucket ===

impl Bucket {
    /// Of the last sum, where it is a correction.
    fn last(&self) -> u64 {
        (self.correction + self.sums.len() as u64).saturating_sub(1)
    }
}

/// One sum for each key of the rows that are wanted; nothing when no row counts.
pub(crate) fn bucket(
    window: Window,
    correction: u64,
    chunks: &[Arc<Chunk>],
    best: &Best,
    mut is_wanted: impl FnMut(&Chunk, usize) -> bool,
) -> Option<Arc<Bucket>> {
    let mut places: FxHashMap<u32, usize> = FxHashMap::default();
    let mut sums: Vec<Sum> = Vec::new();
    for chunk in chunks {
        for (row, group) in chunk.groups().iter().enumerate() {
            if !best.counts(chunk, row) || !is_wanted(chunk, row) {
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
    (!sums.is_empty()).then(|| Arc::new(Bucket { window, correction, sums }))
}
