//! How much the index holds.

use std::time::Duration;

/// The limits of an index. What falls off any of them is counted in [`crate::Metrics`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Objects held at one time; a new one above this is refused.
    pub objects: usize,
    /// Past and present holders kept of one address.
    pub history_per_address: usize,
    /// Ended tenures kept in all.
    pub history: usize,
    /// How long an ended tenure is kept.
    pub history_age: Duration,
    /// How long before its object is seen an address may already be in use: an answer for a time
    /// when nobody had it names who came to have it within this.
    pub early: Duration,
    /// Addresses outside the cluster that are kept apart; the rest are one `other`.
    pub outside: usize,
    /// How long an outside address must be unseen before another may take its place.
    pub outside_idle: Duration,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            objects: 500_000,
            history_per_address: 32,
            history: 200_000,
            history_age: Duration::from_hours(1),
            early: Duration::from_secs(5),
            outside: 10_000,
            outside_idle: Duration::from_mins(5),
        }
    }
}
