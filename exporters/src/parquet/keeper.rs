//! What a writer has in its lake, and what it does there beside writing: small files become large
//! ones, old ones go. One step at a time, between deliveries; each leaves the lake whole wherever it
//! is killed.
//!
//! What is compacted is safe in the new file before the manifest names it instead of the others, and
//! those stay a while for readers that have begun. No row is ever in no file.

mod choose;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use lake::layout::manifest_path;
use lake::{Entry, Manifest};
use tokio::time::Instant;

use super::store::Store;
use super::{ParquetError, compact};
use crate::config::ParquetConfig;
use crate::metrics::LakeCounters;

use choose::{Chore, Run};

/// What a writer has in its lake.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    pub(super) manifest: Manifest,
    /// Since when replaced files are replaced, as this process knows.
    replaced_at: BTreeMap<String, Instant>,
    /// Files that cannot be compacted: damaged, or of another schema.
    unfit: BTreeSet<String>,
    /// Not before this, after one that failed.
    not_before: Option<Instant>,
    due: Option<Instant>,
    counters: LakeCounters,
}

/// How long after a failure the next step is tried.
const AFTER_FAILURE: Duration = Duration::from_mins(1);

// === impl Keeper ===

impl Keeper {
    /// From the manifest, and from what is there in case a kill came before it was replaced.
    pub(super) fn open(
        store: &Store,
        writer: &str,
        counters: LakeCounters,
    ) -> Result<Self, ParquetError> {
        let path = manifest_path(writer);
        let mut manifest = match store.read(&path)? {
            Some(bytes) => Manifest::parse(&path, &bytes)?,
            None => Manifest::default(),
        };
        let there = store.list()?;
        // What somebody else removed is no file any more.
        let paths: BTreeSet<&str> = there.iter().map(|object| &*object.path).collect();
        let all = manifest.files.len() + manifest.replaced.len();
        manifest.files.retain(|path, _| paths.contains(&**path));
        manifest.replaced.retain(|path| paths.contains(&**path));
        let is_less = manifest.files.len() + manifest.replaced.len() < all;
        let there = there.into_iter().map(|object| (object.path, object.bytes));
        if manifest.adopt(writer, there) || is_less {
            store.put(&path, manifest.bytes())?;
        }
        let mut keeper = Self {
            manifest,
            replaced_at: BTreeMap::new(),
            unfit: BTreeSet::new(),
            not_before: None,
            due: None,
            counters,
        };
        keeper.note();
        Ok(keeper)
    }

    /// Replaces the manifest by one with these files.
    pub(super) fn add(
        &mut self,
        store: &Store,
        writer: &str,
        files: Vec<(String, Entry)>,
    ) -> Result<(), ParquetError> {
        let mut manifest = self.manifest.clone();
        for (path, entry) in files {
            manifest.add(path, entry);
        }
        self.swap(store, writer, manifest)
    }

    fn swap(
        &mut self,
        store: &Store,
        writer: &str,
        manifest: Manifest,
    ) -> Result<(), ParquetError> {
        if manifest != self.manifest {
            store.put(&manifest_path(writer), manifest.bytes())?;
            self.manifest = manifest;
            self.note();
        }
        Ok(())
    }

    fn note(&mut self) {
        let now = Instant::now();
        let replaced = &self.manifest.replaced;
        self.replaced_at.retain(|path, _| replaced.contains(path));
        for path in replaced {
            self.replaced_at.entry(path.clone()).or_insert(now);
        }
        let files = &self.manifest.files;
        let rows = files.values().map(|entry| entry.rows).sum();
        self.counters.holds(files.len() as u64, self.manifest.bytes_total(), rows);
        self.counters.replaced(replaced.len() as u64);
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Looks what there is to do, after anything changed.
    pub(super) fn look(&mut self, config: &ParquetConfig) {
        let now = Instant::now();
        let due = match self.choose(config, now) {
            Some(_) => Some(now),
            None => self.replaced_at.values().min().map(|at| *at + config.linger),
        };
        self.due = due.map(|due| self.not_before.map_or(due, |not_before| due.max(not_before)));
    }

    /// Does one step. What fails is said, counted and tried again later: no row waits for it.
    pub(super) fn work(&mut self, store: &Store, config: &ParquetConfig, writer: &str) {
        self.not_before = None;
        let Some(chore) = self.choose(config, Instant::now()) else { return };
        let done = match &chore {
            Chore::Remove(paths) => self.remove(store, writer, paths),
            Chore::Retire { paths, reason } => self.retire(store, writer, paths, reason),
            Chore::Compact(run) => self.compact(store, config, writer, run),
        };
        if let Err(error) = done {
            let error = crate::spool::chain(&error);
            tracing::warn!(%chore, error, "tidying the lake is tried again in a minute");
            self.failed();
        }
        self.look(config);
    }

    /// A step did not end.
    pub(super) fn failed(&mut self) {
        self.counters.failed();
        let later = Instant::now() + AFTER_FAILURE;
        self.not_before = Some(later);
        self.due = Some(later);
    }

    /// Files that nobody reads any more go; then they are forgotten.
    fn remove(
        &mut self,
        store: &Store,
        writer: &str,
        paths: &[String],
    ) -> Result<(), ParquetError> {
        let mut manifest = self.manifest.clone();
        for path in paths {
            store.remove(path)?;
            manifest.replaced.remove(path);
        }
        self.swap(store, writer, manifest)
    }

    /// Rows that are not kept any longer do not count any more.
    fn retire(
        &mut self,
        store: &Store,
        writer: &str,
        paths: &[String],
        reason: &'static str,
    ) -> Result<(), ParquetError> {
        let mut manifest = self.manifest.clone();
        let retired: Vec<Entry> = paths.iter().filter_map(|path| manifest.replace(path)).collect();
        self.swap(store, writer, manifest)?;
        let rows = retired.iter().map(|entry| entry.rows).sum();
        let bytes = retired.iter().map(|entry| entry.bytes).sum();
        self.counters.retired(reason, retired.len() as u64, rows, bytes);
        Ok(())
    }

    fn compact(
        &mut self,
        store: &Store,
        config: &ParquetConfig,
        writer: &str,
        run: &Run,
    ) -> Result<(), ParquetError> {
        let mut inputs: Vec<Bytes> = Vec::new();
        for path in &run.paths {
            match store.read(path)? {
                Some(bytes) => inputs.push(bytes),
                None => return Err(ParquetError::Gone { path: path.clone() }),
            }
        }
        let spool = (&*run.name.spool, (run.name.first, run.name.last));
        let path = format!("{}/{}", run.hour, run.name);
        let made =
            store.make(writer, &path, |making| compact::together(making, config, inputs, spool));
        let (bytes, entry) = match made {
            Ok(made) => made,
            Err(error) => {
                if error.is_of_the_files() {
                    self.unfit.extend(run.paths.iter().cloned());
                }
                return Err(error);
            }
        };
        let mut manifest = self.manifest.clone();
        for path in &run.paths {
            manifest.replace(path);
        }
        manifest.add(path, Entry { bytes, ..entry });
        self.swap(store, writer, manifest)?;
        self.counters.compacted(run.paths.len() as u64, entry.rows);
        Ok(())
    }
}
