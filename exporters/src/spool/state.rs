//! What the spool holds, in memory: its files by number, and where each exporter stands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemas::UnixNanos;

use super::Registration;
use super::cursor::{Cursor, Standing};
use super::file::{Header, Name};
use super::reason::{DROP_OLDEST, UNREADABLE};
use super::refused::Shelf;
use crate::config::WhenFull;
use crate::tally::Tally;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) cursors: BTreeMap<String, Place>,
    /// The number of the next file.
    pub(super) next_number: u64,
    /// What all files take.
    pub(super) bytes: u64,
    /// Files that could not be read.
    pub(super) aside_files: u64,
    /// Half-written files that must go before anything else is written.
    pub(super) condemned: Vec<PathBuf>,
    /// What was written.
    pub(super) stored: Tally,
    /// What was given up because it could not be written.
    pub(super) lost: Tally,
    /// What waits in memory to be written.
    pub(super) waiting: Tally,
    /// Why the last attempt to write failed.
    pub(super) failing: Option<String>,
}

/// A file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) bytes: u64,
    pub(super) header: Arc<Header>,
}

/// An exporter's standing, and what it has been given since it is known.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) standing: Standing,
    pub(super) received: Tally,
    /// Its rows that were refused.
    pub(super) shelf: Shelf,
    /// Why its last attempt failed; `None` when it did not.
    pub(super) failing: Option<String>,
}

// === impl Entry ===

impl Entry {
    /// Whether this exporter still has to deliver it.
    pub(super) fn is_for(&self, exporter: &str, cursor: &Cursor) -> bool {
        self.is_meant_for(exporter) && cursor.needs(self.name.number)
    }

    /// Whether it is for everybody, or for this exporter alone.
    fn is_meant_for(&self, exporter: &str) -> bool {
        self.header.again.as_ref().is_none_or(|again| again.exporter == exporter)
    }
}

// === impl State ===

impl State {
    /// Takes in a file that is there.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.bytes += entry.bytes;
        self.next_number = self.next_number.max(entry.name.number + 1);
        self.entries.insert(entry.name.number, entry);
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// A cursor that is stored or begins now.
    pub(super) fn place(&mut self, name: &str, cursor: Cursor, registration: &Registration) {
        self.next_number = self.next_number.max(cursor.next);
        let last_skipped = cursor.skipped.last().map_or(0, |(_, to)| *to);
        self.next_number = self.next_number.max(last_skipped);
        let standing = Standing {
            reading: cursor.next,
            cursor,
            is_configured: false,
            behind_bytes_max: registration.behind_bytes_max,
            when_full: registration.when_full,
        };
        let cursor = &standing.cursor;
        let dropped: Tally = cursor.dropped.values().copied().sum();
        let received = cursor.sent + dropped + self.held(name, cursor);
        let place = Place { standing, received, shelf: Shelf::default(), failing: None };
        self.cursors.insert(name.to_owned(), place);
    }

    /// The files that this exporter still has to deliver.
    fn before<'a>(
        &'a self,
        exporter: &'a str,
        cursor: &'a Cursor,
    ) -> impl Iterator<Item = &'a Entry> {
        let from = self.entries.range(cursor.next..).map(|(_, entry)| entry);
        from.filter(move |entry| entry.is_for(exporter, cursor))
    }

    /// What this exporter still has to deliver.
    pub(super) fn held(&self, exporter: &str, cursor: &Cursor) -> Tally {
        let rest = |entry: &Entry| {
            let started = entry.name.number == cursor.next;
            entry.header.tally_from(if started { cursor.confirmed } else { 0 })
        };
        self.before(exporter, cursor).map(rest).sum()
    }

    pub(super) fn behind_bytes(&self, exporter: &str, cursor: &Cursor) -> u64 {
        self.before(exporter, cursor).map(|entry| entry.bytes).sum()
    }

    pub(super) fn behind_files(&self, exporter: &str, cursor: &Cursor) -> usize {
        self.before(exporter, cursor).count()
    }

    /// The exporter that would be too far behind with so many bytes more, and must not lose any.
    pub(super) fn blocked_by(&self, more: u64) -> Option<&str> {
        let blocks = |name: &str, place: &Place| {
            let standing = &place.standing;
            let behind = self.behind_bytes(name, &standing.cursor);
            standing.when_full == WhenFull::Block
                && behind > 0
                && behind + more > standing.behind_bytes_max
        };
        self.cursors.iter().find(|(name, place)| blocks(name, place)).map(|(name, _)| &**name)
    }

    /// Drops the oldest files of exporters that would be too far behind with so many bytes more;
    /// says whose cursors moved.
    pub(super) fn drop_behind(&mut self, more: u64) -> Vec<String> {
        let mut moved = Vec::new();
        let names: Vec<_> = self.cursors.keys().cloned().collect();
        for name in names {
            while self.is_too_far(&name, more) {
                let Some(oldest) = self.oldest_not_in_flight(&name) else { break };
                self.drop_for(&name, oldest, DROP_OLDEST);
                moved.push(name.clone());
            }
        }
        moved.dedup();
        moved
    }

    fn is_too_far(&self, name: &str, more: u64) -> bool {
        self.cursors.get(name).is_some_and(|place| {
            let standing = &place.standing;
            standing.when_full == WhenFull::DropOldest
                && self.behind_bytes(name, &standing.cursor) + more > standing.behind_bytes_max
        })
    }

    fn oldest_not_in_flight(&self, name: &str) -> Option<u64> {
        let standing = &self.cursors.get(name)?.standing;
        let mut rest = self.entries.range(standing.reading..).map(|(_, entry)| entry);
        rest.find(|entry| entry.is_for(name, &standing.cursor)).map(|entry| entry.name.number)
    }

    /// This exporter will not deliver what is left of this file.
    pub(super) fn drop_for(&mut self, exporter: &str, file: u64, reason: &str) {
        let Some(entry) = self.entries.get(&file) else { return };
        let Some(place) = self.cursors.get_mut(exporter) else { return };
        let Standing { cursor, reading, .. } = &mut place.standing;
        if !entry.is_for(exporter, cursor) {
            return;
        }
        let started = file == cursor.next;
        let rest = entry.header.tally_from(if started { cursor.confirmed } else { 0 });
        cursor.drop_tally(reason, rest);
        cursor.skip(file);
        *reading = (*reading).max(cursor.next);
    }

    /// A file that cannot be read is nobody's any more; says whose cursors moved.
    pub(super) fn drop_unreadable(&mut self, file: u64) -> Vec<String> {
        let names: Vec<_> = self.cursors.keys().cloned().collect();
        for name in &names {
            self.drop_for(name, file, UNREADABLE);
        }
        names
    }

    /// Files that everybody has passed and that are older than `keep`, in the data's own time.
    pub(super) fn expired(&self, keep: std::time::Duration) -> Vec<u64> {
        let newest = self.entries.values().map(|entry| entry.header.window.end).max();
        let kept_from = newest.unwrap_or(UnixNanos(0)).before(keep);
        let done = self.entries.iter().filter(|(number, entry)| {
            entry.header.window.end < kept_from && self.is_done_with(**number)
        });
        done.map(|(number, _)| *number).collect()
    }

    /// Whether this exporter still has to deliver this file.
    fn needs(&self, exporter: &str, place: &Place, file: u64) -> bool {
        let entry = self.entries.get(&file);
        entry.is_some_and(|entry| entry.is_for(exporter, &place.standing.cursor))
    }

    /// Whether everybody has passed this file and no restart needs it.
    fn is_done_with(&self, file: u64) -> bool {
        !self.cursors.iter().any(|(name, place)| self.needs(name, place, file))
            && !self.is_last_ledger(file)
    }

    /// Whether this is the last file of its node that carries a ledger.
    fn is_last_ledger(&self, file: u64) -> bool {
        let Some(entry) = self.entries.get(&file) else { return false };
        entry.header.ledger.is_some() && {
            let node = &entry.header.lane.node;
            self.last_with_ledger(node).is_some_and(|last| last.name.number == file)
        }
    }

    /// The last file of this node that carries a ledger.
    pub(super) fn last_with_ledger(&self, node: &str) -> Option<&Entry> {
        let mut newest_first = self.entries.values().rev();
        newest_first.find(|entry| entry.header.ledger.is_some() && *entry.header.lane.node == *node)
    }

    /// The next file to remove when the disk's limit is reached: the oldest that everybody has
    /// passed, else the oldest that nobody has in flight or must not lose. `None` when there is
    /// none.
    pub(super) fn sacrifice(&self) -> Option<u64> {
        let numbers = || self.entries.keys().copied();
        numbers().find(|number| self.is_done_with(*number)).or_else(|| {
            numbers().find(|number| {
                let may_go = |(name, place): (&String, &Place)| {
                    let standing = &place.standing;
                    !self.needs(name, place, *number)
                        || (standing.when_full == WhenFull::DropOldest
                            && *number >= standing.reading)
                };
                self.cursors.iter().all(may_go) && !self.is_last_ledger(*number)
            })
        })
    }

    /// Drops a file for everybody who still needs it; says whose cursors moved.
    pub(super) fn drop_for_all(&mut self, file: u64) -> Vec<String> {
        let all = self.cursors.iter();
        let names: Vec<String> = all
            .filter(|(name, place)| self.needs(name, place, file))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            self.drop_for(name, file, DROP_OLDEST);
        }
        names
    }
}
