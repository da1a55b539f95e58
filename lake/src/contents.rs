//! Which files of a lake hold each row once.

use std::collections::{BTreeMap, BTreeSet};

use schemas::UnixNanos;

use crate::Object;
use crate::layout::{HOUR, hour_of, last_of};
use crate::manifest::{Entry, Manifest, covered};
use crate::reading::{Span, overlaps};

/// The files of a lake that a question is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// By path.
    pub files: Vec<LakeFile>,
    /// How many others of the lake's were seen to be out of the question.
    pub passed_over: usize,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeFile {
    /// Relative to the lake.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
    /// When the hour begins in whose folder it is; nothing for one that somebody put elsewhere.
    pub hour: Option<UnixNanos>,
    /// What a manifest says of it.
    pub entry: Option<Entry>,
}

// === impl Contents ===

impl Contents {
    /// From what is there and what the manifests say, which were read after it was listed.
    pub(crate) fn of(listed: Vec<Object>, manifests: Vec<Manifest>, span: Span) -> Self {
        let mut counted: BTreeMap<String, Entry> = BTreeMap::new();
        let mut replaced = BTreeSet::new();
        for manifest in manifests {
            counted.extend(manifest.files);
            replaced.extend(manifest.replaced);
        }
        let mut files: BTreeMap<String, (u64, Option<Entry>)> = BTreeMap::new();
        for Object { path, bytes } in listed {
            if !replaced.contains(&path) {
                files.insert(path, (bytes, None));
            }
        }
        for (path, entry) in counted {
            files.insert(path, (entry.bytes, Some(entry)));
        }
        // A file that no manifest knows yet may be made of others.
        for path in covered(files.keys().map(String::as_str)) {
            files.remove(&path);
        }
        let all = files.len();
        let file = |(path, (bytes, entry)): (String, (u64, Option<Entry>))| {
            let hour = hour_of(&path);
            LakeFile { path, bytes, hour, entry }
        };
        let mut files: Vec<LakeFile> = files.into_iter().map(file).collect();
        files.retain(|file| file.may_hold(span));
        Self { passed_over: all - files.len(), files }
    }
}

// === impl LakeFile ===

impl LakeFile {
    /// The earliest and the latest start of its windows, as far as is known without opening it.
    #[must_use]
    pub fn starts(&self) -> Option<(UnixNanos, UnixNanos)> {
        match self.entry {
            Some(entry) => Some((entry.from, entry.newest)),
            None => self.hour.map(|hour| (hour, last_of(hour))),
        }
    }

    fn may_hold(&self, span: Span) -> bool {
        match (self.entry, self.hour) {
            (Some(entry), _) => {
                let (from, to) = span;
                from.is_none_or(|from| entry.to > from) && to.is_none_or(|to| entry.from < to)
            }
            (None, Some(hour)) => overlaps(hour, hour.after(HOUR), span),
            (None, None) => true,
        }
    }
}
