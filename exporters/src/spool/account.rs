//! What the spool and each exporter have received, sent, dropped and hold, as one snapshot.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Spool;
use crate::tally::Tally;

/// One exporter's books. At any time `received = sent + dropped + held`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The exporter.
    pub exporter: String,
    /// Whether one of this name is configured; if not, its cursor stays where it is.
    pub is_configured: bool,
    /// Given to it since its cursor began.
    pub received: Tally,
    /// Delivered.
    pub sent: Tally,
    /// Not delivered, by reason.
    pub dropped: BTreeMap<String, Tally>,
    /// Not delivered yet.
    pub held: Tally,
    /// Bytes of the files that it has before it.
    pub behind_bytes: u64,
    /// How many these are.
    pub behind_files: usize,
}

/// The spool's books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Files in it.
    pub files: usize,
    /// What they take.
    pub bytes: u64,
    /// The most that they may take.
    pub disk_bytes_max: u64,
    /// Files that could not be read.
    pub aside_files: u64,
    /// Written by this process.
    pub stored: Tally,
    /// Waiting in memory to be written.
    pub waiting: Tally,
    /// Given up by this process because they could not be written.
    pub lost: Tally,
    /// Why the last attempt to write failed; `None` when it did not.
    pub failing: Option<String>,
    /// Each exporter's books, by name.
    pub exporters: Vec<Account>,
}

// === impl Account ===

impl Account {
    /// Whether the books balance.
    #[must_use]
    pub fn balances(&self) -> bool {
        let dropped: Tally = self.dropped.values().copied().sum();
        self.received == self.sent + dropped + self.held
    }
}

// === impl Spool ===

impl Spool {
    /// All books at one moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.shared.state.lock();
        let account = |(name, place): (&String, &super::state::Place)| {
            let cursor = &place.standing.cursor;
            Account {
                exporter: name.clone(),
                is_configured: place.standing.is_configured,
                received: place.received,
                sent: cursor.sent,
                dropped: cursor.dropped.clone(),
                held: state.held(cursor),
                behind_bytes: state.behind_bytes(cursor),
                behind_files: state.behind_files(cursor),
            }
        };
        Status {
            files: state.entries.len(),
            bytes: state.bytes,
            disk_bytes_max: self.shared.config.disk_bytes_max,
            aside_files: state.aside_files,
            stored: state.stored,
            waiting: state.waiting,
            lost: state.lost,
            failing: state.failing.clone(),
            exporters: state.cursors.iter().map(account).collect(),
        }
    }

    /// Whether closed windows reach the disk.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        self.shared.state.lock().failing.clone().map_or(Ok(()), Err)
    }
}
