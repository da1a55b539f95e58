//! Where an exporter stands in the spool, and what it has made of what it read.
//!
//! `next` and `confirmed` say what is delivered for sure. Files from `next` up to where the exporter
//! reads are in flight: they are never dropped, so a confirmation always finds what it confirms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::WhenFull;
use crate::tally::Tally;

/// A cursor as it is stored, one file for each exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The file that is not delivered as a whole yet.
    pub next: u64,
    /// How many of its chunks are.
    pub confirmed: u32,
    /// Files after it that are passed over, as half-open ranges in order.
    pub skipped: Vec<(u64, u64)>,
    /// Delivered, ever.
    pub sent: Tally,
    /// Not delivered, ever, by reason.
    pub dropped: BTreeMap<String, Tally>,
}

/// Rows that were not delivered, by reason, on their way into a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(BTreeMap<&'static str, Tally>);

/// A cursor in this process.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) cursor: Cursor,
    /// The first file that the exporter has not begun to read; `next` when nothing is in flight.
    pub(super) reading: u64,
    /// Whether an exporter of this name is configured.
    pub(super) is_configured: bool,
    pub(super) behind_bytes_max: u64,
    pub(super) when_full: WhenFull,
}

// === impl Dropped ===

impl Dropped {
    /// So many more for this reason.
    pub fn add(&mut self, reason: &'static str, tally: Tally) {
        if !tally.is_zero() {
            *self.0.entry(reason).or_default() += tally;
        }
    }

    /// All of the other's, too.
    pub(crate) fn extend(&mut self, other: &Self) {
        other.iter().for_each(|(reason, tally)| self.add(reason, tally));
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, Tally)> {
        self.0.iter().map(|(reason, tally)| (*reason, *tally))
    }

    pub(crate) fn total(&self) -> Tally {
        self.0.values().copied().sum()
    }
}

impl From<Tally> for Dropped {
    /// Rows that the far side refused.
    fn from(refused: Tally) -> Self {
        let mut dropped = Self::default();
        dropped.add(super::reason::REFUSED, refused);
        dropped
    }
}

// === impl Cursor ===

impl Cursor {
    /// Whether this file is passed over.
    pub(super) fn skips(&self, file: u64) -> bool {
        self.skipped.iter().any(|(from, to)| (*from..*to).contains(&file))
    }

    /// Whether this exporter still has to deliver this file.
    pub(super) fn needs(&self, file: u64) -> bool {
        file >= self.next && !self.skips(file)
    }

    /// Passes over a file.
    pub(super) fn skip(&mut self, file: u64) {
        if !self.needs(file) {
            return;
        }
        self.skipped.push((file, file + 1));
        self.skipped.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(self.skipped.len());
        for (from, to) in self.skipped.drain(..) {
            match merged.last_mut() {
                Some(last) if last.1 >= from => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        self.skipped = merged;
        if self.skips(self.next) {
            self.advance(self.next);
        }
    }

    /// Everything before this file is done with.
    pub(super) fn advance(&mut self, file: u64) {
        if file > self.next {
            self.confirmed = 0;
        }
        self.next = self.next.max(file);
        let mut rest = std::mem::take(&mut self.skipped);
        for (from, to) in &rest {
            if (*from..*to).contains(&self.next) {
                self.next = *to;
                self.confirmed = 0;
            }
        }
        rest.retain(|(_, to)| *to > self.next);
        self.skipped = rest;
    }

    pub(super) fn drop_tally(&mut self, reason: &str, tally: Tally) {
        if !tally.is_zero() {
            *self.dropped.entry(reason.to_owned()).or_default() += tally;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_passes_over_what_was_skipped() {
        let mut cursor = Cursor { next: 3, confirmed: 2, ..Cursor::default() };
        cursor.skip(5);
        cursor.skip(4);
        assert_eq!(cursor.skipped, [(4, 6)]);
        assert!(cursor.needs(3) && !cursor.needs(4) && !cursor.needs(5) && cursor.needs(6));
        cursor.advance(4);
        assert_eq!((cursor.next, cursor.confirmed), (6, 0));
        assert!(cursor.skipped.is_empty());
    }

    #[test]
    fn skipping_the_next_file_moves_on() {
        let mut cursor = Cursor { next: 3, confirmed: 2, ..Cursor::default() };
        cursor.skip(3);
        assert_eq!((cursor.next, cursor.confirmed), (4, 0));
    }
}
