//! The thread that flips the halves, waits until the old one is quiet, and drains it.
//!
//! In this order: copy the half, write the ledger with the half's generation, clear the half, send
//! the copy. A crash before the ledger leaves the half to the next process; one after it leaves
//! rows that the ledger has and no store does, which the next process counts as lost.

use std::io;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;
use schemas::{Batch, Lane, Ledger, Observation, UnixNanos, Window};
use tokio::sync::mpsc::Sender;

use crate::decode::{Decoder, Reasons, Span, clear};
use crate::kernel::abi::{
    Control, DropKey, Dropped, FlowKey, Overflow, OverflowKey, Place, Spilled, TAG_EMPTY,
};
use crate::kernel::bpf;
use crate::kernel::clock::{Clock, monotonic_ns, realtime_ns};
use crate::kernel::object::ClockProgram;
use crate::kernel::symbols::Symbols;
use crate::ledger::Book;
use crate::metrics::{DirectionLabel, OverflowLabel, direction_name};
use crate::openings::Openings;
use crate::report::DrainReport;
use crate::watch::{Shared, chain};

/// How often a sleeping drain looks whether a half fills up.
const LOOK: Duration = Duration::from_millis(50);

/// Places that are looked at to tell how full a half is.
const LOOKED_AT: usize = 1_024;

/// A bell for the drain: the collector is to stop.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

/// Why the drain woke up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// A drain is due.
    Due,
    /// A half fills up.
    Full,
    /// The collector stops.
    Stop,
}

/// What a half has beside its table.
struct Aside {
    spilled: Vec<(FlowKey, Spilled)>,
    drops: Vec<(DropKey, Dropped)>,
}

/// Everything that the thread owns.
pub(crate) struct Drain {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) watchers: Vec<JoinHandle<()>>,
    pub(crate) sender: Sender<Batch<Observation>>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) book: Book,
    pub(crate) openings: Openings,
    pub(crate) reasons: Reasons,
    pub(crate) symbols: Symbols,
    pub(crate) clock_program: ClockProgram,
    pub(crate) clock: Clock,
    /// The end of the last batch.
    pub(crate) until: Option<UnixNanos>,
    pub(crate) overflowed: FxHashMap<OverflowKey, Overflow>,
}

// === impl Bell ===

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_all();
    }

    /// Whether it has rung before this time has passed.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let mut rung = self.rung.lock();
        if !*rung && !at_most.is_zero() {
            self.changed.wait_for(&mut rung, at_most);
        }
        *rung
    }
}

// === impl Drain ===

impl Drain {
    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.recover() {
            tracing::error!(error = chain(&error), "what was left in the maps is not read");
        }
        loop {
            let wake = self.sleep();
            if wake == Wake::Stop {
                self.stop_watchers();
            }
            if wake == Wake::Full {
                self.shared.metrics.drains_early.inc();
            }
            let sent = self.turn();
            match sent {
                Ok(true) if wake != Wake::Stop => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(error = chain(&error), "a drain failed and is tried again");
                    if wake == Wake::Stop {
                        break;
                    }
                }
            }
        }
        self.stop_watchers();
    }

    fn stop_watchers(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for watcher in self.watchers.drain(..) {
            if watcher.join().is_err() {
                tracing::error!("a watcher ended badly");
            }
        }
    }

    /// Sleeps until the next edge of the interval or of a window, or a half fills up.
    fn sleep(&self) -> Wake {
        let config = &self.shared.config;
        let next_edge = |from: UnixNanos| {
            let ends = [config.interval, config.window].map(|it| Window::holding(from, it).end);
            ends.into_iter().min().unwrap_or(from)
        };
        let due = next_edge(UnixNanos(realtime_ns()));
        loop {
            let now = UnixNanos(realtime_ns());
            let left = due.since(now);
            // The second when the wall clock was set back meanwhile.
            if left.is_zero() || left > 2 * config.interval {
                return Wake::Due;
            }
            if self.bell.wait(left.min(LOOK)) {
                return Wake::Stop;
            }
            if self.fills_up() {
                return Wake::Full;
            }
        }
    }

    /// Three quarters of the places are taken, of those that are looked at: a counter would cost
    /// the programs more. A table smaller than that would be drained all the time.
    fn fills_up(&self) -> bool {
        let store = &self.shared.store;
        let generation: u64 = store.control.get(offset_of!(Control, generation));
        let from = half_of(generation) * store.half_len();
        if store.half_len() < LOOKED_AT {
            return false;
        }
        let step = store.half_len() / LOOKED_AT;
        let tag = offset_of!(Place, key) + offset_of!(FlowKey, tag);
        let looked_at = (from..from + store.half_len()).step_by(step);
        let is_taken = |index: &usize| store.places.read_field::<u32>(*index, tag) != TAG_EMPTY;
        let count = looked_at.len();
        looked_at.filter(is_taken).count() * 4 > count * 3
    }

    /// What a process before has left: a half that it had counted is cleared, one that it had not
    /// is drained.
    fn recover(&mut self) -> io::Result<()> {
        let store = self.shared.store.clone();
        let control = store.control.read();
        self.tell_time()?;
        if control.began_ns == [0, 0] {
            let began = offset_of!(Control, began_ns) + 8 * half_of(control.generation);
            store.control.set(began, monotonic_ns());
            return Ok(());
        }
        store.grace.wait()?;
        let before = control.generation.saturating_sub(1);
        if before < control.base_generation {
            return Ok(());
        }
        if self.book.generation() >= before {
            return self.clear_uncounted(before);
        }
        let half = half_of(before);
        let from = self.clock.wall(control.began_ns[half]);
        let to = self.clock.wall(control.began_ns[half_of(control.generation)]);
        self.until = Some(from);
        self.drain(before, to.max(from), control.began_ns[half_of(control.generation)])?;
        Ok(())
    }

    fn clear_uncounted(&mut self, generation: u64) -> io::Result<()> {
        let half = half_of(generation);
        let spilled = bpf::read_all(self.shared.store.spilled(half))?;
        let aside = Aside { spilled, drops: self.read_drops(half)? };
        let places = u32::try_from(self.shared.store.half_len()).unwrap_or(u32::MAX);
        let taken: Vec<u32> = (0..places).collect();
        self.clear(half, &taken, &aside)
    }

    /// Flips, waits, drains and sends. False when nobody reads any more.
    fn turn(&mut self) -> io::Result<bool> {
        let store = self.shared.store.clone();
        let generation: u64 = store.control.get(offset_of!(Control, generation));
        // Of a flip that was made and not drained: an error came between.
        let is_flipped = self.book.generation() + 1 < generation
            && generation > store.control.read().base_generation + 1;
        let drained = if is_flipped { generation - 1 } else { generation };
        let mut flipped_ns = monotonic_ns();
        if is_flipped {
            flipped_ns = store.control.read().began_ns[half_of(generation)];
        } else {
            let next = half_of(generation + 1);
            store.control.set(offset_of!(Control, began_ns) + 8 * next, flipped_ns);
            store.control.set(offset_of!(Control, generation), generation + 1);
        }
        store.grace.wait()?;
        let waited = monotonic_ns().saturating_sub(flipped_ns);
        self.shared.metrics.grace_nanoseconds.inc_by(waited);
        self.tell_time()?;
        let to = self.clock.wall(flipped_ns);
        self.drain(drained, to, flipped_ns)
    }

    /// Maps the kernel's times to the wall clock.
    fn tell_time(&mut self) -> io::Result<()> {
        self.clock_program.run().map_err(io::Error::other)?;
        let control = self.shared.store.control.read();
        let clock = Clock::now(self.shared.ticks, control.clock_jiffies, control.clock_ns);
        if self.until.is_some() && clock.has_stepped_since(&self.clock) {
            self.shared.metrics.clock_steps.inc();
        }
        self.clock = clock;
        Ok(())
    }

    /// Reads, enters into the ledger, clears and sends a quiet half.
    fn drain(&mut self, generation: u64, to: UnixNanos, flipped_ns: u64) -> io::Result<bool> {
        let started = monotonic_ns();
        let control = self.shared.store.control.read();
        let half = half_of(generation);
        let from = self.until.unwrap_or_else(|| self.clock.wall(control.began_ns[half]));
        // Windows never go back, whatever the wall clock does.
        let to = to.max(from);
        let (ticks, clock) = (self.shared.ticks, self.clock);
        let span = Span { clock, ticks, from, to, until_ns: flipped_ns.max(started) };
        let (rows, ledger) = self.copy(generation, span)?;
        let nanoseconds = monotonic_ns().saturating_sub(started);
        let mut last = self.shared.last_drain.lock();
        let grace_nanoseconds = started.saturating_sub(flipped_ns);
        let number = last.number + 1;
        *last = DrainReport { number, rows: rows.len(), nanoseconds, grace_nanoseconds };
        drop(last);
        self.until = Some(to);
        // The rows are out of the kernel: whatever else fails, they are sent.
        if let Err(error) = self.after(generation) {
            tracing::warn!(error = chain(&error), "what goes with a drain is left to the next one");
        }
        self.shared.metrics.drain_nanoseconds.inc_by(nanoseconds);
        Ok(self.send(from, to, rows, ledger))
    }

    /// The half's rows, entered into the ledger; the half is empty afterwards.
    fn copy(&mut self, generation: u64, span: Span) -> io::Result<(Vec<Observation>, Ledger)> {
        let shared = self.shared.clone();
        let half = half_of(generation);
        let aside = Aside {
            spilled: match shared.store.control.read().spilled[half] {
                0 => Vec::new(),
                _ => bpf::read_all(shared.store.spilled(half))?,
            },
            drops: self.read_drops(half)?,
        };
        let (rows, taken) = self.decode(&shared, generation, span, &aside)?;
        self.book.write(&shared.store.ledger, generation);
        self.clear(half, &taken, &aside)?;
        shared.metrics.places_used.set(i64::try_from(taken.len()).unwrap_or(i64::MAX));
        Ok((rows, self.book.ledger()))
    }

    /// The half's rows, added to the book, and the places that they were in.
    fn decode(
        &mut self,
        shared: &Shared,
        generation: u64,
        span: Span,
        aside: &Aside,
    ) -> io::Result<(Vec<Observation>, Vec<u32>)> {
        // As many as last time, and a few.
        let rows_expected = shared.last_drain.lock().rows * 9 / 8;
        let (mirrors, table) = (shared.mirrors.all(), shared.attachments.read());
        let mut translated = FxHashMap::default();
        for (number, mirror) in &mirrors {
            let mut mirror = mirror.lock();
            mirror.catch_up(generation + 1)?;
            if !mirror.is_empty() {
                translated.insert(*number, mirror);
            }
        }
        let mut decoder = Decoder::new(span, &table, translated, &mut self.openings, rows_expected);
        let (store, length) = (&shared.store, shared.store.half_len());
        let from = half_of(generation) * length;
        #[expect(unsafe_code, reason = "the grace has passed: nothing writes to this half")]
        // SAFETY: the flip and the wait came before, and this thread alone drains.
        let places = unsafe { store.places.quiet(from, length) };
        let taken = decoder.flows(places, aside.spilled.iter().copied().collect());
        decoder.drops(&aside.drops, &mut self.reasons, &mut self.symbols);
        for sum in decoder.sums.values() {
            self.book.add(generation, sum.interface, sum.direction, sum.packets, sum.bytes);
            let label = DirectionLabel { direction: direction_name(sum.direction) };
            shared.metrics.packets.get_or_create(&label).inc_by(sum.packets);
            shared.metrics.bytes.get_or_create(&label).inc_by(sum.bytes);
        }
        shared.metrics.drops_not_ours.inc_by(decoder.drops_not_ours);
        Ok((decoder.rows, taken))
    }

    fn read_drops(&self, half: usize) -> io::Result<Vec<(DropKey, Dropped)>> {
        self.shared.store.drops(half).map_or_else(|| Ok(Vec::new()), bpf::read_all)
    }

    fn clear(&self, half: usize, taken: &[u32], aside: &Aside) -> io::Result<()> {
        let store = &self.shared.store;
        #[expect(unsafe_code, reason = "nothing writes to this half, and its slices are gone")]
        // SAFETY: this thread alone drains, after the flip and the wait.
        unsafe {
            clear(&store.places, half * store.half_len(), taken);
        }
        let keys: Vec<FlowKey> = aside.spilled.iter().map(|(key, _)| *key).collect();
        bpf::delete_all(store.spilled(half), &keys)?;
        if let Some(map) = store.drops(half) {
            let keys: Vec<DropKey> = aside.drops.iter().map(|(key, _)| *key).collect();
            bpf::delete_all(map, &keys)?;
        }
        let spilled_packets: u64 = store.control.get(offset_of!(Control, spilled) + 8 * half);
        self.shared.metrics.spilled_packets.inc_by(spilled_packets);
        store.control.set(offset_of!(Control, spilled) + 8 * half, 0_u64);
        Ok(())
    }

    /// What follows from a half's being drained.
    fn after(&mut self, generation: u64) -> io::Result<()> {
        let metrics = &self.shared.metrics;
        metrics.drains.inc();
        let forgotten = self.openings.forgotten;
        self.openings.drained();
        metrics.openings_forgotten.inc_by(self.openings.forgotten - forgotten);
        self.count_overflow()?;
        self.shared.attachments.forget(generation);
        let watched = self.shared.attachments.read().len();
        self.shared.metrics.interfaces.set(i64::try_from(watched).unwrap_or(i64::MAX));
        self.follow_mirrors(generation)
    }

    fn follow_mirrors(&self, generation: u64) -> io::Result<()> {
        let metrics = &self.shared.metrics;
        let (mut held, mut refused, mut overruns) = (0, 0, 0);
        for (_, mirror) in self.shared.mirrors.all() {
            let mut mirror = mirror.lock();
            mirror.drained(generation)?;
            let counts = mirror.counts();
            held += counts.held;
            refused += counts.refused;
            overruns += counts.overruns;
        }
        metrics.conntrack_entries.set(i64::try_from(held).unwrap_or(i64::MAX));
        let raise = |counter: &prometheus_client::metrics::counter::Counter, to: u64| {
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        raise(&metrics.conntrack_refused, refused);
        raise(&metrics.conntrack_overruns, overruns);
        Ok(())
    }

    /// Adds what has overflowed since the last look.
    fn count_overflow(&mut self) -> io::Result<()> {
        let found: Vec<(OverflowKey, Overflow)> = bpf::read_all(self.shared.store.overflows())?;
        let table = self.shared.attachments.read();
        for (key, now) in &found {
            let before = self.overflowed.get(key).copied().unwrap_or_default();
            if *now == before {
                continue;
            }
            let netns = u32::from(key.scope >> 1);
            let at = crate::kernel::abi::InterfaceKey { netns, ifindex: key.ifindex };
            let interface = table.get(&at).map_or_else(String::new, |it| it.interface.label());
            let direction = direction_name(crate::attachments::direction_of(key.scope));
            let label =
                OverflowLabel { interface: interface.into(), direction, reason: key.reason_name() };
            let metrics = &self.shared.metrics;
            let packets = now.packets.saturating_sub(before.packets);
            let bytes = now.bytes.saturating_sub(before.bytes);
            metrics.overflow_packets.get_or_create(&label).inc_by(packets);
            metrics.overflow_bytes.get_or_create(&label).inc_by(bytes);
        }
        drop(table);
        self.overflowed = found.into_iter().collect();
        Ok(())
    }

    /// Sends a drain in batches of bounded rows; a drain without rows is a tick. Waits while the
    /// reader does: the kernel's half is the buffer. False when nobody reads any more.
    fn send(&self, from: UnixNanos, to: UnixNanos, rows: Vec<Observation>, ledger: Ledger) -> bool {
        self.shared.metrics.observations.inc_by(rows.len() as u64);
        let rows_max = self.shared.config.rows_max;
        let ledger = Arc::new(ledger);
        let mut rest = rows;
        loop {
            let later = rest.split_off(rest.len().min(rows_max));
            let rows = std::mem::replace(&mut rest, later);
            let is_last = rest.is_empty();
            let ledger = is_last.then(|| ledger.clone());
            let batch = Batch { lane: self.lane.clone(), from, to, rows, ledger };
            if self.sender.blocking_send(batch).is_err() {
                return false;
            }
            if is_last {
                return true;
            }
        }
    }
}

fn half_of(generation: u64) -> usize {
    usize::from(generation & 1 == 1)
}
