//! What one writer has in a lake, in one small file that is replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};

use schemas::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::LakeError;
use crate::layout::{FileName, HOUR, hour_of, last_of};

/// What one writer has in a lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The files whose rows count, by path.
    pub files: BTreeMap<String, Entry>,
    /// Files that are still there, and whose rows do not count: they are in another file, or older
    /// than what is kept. They go when nobody reads them any more.
    #[serde(default)]
    pub replaced: BTreeSet<String>,
}

/// A file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How large it is.
    pub bytes: u64,
    /// How many rows it has; 0 where that is not known.
    pub rows: u64,
    /// The earliest start of its windows.
    pub from: UnixNanos,
    /// The latest start of its windows.
    pub newest: UnixNanos,
    /// The latest end of its windows.
    pub to: UnixNanos,
}

// === impl Manifest ===

impl Default for Manifest {
    fn default() -> Self {
        Self { version: Self::VERSION, files: BTreeMap::new(), replaced: BTreeSet::new() }
    }
}

impl Manifest {
    /// The version of this format. A field may be added under one.
    pub const VERSION: u32 = 1;

    /// Reads one.
    ///
    /// # Errors
    /// When it is none, or of a newer version.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, LakeError> {
        let wrong = |source| LakeError::Manifest { path: path.to_owned(), source };
        let manifest: Self = serde_json::from_slice(bytes).map_err(wrong)?;
        if manifest.version != Self::VERSION {
            let (path, found) = (path.to_owned(), manifest.version);
            return Err(LakeError::Version { path, found });
        }
        Ok(manifest)
    }

    /// As it is stored.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        // Maps of texts and numbers always go into JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Takes a file in.
    pub fn add(&mut self, path: String, entry: Entry) {
        self.replaced.remove(&path);
        self.files.insert(path, entry);
    }

    /// From now on these rows do not count.
    pub fn replace(&mut self, path: &str) -> Option<Entry> {
        let entry = self.files.remove(path)?;
        self.replaced.insert(path.to_owned());
        Some(entry)
    }

    /// Takes in files that are there and of which the manifest does not say: those that were written
    /// just before a kill, or all when the manifest is gone. What a compacted file stands for is
    /// replaced. Whether anything changed.
    pub fn adopt(&mut self, writer: &str, there: impl IntoIterator<Item = (String, u64)>) -> bool {
        let before = self.clone();
        for (path, bytes) in there {
            let is_ours = FileName::parse(&path).is_some_and(|name| name.writer == writer);
            if !is_ours || self.files.contains_key(&path) || self.replaced.contains(&path) {
                continue;
            }
            let Some(hour) = hour_of(&path) else { continue };
            // As much as the folder says: a window that starts in an hour may end in the next.
            let newest = last_of(hour);
            let entry = Entry { bytes, rows: 0, from: hour, newest, to: newest.after(HOUR) };
            self.files.insert(path, entry);
        }
        for path in covered(self.files.keys().map(String::as_str)) {
            self.replace(&path);
        }
        *self != before
    }

    /// What the data's own time is at least: the latest that any file begins.
    #[must_use]
    pub fn now(&self) -> UnixNanos {
        self.files.values().map(|entry| entry.from).max().unwrap_or_default()
    }

    /// How many bytes the files have whose rows count.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }
}

/// The files among these whose rows another of them holds.
pub fn covered<'a>(paths: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let mut hours: BTreeMap<&str, Vec<(&str, FileName)>> = BTreeMap::new();
    for path in paths {
        if let (Some((hour, _)), Some(name)) = (path.rsplit_once('/'), FileName::parse(path)) {
            hours.entry(hour).or_default().push((path, name));
        }
    }
    let mut covered = BTreeSet::new();
    for files in hours.into_values() {
        let compacted: Vec<_> = files.iter().filter(|(_, name)| name.is_compacted).collect();
        for (path, name) in &files {
            if compacted.iter().any(|(_, other)| other.covers(name)) {
                covered.insert((*path).to_owned());
            }
        }
    }
    covered
}
