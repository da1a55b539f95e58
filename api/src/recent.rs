//! Recent flows, as pieces of closed windows, bounded in bytes and age. One writer, many readers:
//! a reader takes references to the pieces under a short lock and looks at them without it.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use schemas::evidence::Dropped;
use schemas::{Closed, Flow, Lane, RowId, UnixNanos, Window};
use tokio::sync::broadcast;

use crate::feed::Event;
use crate::metrics::Metrics;

/// What is kept, and what a reader may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the rows kept, without the values they share.
    pub bytes: usize,
    /// How far back from the newest window.
    pub age: Duration,
    /// Rows of windows that are still open.
    pub open_rows: usize,
    /// Updates that a follower may be behind.
    pub follower_updates: usize,
    /// Questions answered at once, followers among them.
    pub requests: usize,
}

/// Recent flows, for readers. Clones share them.
#[derive(Clone, Debug)]
pub struct Recent {
    pub(crate) state: Arc<RwLock<State>>,
    pub(crate) events: broadcast::WeakSender<Event>,
    pub(crate) metrics: Metrics,
}

/// A piece of a closed window as it is kept.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) lane: Arc<Lane>,
    pub(crate) window: Window,
    /// Last seen first.
    pub(crate) rows: Box<[Flow]>,
    /// Grows with every piece and every set of opened rows.
    pub(crate) sequence: u64,
}

/// What is kept now.
#[derive(Debug)]
pub(crate) struct State {
    limits: Limits,
    metrics: Metrics,
    /// By end of window, then as they came.
    pieces: VecDeque<Arc<Piece>>,
    open: VecDeque<Arc<Flow>>,
    bytes: usize,
    rows: usize,
    sequence: u64,
    newest: UnixNanos,
}

/// What a reader looks at, newest first.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) open: Vec<Arc<Flow>>,
    pub(crate) pieces: Vec<Arc<Piece>>,
    /// The last update in it.
    pub(crate) sequence: u64,
}

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
        }
    }
}

// === impl Recent ===

impl Recent {
    pub(crate) fn new(
        limits: Limits,
        metrics: Metrics,
        events: broadcast::WeakSender<Event>,
    ) -> Self {
        let state = State {
            limits,
            metrics: metrics.clone(),
            pieces: VecDeque::new(),
            open: VecDeque::new(),
            bytes: 0,
            rows: 0,
            sequence: 0,
            newest: UnixNanos::default(),
        };
        Self { state: Arc::new(RwLock::new(state)), events, metrics }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state.read();
        let open = state.open.iter().rev().cloned().collect();
        let pieces = state.pieces.iter().rev().cloned().collect();
        Snapshot { open, pieces, sequence: state.sequence }
    }

    /// The end of the newest window that has closed; the epoch when none has.
    #[must_use]
    pub fn newest_window_end(&self) -> UnixNanos {
        self.state.read().newest
    }

    pub(crate) fn age(&self) -> Duration {
        self.state.read().limits.age
    }

    pub(crate) fn requests_max(&self) -> usize {
        self.state.read().limits.requests
    }

    /// Rows kept of closed windows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.state.read().rows
    }
}

// === impl State ===

impl State {
    /// The last update that was taken in.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
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

    /// Takes in rows of a window that has closed.
    pub(crate) fn close(&mut self, closed: Closed) -> Arc<Piece> {
        let Closed { lane, window, mut rows, is_last, .. } = closed;
        rows.sort_by_key(|row| std::cmp::Reverse(row.last));
        self.forget_open(&rows, window, is_last);
        self.sequence += 1;
        let sequence = self.sequence;
        let piece = Arc::new(Piece { lane, window, rows: rows.into_boxed_slice(), sequence });
        self.newest = self.newest.max(window.end);
        if !piece.rows.is_empty() {
            let after = self.pieces.iter().rev().take_while(|p| p.window.end > window.end).count();
            self.pieces.insert(self.pieces.len() - after, Arc::clone(&piece));
            self.bytes += piece.bytes();
            self.rows += piece.rows.len();
        }
        self.forget_old();
        self.metrics.rows.inc_by(piece.rows.len() as u64);
        self.metrics.held_rows.set(gauge(self.rows));
        self.metrics.held_bytes.set(gauge(self.bytes));
        piece
    }

    /// An opened row goes when its window's row is there, or when its window has closed.
    fn forget_open(&mut self, rows: &[Flow], window: Window, is_last: bool) {
        if self.open.is_empty() {
            return;
        }
        let closed: std::collections::HashSet<RowId> = rows.iter().map(|row| row.id).collect();
        let stays = |row: &Arc<Flow>| {
            !closed.contains(&row.id) && (!is_last || row.window.end > window.end)
        };
        self.open.retain(stays);
    }

    /// What is older than the limit goes quietly; what does not fit is counted.
    fn forget_old(&mut self) {
        let oldest = self.newest.before(self.limits.age);
        while let Some(piece) = self.pieces.front() {
            let is_old = piece.window.end < oldest;
            if !is_old && self.bytes <= self.limits.bytes {
                break;
            }
            if !is_old {
                self.metrics.dropped("memory", piece.rows.len() as u64);
            }
            self.bytes -= piece.bytes();
            self.rows -= piece.rows.len();
            self.pieces.pop_front();
        }
    }
}

// === impl Piece ===

impl Piece {
    /// Memory of its rows: interned values are counted where they are held.
    fn bytes(&self) -> usize {
        let spilled = |row: &Flow| {
            let dropped = &row.evidence.dropped;
            if dropped.spilled() { dropped.capacity() * size_of::<Dropped>() } else { 0 }
        };
        size_of::<Self>()
            + self.rows.iter().map(|row| size_of::<Flow>() + spilled(row)).sum::<usize>()
    }
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
