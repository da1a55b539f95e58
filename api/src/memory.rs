//! Recent flows in memory, by window, bounded in bytes and age. One writer, many readers: a reader
//! takes references to chunks of rows under a short lock and looks at them without it, so that no
//! question, however long it takes, holds up what comes in.

mod chunk;
mod keys;
mod numbers;
mod packed;
mod settle;
mod sum;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use schemas::json::{FlowJson, Rereader};
use schemas::{Closed, Flow, Lane, RowId, UnixNanos, Window};
use tokio::sync::broadcast;

pub(crate) use chunk::{Chunk, Origins};
pub(crate) use keys::{End, Group, Key};
pub(crate) use numbers::Numbered;
pub(crate) use settle::{Bucket, Corrections, Settling, bucket};
pub(crate) use sum::{Best, Details, Sum};

use crate::feed::Event;
use crate::metrics::Metrics;
use keys::Keys;

/// What is kept, and what a reader may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the rows kept, without the endpoints and traces that they share.
    pub bytes: usize,
    /// How far back from the newest window.
    pub age: Duration,
    /// Rows of windows that are still open.
    pub open_rows: usize,
    /// Updates that a follower may be behind.
    pub follower_updates: usize,
    /// Questions answered at once, followers among them.
    pub requests: usize,
    /// How long after its end a window's rows are waited for, before streams get it.
    pub settle: Duration,
}

/// Recent flows, for readers. Clones share them.
#[derive(Clone, Debug)]
pub struct Recent {
    pub(crate) state: Arc<RwLock<State>>,
    pub(crate) events: broadcast::WeakSender<Event>,
    pub(crate) buckets: broadcast::WeakSender<Arc<Bucket>>,
    pub(crate) metrics: Metrics,
}

/// What is kept now.
#[derive(Debug)]
pub(crate) struct State {
    limits: Limits,
    metrics: Metrics,
    keys: Keys,
    windows: BTreeMap<Window, Segment>,
    open: VecDeque<Arc<Flow>>,
    settling: Settling,
    /// Of the chunks.
    bytes: usize,
    rows: usize,
    sequence: u64,
    newest: UnixNanos,
    /// Of windows that end at this time or before, rows have been forgotten.
    forgotten_until: UnixNanos,
}

/// Rows of one window.
#[derive(Debug, Default)]
struct Segment {
    /// In the order that they came.
    chunks: Vec<Arc<Chunk>>,
    /// Rows that there have ever been.
    rows: u64,
}

/// What a reader looks at, newest first.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) open: Vec<Arc<Flow>>,
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// The last update in it.
    pub(crate) sequence: u64,
    /// Windows that end at this time or before are not whole.
    pub(crate) forgotten_until: UnixNanos,
}

/// Small chunks are joined up to this many rows.
const JOINED_ROWS: usize = 8_192;

// === impl Limits ===

impl Default for Limits {
    /// An hour and 128 MiB.
    fn default() -> Self {
        Self {
            bytes: 128 << 20,
            age: Duration::from_hours(1),
            open_rows: 16_384,
            follower_updates: 256,
            requests: 64,
            settle: Duration::from_secs(15),
        }
    }
}

// === impl Recent ===

impl Recent {
    pub(crate) fn new(
        limits: Limits,
        metrics: Metrics,
        events: broadcast::WeakSender<Event>,
        buckets: broadcast::WeakSender<Arc<Bucket>>,
    ) -> Self {
        let state = State {
            limits,
            metrics: metrics.clone(),
            keys: Keys::default(),
            windows: BTreeMap::new(),
            open: VecDeque::new(),
            settling: Settling::new(limits.settle, limits.age),
            bytes: 0,
            rows: 0,
            sequence: 0,
            newest: UnixNanos::default(),
            forgotten_until: UnixNanos::default(),
        };
        Self { state: Arc::new(RwLock::new(state)), events, buckets, metrics }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.state.read().snapshot()
    }

    /// Says what the time is: windows that nothing more is expected of go out to streams. False when
    /// there is no feed any more.
    pub fn tick(&self, now: UnixNanos) -> bool {
        let Some(buckets) = self.buckets.upgrade() else { return false };
        // Sent under the lock: who begins to stream has a window either from memory or from here.
        let mut state = self.state.write();
        for bucket in state.tick(now) {
            // Nobody streaming is not an error.
            drop(buckets.send(bucket));
        }
        true
    }

    /// Chunks of rows that are not kept: what they share is, as long as somebody looks at them.
    pub(crate) fn chunks_of(&self, rereader: &Rereader, rows: Vec<FlowJson>) -> Vec<Arc<Chunk>> {
        // Locked for one window at a time: what comes in waits for no more than that.
        let chunk = |((window, lane), rows): ((Window, Lane), Vec<Flow>)| {
            let keys = &mut self.state.write().keys;
            Arc::new(Chunk::new(&Arc::new(lane), window, 0, &rows, keys))
        };
        by_window(rereader, rows).into_iter().map(chunk).collect()
    }

    /// The end of the newest window that has closed; the epoch when none has.
    #[must_use]
    pub fn newest_window_end(&self) -> UnixNanos {
        self.state.read().newest
    }

    pub(crate) fn limits(&self) -> Limits {
        self.state.read().limits
    }

    /// Rows kept of closed windows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.state.read().rows
    }

    /// Memory of the rows and of what they share, but for endpoints and traces.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state.read().memory()
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// From when on the memory has everything: `now` where it has nothing.
    pub(crate) fn oldest(&self, now: UnixNanos) -> UnixNanos {
        let oldest = self.chunks.iter().map(|chunk| chunk.window.start).min();
        oldest.unwrap_or(now).max(self.forgotten_until)
    }
}

// === impl State ===

impl State {
    /// The last update that was taken in.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let open = self.open.iter().rev().cloned().collect();
        let newest_first = self.windows.values().rev();
        let chunks = newest_first.flat_map(|segment| segment.chunks.iter().rev().cloned());
        let Self { sequence, forgotten_until, .. } = *self;
        Snapshot { open, chunks: chunks.collect(), sequence, forgotten_until }
    }

    /// Windows whose rows are still waited for.
    pub(crate) fn settling(&self) -> &Settling {
        &self.settling
    }

    /// Takes in rows of a window that is still open.
    pub(crate) fn open(&mut self, rows: Vec<Flow>) -> (u64, Arc<[Arc<Flow>]>) {
        let rows: Arc<[Arc<Flow>]> = rows.into_iter().map(Arc::new).collect();
        for row in rows.iter() {
            self.open.push_back(Arc::clone(row));
        }
        let excess = self.open.len().saturating_sub(self.limits.open_rows);
        self.open.drain(..excess);
        if excess > 0 {
            self.metrics.dropped("open_rows", excess as u64);
        }
        self.sequence += 1;
        (self.sequence, rows)
    }

    /// Takes in rows of a window that has closed: the chunk of them, and what streams get.
    pub(crate) fn close(&mut self, closed: Closed) -> (Arc<Chunk>, Vec<Arc<Bucket>>) {
        let Closed { lane, window, mut rows, is_last, .. } = closed;
        rows.sort_by_key(|row| row.last);
        self.forget_open(&rows, window, is_last);
        self.sequence += 1;
        let first = self.windows.get(&window).map_or(0, |segment| segment.rows);
        let chunk = Arc::new(Chunk::new(&lane, window, first, &rows, &mut self.keys));
        self.newest = self.newest.max(window.end);
        if chunk.len() > 0 {
            self.keep(Arc::clone(&chunk));
        }
        let windows = &self.windows;
        let best = |window| best(windows, window);
        let settled = self.settling.closed(&lane, &chunk, is_last, self.newest, best);
        self.forget_old();
        self.metrics.rows.inc_by(chunk.len() as u64);
        self.measure();
        (chunk, settled)
    }

    /// Takes in rows that were stored before this process began: nobody who streams gets them.
    pub(crate) fn restore(&mut self, closed: Closed) {
        self.settling.restored(closed.window);
        drop(self.close(Closed { is_last: false, ..closed }));
    }

    /// What streams get now that it is this late.
    pub(crate) fn tick(&mut self, now: UnixNanos) -> Vec<Arc<Bucket>> {
        let windows = &self.windows;
        self.settling.tick(now, |window| best(windows, window))
    }

    fn keep(&mut self, chunk: Arc<Chunk>) {
        let segment = self.windows.entry(chunk.window).or_default();
        segment.rows += chunk.len() as u64;
        self.rows += chunk.len();
        self.bytes += chunk.bytes();
        let joined = segment.chunks.last().filter(|last| last.len() + chunk.len() <= JOINED_ROWS);
        let joined = joined.and_then(|last| Some((last.bytes(), last.joined(&chunk)?)));
        match joined {
            Some((before, joined)) => {
                self.bytes = self.bytes + joined.bytes() - before - chunk.bytes();
                segment.chunks.pop();
                segment.chunks.push(Arc::new(joined));
            }
            None => segment.chunks.push(chunk),
        }
    }

    /// An opened row goes when its window's row is there, or when its window has closed.
    fn forget_open(&mut self, rows: &[Flow], window: Window, is_last: bool) {
        if self.open.is_empty() {
            return;
        }
        let closed: HashSet<RowId> = rows.iter().map(|row| row.id).collect();
        let stays = |row: &Arc<Flow>| {
            !closed.contains(&row.id) && (!is_last || row.window.end > window.end)
        };
        self.open.retain(stays);
    }

    fn memory(&self) -> usize {
        self.bytes + self.keys.bytes()
    }

    /// What is older than the limit goes quietly; what does not fit is counted.
    fn forget_old(&mut self) {
        let oldest = self.newest.before(self.limits.age);
        let mut has_gone = false;
        while let Some(mut segment) = self.windows.first_entry() {
            let is_old = segment.key().end < oldest;
            if !is_old && self.bytes + self.keys.bytes() <= self.limits.bytes {
                break;
            }
            if segment.get().chunks.is_empty() {
                segment.remove();
                continue;
            }
            self.forgotten_until = self.forgotten_until.max(segment.key().end);
            let chunk = segment.get_mut().chunks.remove(0);
            self.bytes -= chunk.bytes();
            self.rows -= chunk.len();
            if !is_old {
                self.metrics.dropped("memory", chunk.len() as u64);
                drop(chunk);
                self.keys.sweep();
            }
            has_gone = true;
        }
        if has_gone {
            self.keys.sweep();
        }
    }

    fn measure(&self) {
        self.metrics.held_rows.set(gauge(self.rows));
        self.metrics.held_bytes.set(gauge(self.memory()));
        self.metrics.held_keys.set(gauge(self.keys.groups()));
    }
}

/// Rows that were written out, by window and lane, each once.
pub(crate) fn by_window(
    rereader: &Rereader,
    rows: Vec<FlowJson>,
) -> BTreeMap<(Window, Lane), Vec<Flow>> {
    let mut windows: BTreeMap<(Window, Lane), Vec<Flow>> = BTreeMap::new();
    let mut ids = HashSet::new();
    for row in rows {
        let lane = row.lane.clone().unwrap_or_else(nobody);
        let flow = rereader.flow(row);
        if ids.insert(flow.id) {
            windows.entry((flow.window, lane)).or_default().push(flow);
        }
    }
    windows
}

/// Whose rows are that do not say.
fn nobody() -> Lane {
    Lane { node: "".into(), boot_id: "".into(), incarnation: 0 }
}

/// Which origin is added up for each node of a window.
fn best(windows: &BTreeMap<Window, Segment>, window: Window) -> Best {
    Best::of(windows.get(&window).into_iter().flat_map(|segment| segment.chunks.iter()))
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
