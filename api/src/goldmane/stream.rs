//! Windows as they settle, for one reader: the past that is asked for, then what comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use schemas::filter::Filter;
use schemas::{UnixNanos, Window};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::place::Place;
use crate::ask::{Scope, Wanted};
use crate::asker::{AskError, Asker};
use crate::memory::{Best, Bucket, Chunk, Corrections, Sum, bucket};
use crate::metrics::Metrics;

/// What a stream asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streamed {
    pub(crate) filter: Filter,
    /// From the window that holds this time; nothing is from now on.
    pub(crate) from: Option<UnixNanos>,
    /// Longer than a window: sums of so long.
    pub(crate) interval: Option<Duration>,
    /// Where a stream that broke had come to: nothing of what it had, and all corrections since.
    pub(crate) after: Option<Place>,
}

/// What a reader gets.
#[derive(Debug)]
pub(crate) enum Told {
    Sum(ToldSum),
    Missed(Missed),
}

/// One sum of what all readers share.
#[derive(Debug)]
pub(crate) struct ToldSum {
    bucket: Arc<Bucket>,
    at: usize,
}

/// What a reader should have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// The reader was behind: so many windows or corrections are missing.
    Slow(u64),
    /// So many corrections came while the reader was away, and are not kept any more.
    Away(u64),
    /// The daemon was started again while the reader was away: corrections of before are in lists.
    Restarted,
}

/// A reader's place in what comes.
pub(crate) struct Stream {
    asked: Streamed,
    asker: Asker,
    /// Windows of the past that were not looked at yet, oldest first.
    past: VecDeque<(Window, Vec<Arc<Chunk>>, Best)>,
    queue: VecDeque<Told>,
    buckets: broadcast::Receiver<Arc<Bucket>>,
    /// Sums of intervals that are not over, by start.
    open: BTreeMap<UnixNanos, FxHashMap<u32, Sum>>,
    /// Intervals that were told end here.
    told: UnixNanos,
    place: Place,
    /// The number of the newest correction when the stream began.
    corrected: u64,
    only_from: Option<UnixNanos>,
    metrics: Metrics,
    _permit: OwnedSemaphorePermit,
}

/// Why nothing can be streamed.
#[derive(Debug)]
pub(crate) enum NoStream {
    TooMany,
    Ending,
    Past(AskError),
}

/// What of the memory a stream begins with.
struct Begin {
    scope: Vec<Arc<Chunk>>,
    /// From when on the memory has everything.
    oldest: UnixNanos,
    /// That the reader has not had.
    corrections: Vec<Arc<Bucket>>,
    /// The number of the newest.
    corrected: u64,
    missed: Option<Missed>,
    place: Place,
}

/// How often intervals are looked at that nothing comes for.
const LOOK: Duration = Duration::from_secs(1);

// === impl Stream ===

impl Stream {
    /// The past, which is all that has settled, and what settles from here on: nothing is missing
    /// between the two, and nothing is in both. Reads the disk where the memory does not reach.
    pub(crate) fn new(asker: &Asker, asked: Streamed) -> Result<Self, NoStream> {
        let permit = asker.stream().ok_or(NoStream::TooMany)?;
        let (begin, buckets) = Begin::new(asker, &asked).ok_or(NoStream::Ending)?;
        let Begin { scope: mut chunks, oldest, corrections, .. } = begin;
        let Begin { corrected, missed, place, .. } = begin;
        let mut only_from = None;
        if let Some(from) = asked.from {
            let is_past = |window: Window| window.end > from;
            let reached = asker.reach(&mut chunks, oldest, (from, asker.now()), is_past);
            only_from = reached.map_err(NoStream::Past)?;
            chunks.retain(|chunk| is_past(chunk.window));
        }
        let metrics = asker.recent().metrics.clone();
        metrics.streams.inc();
        let mut stream = Self {
            past: Scope::new(chunks, |_| true).oldest_first().collect(),
            asked,
            asker: asker.clone(),
            queue: missed.map(Told::Missed).into_iter().collect(),
            buckets,
            open: BTreeMap::new(),
            told: UnixNanos(0),
            place,
            corrected,
            only_from,
            metrics,
            _permit: permit,
        };
        if let Some(Missed::Away(missed)) = missed {
            stream.metrics.dropped("slow_stream", missed);
        }
        for correction in corrections {
            stream.corrected(&correction);
        }
        Ok(stream)
    }

    /// The start of what is there, where the question began before that.
    pub(crate) fn only_from(&self) -> Option<UnixNanos> {
        self.only_from
    }

    /// How far the reader has come with what he was given.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The next sums; nothing when the daemon ends.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.queue.pop_front() {
                self.pass(&told);
                return Some(told);
            }
            // The past has what was corrected in it.
            self.place.corrections = self.place.corrections.max(self.corrected);
            if let Some(window) = self.past.pop_front() {
                self.take_past(window);
                // A long past is no reason to keep others waiting.
                tokio::task::yield_now().await;
                continue;
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
                        self.queue.push_back(Told::Missed(Missed::Slow(missed)));
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = look => self.tell_until(self.settled_by_now()),
            }
        }
    }

    /// The reader has this.
    fn pass(&mut self, told: &Told) {
        let Told::Sum(told) = told else { return };
        match told.correction() {
            None => self.place = self.place.at(told.sum()),
            Some(number) => self.place.corrections = number,
        }
    }

    fn settled_by_now(&self) -> UnixNanos {
        let wait = self.asker.recent().limits().settle + self.asker.window();
        self.asker.now().before(wait)
    }

    fn take_past(&mut self, (window, chunks, best): (Window, Vec<Arc<Chunk>>, Best)) {
        let mut wanted = Wanted::new(&self.asked.filter, 0);
        let is_wanted = |chunk: &Chunk, row: usize| {
            let key = &chunk.key(row).group;
            wanted.has(key.number(), || key) && wanted.has_row(chunk, row)
        };
        if let Some(bucket) = bucket(window, 0, &chunks, &best, is_wanted) {
            for at in 0..bucket.sums.len() {
                self.add(&bucket, at);
            }
        }
        self.tell_until(window.end);
    }

    fn take(&mut self, bucket: &Arc<Bucket>) {
        for at in self.wanted(bucket) {
            self.add(bucket, at);
        }
        if bucket.correction == 0 {
            self.tell_until(bucket.window.end);
        }
    }

    /// What came late while a reader was away, of the windows that he had: the others come whole.
    fn corrected(&mut self, bucket: &Arc<Bucket>) {
        let had = self.place;
        for at in self.wanted(bucket) {
            if bucket.correction + at as u64 > had.corrections && had.has(&bucket.sums[at]) {
                self.add(bucket, at);
            }
        }
    }

    fn wanted(&self, bucket: &Bucket) -> Vec<usize> {
        let mut wanted = Wanted::new(&self.asked.filter, 0);
        let all = bucket.sums.iter().enumerate();
        all.filter(|(_, sum)| wanted.has_sum(sum)).map(|(at, _)| at).collect()
    }

    /// A window's sum goes out, or waits for the rest of its interval.
    fn add(&mut self, bucket: &Arc<Bucket>, at: usize) {
        let Some(length) = self.asked.interval else {
            return self.put(ToldSum { bucket: Arc::clone(bucket), at });
        };
        let sum = &bucket.sums[at];
        let interval = Window::holding(sum.window.start, length);
        if interval.end <= self.told || bucket.correction > 0 {
            let correction = bucket.correction + at as u64;
            let told = Bucket { window: interval, correction, sums: vec![sum.widened(interval)] };
            return self.put(ToldSum { bucket: Arc::new(told), at: 0 });
        }
        let open = self.open.entry(interval.start).or_default();
        match open.get_mut(&sum.group.number()) {
            Some(known) => known.join(sum),
            None => drop(open.insert(sum.group.number(), sum.widened(interval))),
        }
    }

    /// Tells the intervals that are over at this time.
    fn tell_until(&mut self, until: UnixNanos) {
        let Some(length) = self.asked.interval else { return };
        while let Some(first) = self.open.first_entry() {
            let window = Window { start: *first.key(), end: first.key().after(length) };
            if window.end > until {
                break;
            }
            let mut sums: Vec<Sum> = first.remove().into_values().collect();
            sums.sort_by_key(|sum| sum.group.id);
            self.told = self.told.max(window.end);
            let bucket = Arc::new(Bucket { window, correction: 0, sums });
            for at in 0..bucket.sums.len() {
                self.put(ToldSum { bucket: Arc::clone(&bucket), at });
            }
        }
    }

    fn put(&mut self, told: ToldSum) {
        let is_had = self.asked.after.is_some_and(|after| after.has(told.sum()));
        if told.is_correction() || !is_had {
            self.queue.push_back(Told::Sum(told));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.metrics.streams.dec();
    }
}

// === impl Begin ===

impl Begin {
    /// One look at the memory, with what comes after it. Nothing when the daemon ends.
    fn new(asker: &Asker, asked: &Streamed) -> Option<(Self, broadcast::Receiver<Arc<Bucket>>)> {
        let recent = asker.recent();
        // Under the lock: what has settled is either in the past or on its way.
        let state = recent.state.read();
        let buckets = recent.buckets.upgrade()?.subscribe();
        let settling = state.settling();
        let known = settling.corrections();
        let (corrections, missed) = match asked.after {
            Some(after) => since(&after, known),
            None => (Vec::new(), None),
        };
        let place = match (asked.after, asked.from) {
            (Some(after), _) => after,
            (None, Some(from)) => Place::before(Window::holding(from, asker.window())),
            (None, None) => settling.newest().map_or_else(Place::default, Place::behind),
        };
        let corrected = known.number();
        let had = asked.after.filter(|after| after.run == known.run());
        let had = had.map_or(corrected, |after| after.corrections.min(corrected));
        let place = Place { corrections: had, run: known.run(), ..place };
        let mut snapshot = state.snapshot();
        let is_past = |window| asked.from.is_some() && settling.is_settled(window);
        // Windows that are waited for are in memory, too, and are not the files'.
        let oldest = snapshot.oldest(asker.now());
        snapshot.chunks.retain(|chunk| is_past(chunk.window));
        let scope = snapshot.chunks;
        let begin = Self { scope, oldest, corrections, corrected, missed, place };
        Some((begin, buckets))
    }
}

/// What came late after a place, and what of it is not there any more.
fn since(after: &Place, known: &Corrections) -> (Vec<Arc<Bucket>>, Option<Missed>) {
    if after.run != known.run() {
        return (Vec::new(), Some(Missed::Restarted));
    }
    let (kept, missed) = known.after(after.corrections);
    (kept, (missed > 0).then_some(Missed::Away(missed)))
}

// === impl ToldSum ===

impl ToldSum {
    pub(crate) fn sum(&self) -> &Sum {
        &self.bucket.sums[self.at]
    }

    /// The number of a delta to what came before.
    fn correction(&self) -> Option<u64> {
        let first = self.bucket.correction;
        (first > 0).then_some(first + self.at as u64)
    }

    /// A delta to what came before.
    pub(crate) fn is_correction(&self) -> bool {
        self.bucket.correction > 0
    }
}

// === impl Missed ===

impl Missed {
    /// Updates that are missing; 0 where nobody can say.
    pub(crate) fn updates(self) -> u64 {
        match self {
            Self::Slow(missed) | Self::Away(missed) => missed,
            Self::Restarted => 0,
        }
    }
}

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slow(missed) => {
                write!(f, "this reader was too slow: {missed} updates are missing")
            }
            Self::Away(missed) => write!(
                f,
                "{missed} corrections that came while this reader was away are not kept any more: \
                 lists have them"
            ),
            Self::Restarted => f.write_str(
                "the daemon was started again: corrections of windows that this reader had are in \
                 lists",
            ),
        }
    }
}
