//! What an exporter has in its lake, and what it did there.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counters of one exporter's lake. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LakeCounters(Arc<Mutex<LakeCounts>>);

/// What they say at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LakeCounts {
    /// Files whose rows count.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows, as far as the manifest knows them.
    pub rows: u64,
    /// Files that are still there although their rows are in another, or not kept.
    pub replaced: u64,
    /// Files that were made of others.
    pub compactions: u64,
    /// Files that those were made of.
    pub compacted_files: u64,
    /// Rows that were written again for that.
    pub compacted_rows: u64,
    /// Steps that failed, to be tried again.
    pub failures: u64,
    /// What was given up, by reason.
    pub retired: BTreeMap<&'static str, Retired>,
}

/// Files that were given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// How many.
    pub files: u64,
    /// Their rows, as far as they were known.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

// === impl LakeCounters ===

impl LakeCounters {
    /// What they say now.
    #[must_use]
    pub fn counts(&self) -> LakeCounts {
        self.0.lock().clone()
    }

    pub(crate) fn holds(&self, files: u64, bytes: u64, rows: u64) {
        let mut counts = self.0.lock();
        (counts.files, counts.bytes, counts.rows) = (files, bytes, rows);
    }

    pub(crate) fn replaced(&self, files: u64) {
        self.0.lock().replaced = files;
    }

    pub(crate) fn compacted(&self, files: u64, rows: u64) {
        let mut counts = self.0.lock();
        counts.compactions += 1;
        counts.compacted_files += files;
        counts.compacted_rows += rows;
    }

    pub(crate) fn failed(&self) {
        self.0.lock().failures += 1;
    }

    pub(crate) fn retired(&self, reason: &'static str, files: u64, rows: u64, bytes: u64) {
        let mut counts = self.0.lock();
        let retired = counts.retired.entry(reason).or_default();
        retired.files += files;
        retired.rows += rows;
        retired.bytes += bytes;
    }
}
