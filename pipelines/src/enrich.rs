//! Says who the ends of a connection are, and which service was called, at the time when the
//! connection was opened.
//!
//! A connection keeps its ends; only when an address has changed hands does what follows count as
//! a new connection. A row with an address of the cluster that nobody has yet is held for a while,
//! and with it the later windows of its lane, so that a window's end waits for its rows.

mod ends;
mod remembered;
mod resolve;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use cluster::{Reader, View};
use rustc_hash::FxHashMap;
use schemas::{Batch, Connection, Lane, UnixNanos};

use crate::connect::place;
use crate::stage::Head;
use crate::{Amount, Outbox, Row, Stage};
use remembered::{Memory, NOT_SETTLED, Remembered};
use resolve::{Found, Recheck, Resolver};
use waiting::{Held, Waiting};

pub use ends::{Backend, Backends, Ends};

/// How ends are found and waited for.
#[derive(Clone, Debug)]
pub struct EnrichConfig {
    /// How long a row waits for an address that nobody has yet.
    pub hold: Duration,
    /// After how long it is shown as unknown while it waits.
    pub preview_after: Duration,
    /// The most rows that wait, and the most that wait behind them.
    pub held_max: usize,
    /// The most connections whose ends are remembered; at least as many as `connect` remembers.
    pub connections_max: usize,
    /// The most pairs of ends that are shared between connections.
    pub pairs_max: usize,
    /// The most addresses without a holder that are kept apart.
    pub unknown_max: usize,
    /// The length of a window.
    pub window: Duration,
}

/// A connection's row with its ends.
#[derive(Clone, Debug)]
pub struct Enriched {
    /// What was seen.
    pub connection: Connection,
    /// Between whom.
    pub ends: Arc<Ends>,
    /// Whether it counts.
    pub standing: Standing,
}

/// Whether a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In its window's sums.
    Counted,
    /// Not yet: it only shows that something is there, and the row that counts follows.
    Preview,
}

/// The stage.
pub struct Enrich {
    config: EnrichConfig,
    cluster: Reader,
    resolver: Resolver,
    remembered: Remembered,
    /// Lanes in which something waits.
    lanes: FxHashMap<Arc<Lane>, Waiting>,
    waiting_rows: usize,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    resolved: u64,
    expired: u64,
    overflowed: u64,
    handed_over: u64,
    amended: u64,
}

// === impl EnrichConfig ===

impl Default for EnrichConfig {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(3),
            preview_after: Duration::from_millis(1_500),
            held_max: 65_536,
            connections_max: 262_144,
            pairs_max: 262_144,
            unknown_max: 4_096,
            window: Duration::from_secs(15),
        }
    }
}

// === impl Enriched ===

impl Enriched {
    fn counted(connection: Connection, ends: Arc<Ends>) -> Self {
        Self { connection, ends, standing: Standing::Counted }
    }
}

// === impl Enrich ===

impl Enrich {
    /// A stage that remembers nothing yet.
    #[must_use]
    pub fn new(config: EnrichConfig, cluster: Reader) -> Self {
        Self {
            resolver: Resolver::new(&config),
            remembered: Remembered::new(config.connections_max),
            lanes: FxHashMap::default(),
            waiting_rows: 0,
            totals: Totals::default(),
            config,
            cluster,
        }
    }

    /// The ends of this row's connection, unless they are to be waited for.
    fn ends(&mut self, row: &mut Connection, view: &View) -> Found {
        if row.tuple.protocol.is_frame() {
            return Found::Known(self.resolver.frames());
        }
        let (place, asked, version) = (place(row), remembered::asked(row), view.version());
        let mut reopened_at = None;
        if let Some(known) = self.remembered.get(place, row.id) {
            reopened_at = known.reopened_at;
            known.reopen(row);
            if known.asked == asked {
                if known.version == version {
                    return Found::Known(known.ends.clone());
                }
                match resolve::recheck(&known.ends, row, view) {
                    Recheck::Same => {
                        known.version = version;
                        return Found::Known(known.ends.clone());
                    }
                    Recheck::SameYet => return Found::Known(known.ends.clone()),
                    Recheck::Amended => self.totals.amended += 1,
                    Recheck::HandedOver => {
                        self.totals.handed_over += 1;
                        reopened_at = Some(row.first);
                        known.reopened_at = reopened_at;
                        known.reopen(row);
                        row.is_new = true;
                    }
                }
            }
        }
        let found = self.resolver.resolve(row, view);
        if let Found::Known(ends) = &found {
            let ends = ends.clone();
            let is_settled = resolve::is_settled(&ends, row, view);
            let version = if is_settled { version } else { NOT_SETTLED };
            let memory = Memory { id: row.id, asked, version, reopened_at, ends };
            self.remembered.insert(place, memory);
        }
        found
    }

    /// Ends for a row that is not waited for any more. They are remembered, so that the rest of
    /// the connection is not waited for either until the cluster has changed.
    fn unknown(&mut self, row: &Connection, view: &View) -> Arc<Ends> {
        let ends = self.resolver.unknown(row, view);
        let memory = Memory {
            id: row.id,
            asked: remembered::asked(row),
            version: view.version(),
            reopened_at: None,
            ends: ends.clone(),
        };
        self.remembered.insert(place(row), memory);
        ends
    }

    /// Gives rows their ends and hands them to `put`; what must wait is held.
    fn enrich(
        &mut self,
        head: &Head,
        rows: Vec<Connection>,
        waiting: &mut Waiting,
        view: &View,
        mut put: impl FnMut(Enriched),
    ) {
        self.remembered.touch(&rows);
        for mut connection in rows {
            match self.ends(&mut connection, view) {
                Found::Known(ends) => put(Enriched::counted(connection, ends)),
                Found::Awaited if self.waiting_rows < self.config.held_max => {
                    self.waiting_rows += 1;
                    waiting.hold(Held::new(connection, head.clone(), view.version()));
                }
                Found::Awaited => {
                    self.totals.overflowed += 1;
                    let ends = self.unknown(&connection, view);
                    put(Enriched::counted(connection, ends));
                }
            }
        }
    }

    /// Lets go of the rows whose ends have become known, or that have waited long enough.
    fn release(
        &mut self,
        waiting: &mut Waiting,
        now: UnixNanos,
        view: &View,
        out: &mut Outbox<Enriched>,
    ) {
        if !waiting.is_due(now, view.version()) {
            return;
        }
        for mut held in waiting.take_held() {
            let is_news = held.version != view.version();
            held.version = view.version();
            let found =
                if is_news { self.ends(&mut held.connection, view) } else { Found::Awaited };
            let age = now.since(held.head.to);
            let ends = match found {
                Found::Known(ends) => {
                    self.totals.resolved += 1;
                    ends
                }
                Found::Awaited if age >= self.config.hold => {
                    self.totals.expired += 1;
                    self.unknown(&held.connection, view)
                }
                Found::Awaited => {
                    if age >= self.config.preview_after && !held.is_shown {
                        held.is_shown = true;
                        let ends = self.resolver.unknown(&held.connection, view);
                        out.begin(held.head.clone());
                        out.push(held.preview(ends));
                    }
                    waiting.hold(held);
                    continue;
                }
            };
            self.waiting_rows -= 1;
            out.begin(held.head);
            out.push(Enriched::counted(held.connection, ends));
        }
    }

    fn report(&self, out: &mut Outbox<Enriched>) {
        out.hold(self.lanes.values().map(Waiting::amount).sum::<Amount>());
        out.gauge("rows_held", self.waiting_rows);
        out.gauge("pairs", self.resolver.pairs());
        out.count("pairs_forgotten", self.resolver.pairs_forgotten());
        out.count("rows_known_after_waiting", self.totals.resolved);
        out.count("rows_unknown_after_waiting", self.totals.expired);
        out.count("rows_unknown_without_room", self.totals.overflowed);
        out.count("connections_handed_over", self.totals.handed_over);
        out.count("connections_amended", self.totals.amended);
    }
}

impl Stage for Enrich {
    const NAME: &'static str = "enrich";
    type In = Connection;
    type Out = Enriched;

    fn process(&mut self, batch: Batch<Connection>, out: &mut Outbox<Enriched>) {
        let view = self.cluster.view();
        let (head, window) = (Head::of(&batch), self.config.window);
        let mut waiting = self.lanes.remove(&batch.lane).unwrap_or_default();
        self.release(&mut waiting, batch.to, &view, out);
        waiting.send_ready(window, out);
        if waiting.stalls(&head, window) {
            let mut rows = Vec::with_capacity(batch.rows.len());
            self.enrich(&head, batch.rows, &mut waiting, &view, |row| rows.push(row));
            waiting.queue(head, rows);
            if waiting.queued_rows() > self.config.held_max {
                self.release(&mut waiting, UnixNanos::MAX, &view, out);
                waiting.send_ready(window, out);
            }
            out.withhold();
        } else {
            out.begin(head.clone());
            self.enrich(&head, batch.rows, &mut waiting, &view, |row| out.push(row));
        }
        if !waiting.is_empty() {
            self.lanes.insert(batch.lane, waiting);
        }
        self.report(out);
    }
}

// === impl Held ===

impl Held {
    /// The row as it is shown while it waits: nothing that anyone would count.
    fn preview(&self, ends: Arc<Ends>) -> Enriched {
        let connection = self.connection.clone();
        Enriched { connection, ends, standing: Standing::Preview }
    }
}

/// The amount of rows that are ready.
fn amount(rows: &[Enriched]) -> Amount {
    rows.iter().map(Row::amount).sum()
}

#[cfg(test)]
mod tests;
