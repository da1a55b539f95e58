//! A stage, and the outbox that cuts what it makes into bounded batches.

use std::sync::Arc;

use schemas::{Batch, Lane, Ledger, UnixNanos};

use crate::edge::Sender;
use crate::{Account, Amount, Row};

/// A step of the graph. It never waits and never looks at a clock: a batch says which time it
/// covers, an empty one is a tick, and draining is the end of time ([`UnixNanos::MAX`]).
pub trait Stage: Send + 'static {
    /// Its name in metrics.
    const NAME: &'static str;
    /// What it reads.
    type In: Row;
    /// What it makes.
    type Out: Row;

    /// Takes a batch in, and puts what follows from it into the outbox.
    fn process(&mut self, batch: Batch<Self::In>, out: &mut Outbox<Self::Out>);
}

/// How large a batch gets before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows.
    pub rows: usize,
    /// Bytes, estimated.
    pub bytes: usize,
}

/// What a batch says beside its rows.
#[derive(Clone, Debug)]
pub struct Head {
    /// Whose.
    pub lane: Arc<Lane>,
    /// First instant counted.
    pub from: UnixNanos,
    /// First instant not counted any more.
    pub to: UnixNanos,
    /// What the source had drained.
    pub ledger: Option<Arc<Ledger>>,
}

/// Where a stage puts what it makes. It counts what it is given, and what became of the rest.
#[derive(Debug)]
pub struct Outbox<T> {
    head: Option<Head>,
    rows: Vec<T>,
    bytes: usize,
    limits: BatchLimits,
    sink: Sink<T>,
    account: Account,
    /// A batch of this head has been sent: it needs no tick.
    is_ticked: bool,
}

#[derive(Debug)]
enum Sink<T> {
    Edge(Sender<Batch<T>>),
    Kept(Vec<Batch<T>>),
}

/// Lets a stage process one batch, and counts it.
pub fn step<S: Stage>(stage: &mut S, batch: Batch<S::In>, out: &mut Outbox<S::Out>) {
    out.account.batches += 1;
    out.account.received += batch.rows.iter().map(Row::amount).sum();
    out.begin(Head::of(&batch));
    stage.process(batch, out);
    out.flush();
    out.head = None;
}

// === impl BatchLimits ===

impl Default for BatchLimits {
    fn default() -> Self {
        Self { rows: 1_024, bytes: 1 << 20 }
    }
}

// === impl Head ===

impl Head {
    /// What this batch says beside its rows.
    #[must_use]
    pub fn of<T>(batch: &Batch<T>) -> Self {
        let Batch { lane, from, to, ledger, .. } = batch;
        Self { lane: lane.clone(), from: *from, to: *to, ledger: ledger.clone() }
    }

    /// A batch of these rows.
    #[must_use]
    pub fn with_rows<T>(&self, rows: Vec<T>) -> Batch<T> {
        let Self { lane, from, to, ledger } = self.clone();
        Batch { lane, from, to, rows, ledger }
    }
}

// === impl Outbox ===

impl<T: Row> Outbox<T> {
    /// An outbox whose batches go onto an edge.
    #[must_use]
    pub fn onto(edge: Sender<Batch<T>>, limits: BatchLimits) -> Self {
        Self::new(Sink::Edge(edge), limits)
    }

    /// An outbox that keeps its batches until they are taken.
    #[must_use]
    pub fn kept(limits: BatchLimits) -> Self {
        Self::new(Sink::Kept(Vec::new()), limits)
    }

    fn new(sink: Sink<T>, limits: BatchLimits) -> Self {
        let account = Account::default();
        let (rows, is_ticked) = (Vec::new(), false);
        Self { head: None, rows, bytes: 0, limits, sink, account, is_ticked }
    }

    /// Puts a row into the batch that is being made, and sends it when it is large enough.
    pub fn push(&mut self, row: T) {
        self.bytes += row.bytes();
        self.rows.push(row);
        if self.rows.len() >= self.limits.rows || self.bytes >= self.limits.bytes {
            self.send();
        }
    }

    /// From here on rows go into a batch with another head. What was made before is sent first.
    pub fn begin(&mut self, head: Head) {
        if !self.rows.is_empty() {
            self.send();
        }
        self.head = Some(head);
        self.is_ticked = false;
    }

    /// Sends what was made. Where nothing was made under this head, an empty batch is the tick.
    pub fn flush(&mut self) {
        if !self.rows.is_empty() || !self.is_ticked {
            self.send();
        }
    }

    /// Nothing more is sent under this head: not even a tick.
    pub fn withhold(&mut self) {
        if !self.rows.is_empty() {
            self.send();
        }
        self.head = None;
    }

    /// Counts what was let go.
    pub fn drop(&mut self, reason: &'static str, amount: Amount) {
        *self.account.dropped.entry(reason).or_default() += amount;
    }

    /// Says what is kept for a later batch.
    pub fn hold(&mut self, amount: Amount) {
        self.account.held = amount;
    }

    /// Tells a size.
    pub fn gauge(&mut self, name: &'static str, value: usize) {
        self.account.gauges.insert(name, value as u64);
    }

    /// Tells a count that only grows.
    pub fn count(&mut self, name: &'static str, total: u64) {
        self.account.counts.insert(name, total);
    }

    /// What was counted so far.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Takes the batches that were kept.
    pub fn take(&mut self) -> Vec<Batch<T>> {
        match &mut self.sink {
            Sink::Kept(batches) => std::mem::take(batches),
            Sink::Edge(_) => Vec::new(),
        }
    }

    fn send(&mut self) {
        let Some(head) = &self.head else { return };
        let next = Vec::with_capacity(self.rows.len().min(self.limits.rows));
        let batch = head.with_rows(std::mem::replace(&mut self.rows, next));
        (self.bytes, self.is_ticked) = (0, true);
        let amount = batch.rows.iter().map(Row::amount).sum();
        match &mut self.sink {
            Sink::Kept(batches) => {
                batches.push(batch);
                self.account.sent += amount;
            }
            Sink::Edge(edge) => match edge.send_blocking(batch) {
                Ok(()) => self.account.sent += amount,
                Err(_) => self.drop("closed", amount),
            },
        }
    }
}
