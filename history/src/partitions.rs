//! A lake's hours, newest first, and the files of each.

use std::collections::{BTreeMap, VecDeque};

use lake::{Lake, LakeFile, Place, StoreOptions};
use schemas::UnixNanos;

use crate::rows::Rows;
use crate::{HistoryError, Query};

/// The flows of a lake, wherever it is.
#[derive(Clone, Debug)]
pub struct History {
    lake: Lake,
}

/// Where a lake is, and how its store is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Where.
    pub place: Place,
    /// How, where that is an object store.
    pub store: StoreOptions,
}

/// The files of one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// When the hour begins; `None` for files that are in no hour's folder.
    pub hour: Option<UnixNanos>,
    /// Those whose rows count.
    pub files: Vec<LakeFile>,
}

// === impl Address ===

impl From<Place> for Address {
    fn from(place: Place) -> Self {
        Self { place, store: StoreOptions::default() }
    }
}

// === impl History ===

impl History {
    /// Opens a lake that is there.
    ///
    /// # Errors
    /// When its folder cannot be listed, or its settings do not make a store.
    pub fn open(address: &Address) -> Result<Self, HistoryError> {
        Ok(Self { lake: Lake::open(&address.place, &address.store)? })
    }

    /// Of a lake that is open.
    #[must_use]
    pub fn of(lake: Lake) -> Self {
        Self { lake }
    }

    /// Its hours that a question is about, newest first; files outside any hour come first. Through
    /// the manifests where there are any, so that no row is in two of the files.
    ///
    /// # Errors
    /// When the lake cannot be listed, or a manifest cannot be read.
    pub fn partitions(&self, query: &Query) -> Result<VecDeque<Partition>, HistoryError> {
        let mut hours: BTreeMap<Option<UnixNanos>, Vec<LakeFile>> = BTreeMap::new();
        for file in self.lake.contents(query.from, query.to)?.files {
            hours.entry(file.hour).or_default().push(file);
        }
        let loose = hours.remove(&None).map(|files| Partition { hour: None, files });
        let hours = hours.into_iter().rev().map(|(hour, files)| Partition { hour, files });
        Ok(loose.into_iter().chain(hours).collect())
    }

    /// The rows that are asked for, newest window first, each once.
    ///
    /// # Errors
    /// When the lake cannot be listed. A file that cannot be read is an error among the rows.
    pub fn read(&self, query: Query) -> Result<Rows, HistoryError> {
        Ok(Rows::new(self.lake.clone(), self.partitions(&query)?, query))
    }
}
