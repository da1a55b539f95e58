//! Compiled sets with the time since when each is in force: a connection is judged by the set of
//! its first packet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use schemas::UnixNanos;

use crate::Compiled;

/// How much of the past is kept. The set in force is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineLimits {
    /// Sets that were replaced longer ago than this are forgotten.
    pub age: Duration,
    /// The most sets kept.
    pub sets: usize,
    /// The most bytes that sets of the past may hold, estimated.
    pub bytes: usize,
}

/// Reads which set was in force when. Clones share it.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Shared>);

/// The one writer.
#[derive(Debug)]
pub struct TimelineWriter {
    shared: Arc<Shared>,
    limits: TimelineLimits,
    writing: Mutex<()>,
}

/// The set of a time.
#[derive(Clone, Debug)]
pub enum AtTime {
    /// This one was in force.
    Set(Arc<Compiled>),
    /// One that was forgotten.
    NotKept,
    /// No set had been published yet.
    NoneYet,
}

/// What a timeline holds and has forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimelineStats {
    /// Sets held, the one in force included.
    pub sets: usize,
    /// Bytes that they hold, estimated.
    pub bytes: usize,
    /// Sets forgotten so far.
    pub forgotten: u64,
}

#[derive(Debug, Default)]
struct Shared {
    history: ArcSwap<History>,
}

#[derive(Clone, Debug, Default)]
struct History {
    /// In order of their times.
    spans: VecDeque<Span>,
    forgotten: u64,
}

#[derive(Clone, Debug)]
struct Span {
    since: UnixNanos,
    set: Arc<Compiled>,
}

// === impl TimelineLimits ===

impl Default for TimelineLimits {
    fn default() -> Self {
        Self { age: Duration::from_hours(1), sets: 1_000, bytes: 256 << 20 }
    }
}

// === impl Timeline ===

impl Timeline {
    /// An empty timeline and its writer.
    #[must_use]
    pub fn new(limits: TimelineLimits) -> (TimelineWriter, Timeline) {
        let shared = Arc::new(Shared::default());
        let writer = TimelineWriter { shared: shared.clone(), limits, writing: Mutex::new(()) };
        (writer, Timeline(shared))
    }

    /// The set that was in force at this time.
    #[must_use]
    pub fn at(&self, at: UnixNanos) -> AtTime {
        let history = self.0.history.load();
        match history.spans.iter().rev().find(|span| span.since <= at) {
            Some(span) => AtTime::Set(span.set.clone()),
            None if history.forgotten > 0 => AtTime::NotKept,
            None => AtTime::NoneYet,
        }
    }

    /// The newest set.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Compiled>> {
        self.0.history.load().spans.back().map(|span| span.set.clone())
    }

    /// The kept set of this revision, the newest where it came back.
    #[must_use]
    pub fn of_revision(&self, revision: u64) -> Option<Arc<Compiled>> {
        let history = self.0.history.load();
        let found = history.spans.iter().rev().find(|span| span.set.revision() == revision);
        found.map(|span| span.set.clone())
    }

    /// What it holds and has forgotten.
    #[must_use]
    pub fn stats(&self) -> TimelineStats {
        let history = self.0.history.load();
        TimelineStats {
            sets: history.spans.len(),
            bytes: history.spans.iter().map(|span| span.set.bytes()).sum(),
            forgotten: history.forgotten,
        }
    }
}

// === impl TimelineWriter ===

impl TimelineWriter {
    /// From `at` on this set is in force. A time before the newest set's counts as that set's: time
    /// does not go back.
    pub fn publish(&self, set: impl Into<Arc<Compiled>>, at: UnixNanos) {
        let _one_at_a_time = self.writing.lock();
        let mut history = History::clone(&self.shared.history.load());
        let since = history.spans.back().map_or(at, |span| at.max(span.since));
        if history.spans.back().is_some_and(|span| span.since == since) {
            history.spans.pop_back();
        }
        history.spans.push_back(Span { since, set: set.into() });
        history.forget(&self.limits, since);
        self.shared.history.store(Arc::new(history));
    }
}

// === impl History ===

impl History {
    /// Drops the oldest sets until every limit holds.
    fn forget(&mut self, limits: &TimelineLimits, now: UnixNanos) {
        while self.spans.len() > 1 && self.is_over(limits, now) {
            self.spans.pop_front();
            self.forgotten += 1;
        }
    }

    fn is_over(&self, limits: &TimelineLimits, now: UnixNanos) -> bool {
        let past = self.spans.len() - 1;
        let bytes: usize = self.spans.iter().take(past).map(|span| span.set.bytes()).sum();
        let replaced = self.spans.get(1).map(|span| span.since);
        self.spans.len() > limits.sets.max(1)
            || bytes > limits.bytes
            || replaced.is_some_and(|replaced| replaced < now.before(limits.age))
    }
}
