//! Says why a connection is allowed or denied, by the policies in force when it was opened.
//!
//! A connection keeps the answer of its first packet. A pair that was judged before costs one
//! look-up. Where the policies have changed since, the reason says so; what the kernel then does
//! is no disagreement. What a policy means is not known here.

mod judged;
mod judging;
mod remembered;
mod sentence;

use std::sync::Arc;
use std::time::Duration;

use policy::Timeline;
use schemas::{
    Batch, Connection, Counters, EndpointKind, Evidence, InterfaceId, Reporter, Seen, Table, Trace,
    Verdict,
};

use crate::connect::place;
use crate::{Ends, Enriched, Outbox, Stage, Standing};
use judging::Judging;
use remembered::{Memory, Remembered};

pub use judged::{Judged, Side};

/// How connections are judged.
#[derive(Clone, Debug)]
pub struct AttributeConfig {
    /// The most connections whose answer is remembered; at least as many as `connect` remembers.
    pub connections_max: usize,
    /// The most pairs that are not allowed whose reasons are remembered.
    pub denied_max: usize,
    /// The most reasons with near misses that are held at one time; a denial beyond them has a
    /// short one.
    pub reasons_max: usize,
    /// How long a change of policies may take to reach the kernel: what is opened this close to
    /// one is judged by both sets.
    pub settle: Duration,
    /// Whether the kernel's drops are watched at all.
    pub are_drops_seen: bool,
}

/// A connection's row with its ends and what the policies say.
#[derive(Clone, Debug)]
pub struct Attributed {
    /// What was seen.
    pub connection: Connection,
    /// Between whom.
    pub ends: Arc<Ends>,
    /// What the policies say, and why.
    pub judged: Arc<Judged>,
    /// Whether it counts.
    pub standing: Standing,
}

/// The stage.
pub struct Attribute {
    config: AttributeConfig,
    judging: Judging,
    remembered: Remembered,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    inferred: u64,
    unexplained: u64,
    changed: u64,
}

// === impl AttributeConfig ===

impl Default for AttributeConfig {
    fn default() -> Self {
        Self {
            connections_max: 262_144,
            denied_max: 65_536,
            reasons_max: 16_384,
            settle: Duration::from_secs(2),
            are_drops_seen: true,
        }
    }
}

// === impl Attributed ===

impl Attributed {
    /// What the policies of the reporter's side say.
    #[must_use]
    pub fn side(&self) -> &Side {
        self.judged.side(self.connection.reporter)
    }
}

// === impl Attribute ===

impl Attribute {
    /// A stage that has judged nothing yet. It alone writes to the table of traces.
    #[must_use]
    pub fn new(config: AttributeConfig, policies: Timeline, traces: Table<Trace>) -> Self {
        let judging = Judging::new(&config, policies, traces);
        let remembered = Remembered::new(config.connections_max);
        Self { config, judging, remembered, totals: Totals::default() }
    }

    /// What the policies say of this row's connection.
    fn judged(&mut self, row: &Connection, ends: &Arc<Ends>) -> Arc<Judged> {
        if let Some(exempt) = self.judging.exempt(row) {
            return exempt;
        }
        let place = place(row);
        if let Some(known) = self.remembered.get(place, row, ends) {
            if known.checked == self.judging.edition_now() {
                return known.judged.clone();
            }
            let judged = self.judging.again(row, ends, &known.first);
            self.totals.changed += u64::from(judged.is_changed);
            known.judged = judged;
            known.checked = self.judging.edition_now();
            return known.judged.clone();
        }
        let first = self.judging.first(row, ends);
        let judged = self.judging.again(row, ends, &first);
        let memory = Memory {
            id: row.id,
            opened_at: row.opened_at,
            ends: ends.clone(),
            first,
            judged: judged.clone(),
            checked: self.judging.edition_now(),
        };
        self.remembered.insert(place, memory);
        judged
    }

    fn attribute(&mut self, row: Enriched, out: &mut Outbox<Attributed>) {
        let Enriched { connection, ends, standing } = row;
        let judged = self.judged(&connection, &ends);
        let is_inferred = self.is_inferred(&connection, &ends, &judged);
        let inferred = is_inferred.then(|| inferred(&connection));
        // A drop is the far side's denial only if its policies deny; else it is evidence of the
        // near side's row, unless there is no such row.
        let is_denied = judged.ingress.verdict == Verdict::Deny;
        let is_far_drop = connection.seen == Seen::Drop && connection.counters.observations == 0;
        if is_far_drop && !is_denied {
            self.totals.unexplained += 1;
            return;
        }
        if let Some(connection) = inferred {
            self.totals.inferred += 1;
            let (ends, judged) = (ends.clone(), judged.clone());
            out.push(Attributed { connection, ends, judged, standing });
        }
        out.push(Attributed { connection, ends, judged, standing });
    }

    /// Whether the far side denies, nothing passed it, and no drop can tell of it.
    fn is_inferred(&self, row: &Connection, ends: &Ends, judged: &Judged) -> bool {
        let Evidence { delivered, answered, dropped, far_not_visible, .. } = &row.evidence;
        judged.ingress.verdict == Verdict::Deny
            && row.reporter == Reporter::Src
            && row.seen == Seen::Interface
            && *delivered == 0
            && *answered == 0
            && dropped.is_empty()
            && (*far_not_visible || !self.config.are_drops_seen)
            && ends.destination.kind == EndpointKind::Workload
    }

    fn report(&self, out: &mut Outbox<Attributed>) {
        let judging = &self.judging;
        out.gauge("pairs_denied", judging.denied());
        out.gauge("reasons", judging.reasons());
        out.count("connections_judged", judging.totals.judged);
        out.count("pairs_denied_forgotten", judging.denied_forgotten());
        out.count("reasons_cut_short", judging.totals.cut_short);
        out.count("traces_not_interned", judging.totals.not_interned);
        out.count("rows_inferred", self.totals.inferred);
        out.count("drop_rows_without_denial", self.totals.unexplained);
        out.count("connections_under_changed_policies", self.totals.changed);
    }
}

impl Stage for Attribute {
    const NAME: &'static str = "attribute";
    type In = Enriched;
    type Out = Attributed;

    fn process(&mut self, batch: Batch<Enriched>, out: &mut Outbox<Attributed>) {
        self.judging.begin(batch.to);
        self.remembered.touch(&batch.rows);
        for row in batch.rows {
            self.attribute(row, out);
        }
        self.report(out);
    }
}

/// The far side's row of a denial that only the policies tell of: all that was sent is taken as
/// dropped.
fn inferred(row: &Connection) -> Connection {
    let counters = Counters {
        packets_in: row.counters.packets_out,
        bytes_in: row.counters.bytes_out,
        connections_started: row.counters.connections_started,
        connections_live: row.counters.connections_live,
        ..Counters::default()
    };
    Connection {
        reporter: Reporter::Dst,
        seen: Seen::Inferred,
        interface: InterfaceId(0),
        counters,
        evidence: Evidence { far_not_visible: true, ..Evidence::default() },
        ..row.clone()
    }
}

#[cfg(test)]
mod tests;
