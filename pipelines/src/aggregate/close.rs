//! Makes flows of a window's rows.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::batch::Closed;
use schemas::observation::Names;
use schemas::{Flow, FlowKey, Lane, Reason, RowId, Seen, Window};

use super::key::{self, Key, NO_TIME};
use super::row::Row;
use super::window::Open;
use super::{AggregateConfig, causes};
use crate::Attributed;

/// Makes flows.
pub(super) struct Closing {
    cluster: Arc<str>,
    names: Names,
    piece_rows: usize,
    /// Reasons with another cause added, shared within a window.
    amended: FxHashMap<(usize, String), Arc<Reason>>,
}

// === impl Closing ===

impl Closing {
    pub(super) fn new(config: &AggregateConfig) -> Self {
        Self {
            cluster: config.cluster.clone(),
            names: config.names.clone(),
            piece_rows: config.piece_rows.max(1),
            amended: FxHashMap::default(),
        }
    }

    /// Hands on the rows of a window in pieces; the last one, which may be empty, is marked.
    pub(super) fn close(
        &mut self,
        open: &mut Open,
        lane: &Arc<Lane>,
        correction: u32,
        mut put: impl FnMut(Closed),
    ) {
        let number = key::lane(&self.cluster, lane);
        let (window, ledger) = (open.window, open.ledger.take());
        let seen = seen_after_all(open);
        let is_left_out =
            |key: &Key| key.seen == Seen::Inferred && seen.contains(&key.however_seen());
        let left_out = open.rows().filter(|(key, _)| is_left_out(key)).count();
        let pieces = (open.len() - left_out).div_ceil(self.piece_rows).max(1);
        let mut rows = open.rows().filter(|(key, _)| !is_left_out(key));
        for piece in 1..=pieces {
            let next = rows.by_ref().take(self.piece_rows);
            let rows = next.map(|(key, row)| self.make(key, row, number, window, correction));
            let rows = rows.collect();
            let is_last = piece == pieces;
            let ledger = if is_last { ledger.clone() } else { None };
            put(Closed { lane: lane.clone(), window, rows, is_last, ledger });
        }
        drop(rows);
        self.amended.clear();
    }

    /// A row as it is now.
    pub(super) fn flow(&mut self, open: &Open, place: u32, lane: &Lane, correction: u32) -> Flow {
        let number = key::lane(&self.cluster, lane);
        self.make(open.key(place), open.row(place), number, open.window, correction)
    }

    /// A row that does not count, as it is shown.
    pub(super) fn preview(
        &mut self,
        row: &Attributed,
        window: Window,
        lane: &Lane,
        config: &AggregateConfig,
    ) -> Flow {
        let key = Key::of(row, config.detail, config.origin);
        let mut made = Row::new(&key, row);
        made.add(row.clone());
        self.make(&key, &made, key::lane(&self.cluster, lane), window, 0)
    }

    fn make(&mut self, key: &Key, row: &Row, lane: u128, window: Window, correction: u32) -> Flow {
        let side = row.judged.side(row.reporter);
        let has_packets = row.first <= row.last;
        let evidence = row.evidence();
        Flow {
            id: RowId(key.row_id(lane, window, correction)),
            window,
            key: FlowKey {
                reporter: row.reporter,
                origin: key.origin,
                seen: key.seen,
                interface: key.interface,
                source: row.ends.source.clone(),
                destination: row.ends.destination.clone(),
                destination_port: key.port,
                protocol: key.protocol,
                service: row.ends.service.clone(),
                action: side.verdict,
                trace: side.trace.clone(),
                policy_revision: row.judged.revision,
                connection: row.tuples.as_deref().copied(),
            },
            counters: row.counters,
            evidence,
            tcp_flags: row.tcp_flags,
            first: if has_packets { row.first } else { NO_TIME },
            last: if has_packets { row.last } else { NO_TIME },
            initiator_from: row.initiator_from,
            since: row.since,
            reason: self.reason(row, &side.reason),
            disagreement: causes::disagreement(row, &self.names),
            correction,
        }
    }

    /// Why, with what the kernel did for another cause than a policy.
    fn reason(&mut self, row: &Row, reason: &Arc<Reason>) -> Arc<Reason> {
        let Some(cause) = causes::other_cause(row, &self.names) else { return reason.clone() };
        let key = (Arc::as_ptr(reason).addr(), cause);
        if let Some(known) = self.amended.get(&key) {
            return known.clone();
        }
        let sentence = format!("{}; {}", reason.sentence, key.1).into();
        let near_misses = reason.near_misses.clone();
        let amended = Arc::new(Reason { sentence, near_misses });
        self.amended.insert(key, amended.clone());
        amended
    }
}

/// What was inferred in a window and of which its interface or a drop told after all, or before:
/// those rows stand alone.
fn seen_after_all(open: &Open) -> FxHashSet<Key> {
    let is_inferred = |key: &Key| key.seen == Seen::Inferred;
    let inferred: FxHashSet<Key> = open
        .rows()
        .filter(|(key, _)| is_inferred(key))
        .map(|(key, _)| key.however_seen())
        .collect();
    if inferred.is_empty() {
        return inferred;
    }
    let told = open.rows().filter(|(key, _)| !is_inferred(key));
    told.map(|(key, _)| key.however_seen()).filter(|key| inferred.contains(key)).collect()
}
