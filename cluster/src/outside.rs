//! Addresses outside the cluster: kept apart up to a limit, the rest as one `other`.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use schemas::{Addr, Endpoint, EndpointKind, Handle, Labels, Table, UnixNanos};

use crate::limits::Limits;
use crate::metrics::Metrics;

/// How long a search for idle addresses stands before the next.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The outside addresses that were asked for. Readers add to it; it is bounded.
pub(crate) struct Outside {
    known: RwLock<FxHashMap<Addr, Seen>>,
    limit: usize,
    idle: Duration,
    next_sweep: AtomicU64,
    table: Table<Endpoint>,
    none: Handle<Labels>,
    /// What stands for the rest: private addresses, and public ones.
    other: [Handle<Endpoint>; 2],
    metrics: Metrics,
}

struct Seen {
    endpoint: Handle<Endpoint>,
    last: AtomicU64,
}

// === impl Outside ===

impl Outside {
    pub(crate) fn new(
        limits: &Limits,
        table: Table<Endpoint>,
        none: Handle<Labels>,
        metrics: Metrics,
    ) -> Self {
        let other = ["pvt", "pub"].map(|aggregated| {
            let mut endpoint = Endpoint::bare(EndpointKind::Network, "other", &none);
            endpoint.aggregated_name = aggregated.into();
            intern(&table, endpoint, &metrics)
        });
        Self {
            known: RwLock::default(),
            limit: limits.outside,
            idle: limits.outside_idle,
            next_sweep: AtomicU64::new(0),
            table,
            none,
            other,
            metrics,
        }
    }

    /// The endpoint of this address.
    pub(crate) fn endpoint(&self, addr: Addr, at: UnixNanos) -> Handle<Endpoint> {
        if let Some(seen) = self.known.read().get(&addr) {
            seen.last.fetch_max(at.0, Ordering::Relaxed);
            return seen.endpoint.clone();
        }
        let mut known = self.known.write();
        if known.len() >= self.limit && self.sweep_is_due(at) {
            let idle_since = at.before(self.idle).0;
            known.retain(|_, seen| seen.last.load(Ordering::Relaxed) >= idle_since);
            self.table.sweep();
        }
        if known.len() >= self.limit {
            self.metrics.other.inc();
            return self.other[usize::from(!is_private(addr))].clone();
        }
        let make = || Seen {
            endpoint: intern(&self.table, network(addr, &self.none), &self.metrics),
            last: AtomicU64::new(at.0),
        };
        let endpoint = known.entry(addr).or_insert_with(make).endpoint.clone();
        self.metrics.outside.set(i64::try_from(known.len()).unwrap_or(i64::MAX));
        endpoint
    }

    /// A full table is searched once in a while and not at each address.
    fn sweep_is_due(&self, at: UnixNanos) -> bool {
        let due = at.0 >= self.next_sweep.load(Ordering::Relaxed);
        if due {
            self.next_sweep.store(at.after(SWEEP_EVERY).0, Ordering::Relaxed);
        }
        due
    }
}

/// An address of which nothing else is known.
pub(crate) fn network(addr: Addr, none: &Handle<Labels>) -> Endpoint {
    let mut endpoint = Endpoint::bare(EndpointKind::Network, addr.to_string(), none);
    endpoint.aggregated_name = if is_private(addr) { "pvt" } else { "pub" }.into();
    endpoint.addresses.push(addr);
    endpoint
}

/// RFC 1918 only: every IPv6 address and 100.64.0.0/10 count as public, as they do for Goldmane.
fn is_private(addr: Addr) -> bool {
    matches!(addr.ip(), IpAddr::V4(v4) if v4.is_private())
}

/// A value's handle; where the table is full, one of its own, counted.
pub(crate) fn intern<T: Eq + std::hash::Hash + Clone>(
    table: &Table<T>,
    value: T,
    metrics: &Metrics,
) -> Handle<T> {
    table.intern(value.clone()).unwrap_or_else(|| {
        metrics.not_interned.inc();
        Handle::lone(value)
    })
}
