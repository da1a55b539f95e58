//! Windows as they settle, for one reader: the past that is asked for, then what comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use schemas::filter::Filter;
use schemas::{UnixNanos, Window};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::ask::{Order, Paging, Scope, Wanted, list};
use crate::asker::Asker;
use crate::memory::{Bucket, Sum};
use crate::metrics::Metrics;

/// What a stream asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streamed {
    pub(crate) filter: Filter,
    /// From the window that holds this time; nothing is from now on.
    pub(crate) from: Option<UnixNanos>,
    /// Longer than a window: sums of so long.
    pub(crate) interval: Option<Duration>,
    /// Nothing of windows before this one, and in it no key up to this number.
    pub(crate) after: Option<Place>,
}

/// How far a reader has come: keys of a window come in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) start: UnixNanos,
    pub(crate) key: i64,
}

/// What a reader gets.
#[derive(Debug)]
pub(crate) enum Told {
    Sum {
        sum: Box<Sum>,
        /// A delta to what came before.
        is_correction: bool,
    },
    /// The reader was behind: so many windows or corrections are missing.
    Missed(u64),
}

/// A reader's place in what comes.
pub(crate) struct Stream {
    asked: Streamed,
    asker: Asker,
    queue: VecDeque<Told>,
    buckets: broadcast::Receiver<Arc<Bucket>>,
    /// Sums of intervals that are not over, by start.
    open: BTreeMap<UnixNanos, FxHashMap<u32, Sum>>,
    /// Intervals that were told end here.
    told: UnixNanos,
    metrics: Metrics,
    _permit: OwnedSemaphorePermit,
}

/// Why nothing can be streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoStream {
    TooMany,
    Ending,
}

/// How often intervals are looked at that nothing comes for.
const LOOK: Duration = Duration::from_secs(1);

// === impl Stream ===

impl Stream {
    /// The past, which is all that has settled, and what settles from here on: nothing is missing
    /// between the two, and nothing is in both.
    pub(crate) fn new(asker: &Asker, asked: Streamed) -> Result<Self, NoStream> {
        let permit = asker.stream().ok_or(NoStream::TooMany)?;
        let recent = asker.recent();
        let (past, buckets) = {
            let state = recent.state.read();
            let buckets = recent.buckets.upgrade().ok_or(NoStream::Ending)?.subscribe();
            let is_past = |window: Window| {
                asked.from.is_some_and(|from| window.end > from)
                    && state.settling().is_settled(window)
            };
            let chunks = if asked.from.is_some() { state.snapshot().chunks } else { Vec::new() };
            (Scope::new(chunks, is_past), buckets)
        };
        let metrics = recent.metrics.clone();
        metrics.streams.inc();
        let mut stream = Self {
            asked,
            asker: asker.clone(),
            queue: VecDeque::new(),
            buckets,
            open: BTreeMap::new(),
            told: UnixNanos(0),
            metrics,
            _permit: permit,
        };
        stream.begin(&past);
        Ok(stream)
    }

    /// The next sums; nothing when the daemon ends.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.queue.pop_front() {
                return Some(told);
            }
            let look = async {
                match self.asked.interval {
                    Some(_) => tokio::time::sleep(LOOK).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                bucket = self.buckets.recv() => match bucket {
                    Ok(bucket) => self.take(&bucket),
                    Err(RecvError::Lagged(missed)) => {
                        self.metrics.dropped("slow_stream", missed);
                        self.queue.push_back(Told::Missed(missed));
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = look => self.tell_until(self.settled_by_now()),
            }
        }
    }

    fn settled_by_now(&self) -> UnixNanos {
        let wait = self.asker.recent().limits().settle + self.asker.window();
        self.asker.now().before(wait)
    }

    fn begin(&mut self, past: &Scope) {
        let window = Some(self.asker.window());
        let (order, paging) = ([Order::Time], Paging::default());
        let listed = list(past, &self.asked.filter, &order, window, paging, true);
        let mut sums = listed.sums;
        sums.sort_by_key(|sum| (sum.window.start, sum.group.id));
        let end = sums.last().map(|sum| sum.window.end);
        for sum in sums {
            self.add(sum, false);
        }
        self.tell_until(end.unwrap_or_default());
    }

    fn take(&mut self, bucket: &Bucket) {
        let mut wanted = Wanted::new(&self.asked.filter, 0);
        let sums = bucket.sums.iter().filter(|sum| wanted.has_key(&sum.group));
        for sum in sums.cloned().collect::<Vec<Sum>>() {
            self.add(sum, bucket.is_correction);
        }
        if !bucket.is_correction {
            self.tell_until(bucket.window.end);
        }
    }

    /// A window's sum goes out, or waits for the rest of its interval.
    fn add(&mut self, sum: Sum, is_correction: bool) {
        let Some(length) = self.asked.interval else { return self.put(sum, is_correction) };
        let interval = Window::holding(sum.window.start, length);
        if interval.end <= self.told {
            return self.put(sum.widened(interval), true);
        }
        let open = self.open.entry(interval.start).or_default();
        match open.get_mut(&sum.group.number()) {
            Some(known) => known.join(&sum),
            None => drop(open.insert(sum.group.number(), sum.widened(interval))),
        }
    }

    /// Tells the intervals that are over at this time.
    fn tell_until(&mut self, until: UnixNanos) {
        let Some(length) = self.asked.interval else { return };
        while let Some(first) = self.open.first_entry() {
            let end = first.key().after(length);
            if end > until {
                break;
            }
            let mut sums: Vec<Sum> = first.remove().into_values().collect();
            sums.sort_by_key(|sum| sum.group.id);
            self.told = self.told.max(end);
            for sum in sums {
                self.put(sum, false);
            }
        }
    }

    fn put(&mut self, sum: Sum, is_correction: bool) {
        let place = Place { start: sum.window.start, key: sum.group.id };
        if is_correction || self.asked.after.is_none_or(|after| place > after) {
            self.queue.push_back(Told::Sum { sum: Box::new(sum), is_correction });
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.metrics.streams.dec();
    }
}
