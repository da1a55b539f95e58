//! Counts flows by window.
//!
//! Each lane has one open window, driven by that lane's batches alone. A row's number is a hash of
//! what it is, never of when or where it was made. What comes after its window has closed becomes
//! a correction: a delta to add. Past its limit a window counts in rows named `other`, so that the
//! sums stay whole.

mod causes;
mod close;
mod key;
mod other;
mod row;
mod window;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use schemas::observation::Names;
use schemas::{Batch, Detail, Flow, Lane, Origin, UnixNanos, Update, Window};

use crate::stage::Head;
use crate::{Amount, Attributed, Outbox, Row as _, Stage, Standing};
use close::Closing;
use key::Key;
use other::Other;
use window::{Ahead, Open};
use workload::Workloads;

/// How flows are counted.
#[derive(Clone, Debug)]
pub struct AggregateConfig {
    /// The length of a window.
    pub window: Duration,
    /// How fine the keys are.
    pub detail: Detail,
    /// Where the rows come from.
    pub origin: Origin,
    /// The cluster's name; part of every row's number.
    pub cluster: Arc<str>,
    /// The most rows of open windows.
    pub rows_max: usize,
    /// The most bytes that they take, estimated.
    pub bytes_max: usize,
    /// The most rows in one piece of a closed window.
    pub piece_rows: usize,
    /// How many closed windows of a lane can still be corrected.
    pub corrected_max: usize,
    /// The most lanes with an open window.
    pub lanes_max: usize,
    /// Names of the kernel's reasons and functions.
    pub names: Names,
}

/// The stage.
pub struct Aggregate {
    closing: Closing,
    lanes: FxHashMap<Arc<Lane>, Windows>,
    rows: usize,
    bytes: usize,
    held: Amount,
    other: Other,
    workloads: Workloads,
    opened: Vec<Flow>,
    ahead: Vec<Ahead>,
    totals: Totals,
    config: AggregateConfig,
}

/// The windows of one lane.
#[derive(Default)]
struct Windows {
    open: Option<Open>,
    /// Closed windows by start, with the corrections that each has had.
    closed: Vec<(UnixNanos, u32)>,
}

#[derive(Default)]
struct Totals {
    closed: u64,
    corrections: u64,
    folded: u64,
    opened: u64,
}

// === impl AggregateConfig ===

impl Default for AggregateConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(15),
            detail: Detail::Pod,
            origin: Origin::Kernel,
            cluster: "".into(),
            rows_max: 262_144,
            bytes_max: 128 << 20,
            piece_rows: 1_024,
            corrected_max: 240,
            lanes_max: 4_096,
            names: Names::default(),
        }
    }
}

// === impl Aggregate ===

impl Aggregate {
    /// A stage without any window.
    #[must_use]
    pub fn new(config: AggregateConfig) -> Self {
        Self {
            closing: Closing::new(&config),
            lanes: FxHashMap::default(),
            rows: 0,
            bytes: 0,
            held: Amount::default(),
            other: Other::default(),
            workloads: Workloads::default(),
            opened: Vec::new(),
            ahead: Vec::new(),
            totals: Totals::default(),
            config,
        }
    }

    /// Closes the lane's open window if this head is of a later one, and opens the one that it is
    /// of.
    fn turn(&mut self, windows: &mut Windows, head: &Head, out: &mut Outbox<Update>) {
        let window = Window::holding(head.from, self.config.window);
        if windows.open.as_ref().is_some_and(|open| open.window.end <= head.from)
            && let Some(open) = windows.open.take()
        {
            let start = open.window.start;
            self.close(open, head, 0, out);
            windows.closed.push((start, 0));
            if windows.closed.len() > self.config.corrected_max {
                windows.closed.remove(0);
            }
        }
        if windows.open.is_none() && head.from < UnixNanos::MAX {
            windows.open = Some(Open::new(window));
        }
    }

    /// Makes a window's rows.
    fn close(&mut self, mut open: Open, head: &Head, correction: u32, out: &mut Outbox<Update>) {
        self.rows -= open.len();
        self.bytes -= open.bytes();
        self.held -= open.amount();
        self.totals.closed += 1;
        self.closing.close(&mut open, &head.lane, correction, |closed| {
            out.push(Update::Closed(closed));
        });
    }

    /// Counts rows in their window.
    fn count(&mut self, open: &mut Open, mut rows: Vec<Attributed>, lane: &Arc<Lane>) {
        let AggregateConfig { detail, origin, .. } = self.config;
        if detail == Detail::Workload {
            for row in &mut rows {
                self.workloads.widen(row);
            }
        }
        self.ahead.clear();
        self.ahead.extend(rows.iter().map(|row| Ahead::of(Key::of(row, detail, origin))));
        open.look_ahead(&mut self.ahead);
        let ahead = std::mem::take(&mut self.ahead);
        for (row, ahead) in rows.into_iter().zip(&ahead) {
            self.count_one(open, row, ahead, lane);
        }
        self.ahead = ahead;
    }

    fn count_one(&mut self, open: &mut Open, row: Attributed, ahead: &Ahead, lane: &Arc<Lane>) {
        if row.standing == Standing::Preview {
            let flow = self.closing.preview(&row, open.window, lane, &self.config);
            return self.opened.push(flow);
        }
        let amount = row.amount();
        self.held += amount;
        let is_new = row.connection.is_new;
        let place = match open.find_ahead(ahead) {
            Some(place) => place,
            None if self.rows < self.config.rows_max && self.bytes < self.config.bytes_max => {
                self.rows += 1;
                self.bytes += Open::cost();
                open.insert(ahead.key, &row)
            }
            None => {
                self.totals.folded += 1;
                return self.fold(open, row, amount);
            }
        };
        let extra = open.add(place, row, amount);
        self.bytes += extra;
        if is_new && open.is_first_new(place) {
            self.opened.push(self.closing.flow(open, place, lane, 0));
        }
    }

    /// Counts a row for which there is no room in the row named `other`.
    fn fold(&mut self, open: &mut Open, mut row: Attributed, amount: Amount) {
        self.other.stand_in(&mut row);
        let key = Key::of(&row, Detail::Pod, self.config.origin);
        let place = open.find(&key).unwrap_or_else(|| {
            self.rows += 1;
            self.bytes += Open::cost();
            open.insert(key, &row)
        });
        self.bytes += open.add(place, row, amount);
    }

    /// Rows of a window that has closed already: a delta of it.
    fn correct(
        &mut self,
        windows: &mut Windows,
        batch: Batch<Attributed>,
        out: &mut Outbox<Update>,
    ) {
        let window = Window::holding(batch.from, self.config.window);
        let head = Head::of(&batch);
        let is_known = |(start, _): &&mut (UnixNanos, u32)| *start == window.start;
        let Some((_, corrections)) = windows.closed.iter_mut().find(is_known) else {
            let amount = batch.rows.iter().map(crate::Row::amount).sum();
            return out.drop("too_late", amount);
        };
        *corrections += 1;
        let correction = *corrections;
        self.totals.corrections += 1;
        let mut open = Open::new(window);
        self.count(&mut open, batch.rows, &head.lane);
        self.opened.clear();
        // What its drain had drained is told when the window that is open now is stored.
        self.close(open, &head, correction, out);
    }

    fn report(&self, out: &mut Outbox<Update>) {
        out.hold(self.held);
        out.gauge("rows", self.rows);
        out.gauge("bytes", self.bytes);
        out.gauge("lanes", self.lanes.len());
        out.count("windows_closed", self.totals.closed);
        out.count("corrections", self.totals.corrections);
        out.count("rows_folded_into_other", self.totals.folded);
        out.count("rows_opened", self.totals.opened);
    }
}

impl Stage for Aggregate {
    const NAME: &'static str = "aggregate";
    type In = Attributed;
    type Out = Update;

    fn process(&mut self, batch: Batch<Attributed>, out: &mut Outbox<Update>) {
        let head = Head::of(&batch);
        let is_known = self.lanes.contains_key(&batch.lane);
        if !is_known && self.lanes.len() >= self.config.lanes_max {
            let amount = batch.rows.iter().map(crate::Row::amount).sum();
            out.drop("too_many_lanes", amount);
            return self.report(out);
        }
        let mut windows = self.lanes.remove(&batch.lane).unwrap_or_default();
        self.turn(&mut windows, &head, out);
        match windows.open.take() {
            Some(mut open) if open.window.holds(batch.from) => {
                self.count(&mut open, batch.rows, &head.lane);
                if head.ledger.is_some() {
                    open.ledger.clone_from(&head.ledger);
                }
                windows.open = Some(open);
            }
            open => {
                windows.open = open;
                if !batch.rows.is_empty() {
                    self.correct(&mut windows, batch, out);
                }
            }
        }
        if !self.opened.is_empty() {
            self.totals.opened += self.opened.len() as u64;
            out.push(Update::Opened(std::mem::take(&mut self.opened)));
        }
        if head.from < UnixNanos::MAX {
            self.lanes.insert(head.lane, windows);
        }
        self.report(out);
    }
}

#[cfg(test)]
mod tests;
