//! Joins the two directions of a connection, and what both of its interfaces saw of it, and the
//! drops of its packets.
//!
//! The table is bounded and holds no counts: what a drain saw is tallied, and told in one row for
//! each side when the drain is complete. Who opened a connection is decided by the surest sign
//! there is. Only pods' interfaces add to counters; drops and uplinks are evidence. What an
//! address is, is asked of the cluster only where ports and services tell the opener; who has it
//! is not known here.

mod drain;
mod errors;
mod key;
mod locate;
mod opener;
mod places;
mod slot;
mod table;
mod tally;
mod tell;

use std::time::Duration;

use cluster::Reader;
use schemas::{Batch, Connection, Observation};

use crate::stage::Head;
use crate::{Outbox, Stage};
use drain::Drain;
use errors::Unanswered;
use places::Places;
use table::{Ahead, Table};

pub(crate) use key::{IcmpRole, icmp_role};
pub(crate) use slot::place;

/// How connections are remembered.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// The most connections remembered.
    pub connections_max: usize,
    /// The most bytes that they take, estimated.
    pub bytes_max: usize,
    /// How long an idle one is remembered.
    pub idle: Idle,
    /// The most conversations of one drain that are tallied before they are told.
    pub tallies_max: usize,
    /// The most addresses whose interface is remembered.
    pub places_max: usize,
    /// The length of a window: a connection counts as live once in each.
    pub window: Duration,
}

/// How long a connection without a packet is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Established TCP.
    pub tcp: Duration,
    /// TCP that has closed, or was never answered.
    pub tcp_closed: Duration,
    /// Everything else.
    pub other: Duration,
}

/// The stage.
pub struct Connect {
    config: ConnectConfig,
    cluster: Reader,
    table: Table,
    places: Places,
    unanswered: Unanswered,
    drain: Drain,
    ahead: Vec<Ahead>,
}

/// How many observations are looked up at once before they are taken in one after another.
const AHEAD: usize = 256;

// === impl ConnectConfig ===

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            connections_max: 262_144,
            bytes_max: 128 << 20,
            idle: Idle::default(),
            tallies_max: 65_536,
            places_max: 131_072,
            window: Duration::from_secs(15),
        }
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            tcp: Duration::from_hours(1),
            tcp_closed: Duration::from_mins(1),
            other: Duration::from_mins(2),
        }
    }
}

// === impl Connect ===

impl Connect {
    /// A stage that remembers nothing yet.
    #[must_use]
    pub fn new(config: ConnectConfig, cluster: Reader) -> Self {
        let table = Table::new(&config);
        let places = Places::new(config.places_max);
        let (unanswered, drain) = (Unanswered::default(), Drain::default());
        Self { config, cluster, table, places, unanswered, drain, ahead: Vec::new() }
    }

    fn report(&self, out: &mut Outbox<Connection>) {
        out.hold(self.drain.held());
        out.gauge("connections", self.table.len());
        out.gauge("addresses", self.places.len());
        out.count("connections_evicted", self.table.evicted);
        out.count("connections_expired", self.table.expired);
    }
}

impl Stage for Connect {
    const NAME: &'static str = "connect";
    type In = Observation;
    type Out = Connection;

    fn process(&mut self, batch: Batch<Observation>, out: &mut Outbox<Connection>) {
        let view = self.cluster.view();
        if !self.drain.is_continued_by(&batch) {
            self.tell(&view, out);
            self.drain.begin(&batch);
            (self.drain.lane, self.drain.is_first_of_lane) = self.places.lane(&batch.lane);
            self.places.end(&batch.lane, batch.from);
            out.begin(Head::of(&batch));
        }
        self.drain.extend(&batch);
        for some in batch.rows.chunks(AHEAD) {
            let ahead = self.look_ahead(some);
            for (seen, ahead) in some.iter().zip(&ahead) {
                self.take_in(seen, ahead, &view, out);
            }
            self.ahead = ahead;
        }
        if batch.ledger.is_some() {
            self.tell(&view, out);
        }
        self.table.sweep(self.drain.now());
        self.report(out);
    }
}

#[cfg(test)]
mod tests;
