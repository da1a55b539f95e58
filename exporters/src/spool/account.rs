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
    /// Rows that the far side refused and that are kept.
    pub set_aside_rows: u64,
    /// What they take.
    pub set_aside_bytes: u64,
    /// Rows that were kept and had to go, because of the limit.
    pub set_aside_forgotten: u64,
    /// Why the last attempt failed; `None` when it did not.
    pub failing: Option<String>,
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
                held: state.held(name, cursor),
                behind_bytes: state.behind_bytes(name, cursor),
                behind_files: state.behind_files(name, cursor),
                set_aside_rows: place.shelf.rows,
                set_aside_bytes: place.shelf.bytes,
                set_aside_forgotten: place.shelf.forgotten,
                failing: place.failing.clone(),
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

    /// Why an exporter's last attempt failed, or that it did not.
    pub(crate) fn note_failure(&self, exporter: &str, failing: Option<String>) {
        if let Some(place) = self.shared.state.lock().cursors.get_mut(exporter) {
            place.failing = failing;
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
