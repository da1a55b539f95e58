//! Which step is next. Nothing here waits or reads a file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lake::Entry;
use lake::layout::{FileName, HOUR, hour_of};
use tokio::time::Instant;

use super::Keeper;
use crate::config::ParquetConfig;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::parquet) enum Chore {
    /// Files that were replaced long enough ago go.
    Remove(Vec<String>),
    /// Files whose rows are not kept any longer.
    Retire {
        /// Which.
        paths: Vec<String>,
        /// Why: `age` or `bytes`.
        reason: &'static str,
    },
    /// Small files become one.
    Compact(Run),
}

/// Files of one hour that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::parquet) struct Run {
    pub(super) hour: String,
    pub(super) paths: Vec<String>,
    /// What they become.
    pub(super) name: FileName,
}

/// So long after an hour's end its late rows are there as well, mostly.
const LATE: Duration = Duration::from_mins(10);

/// In an hour that is not over, so many files are worth the work.
const OPEN_FILES_MIN: usize = 16;

/// Files that are removed in one step.
const REMOVED_AT_ONCE: usize = 256;

// === impl Keeper ===

impl Keeper {
    /// The next step, if there is one.
    pub(in crate::parquet) fn choose(&self, config: &ParquetConfig, now: Instant) -> Option<Chore> {
        let gone = self.replaced_at.iter().filter(|(_, at)| **at + config.linger <= now);
        let gone: Vec<_> = gone.map(|(path, _)| path.clone()).take(REMOVED_AT_ONCE).collect();
        if !gone.is_empty() {
            return Some(Chore::Remove(gone));
        }
        let too_old = self.too_old(config);
        if !too_old.is_empty() {
            return Some(Chore::Retire { paths: too_old, reason: "age" });
        }
        let too_much = self.too_much(config);
        if !too_much.is_empty() {
            return Some(Chore::Retire { paths: too_much, reason: "bytes" });
        }
        self.small(config).map(Chore::Compact)
    }

    fn too_old(&self, config: &ParquetConfig) -> Vec<String> {
        let Some(keep) = config.keep else { return Vec::new() };
        let oldest = self.manifest.now().before(keep);
        let files = self.manifest.files.iter();
        files.filter(|(_, entry)| entry.to < oldest).map(|(path, _)| path.clone()).collect()
    }

    /// The oldest files, as many as are beyond the limit. The newest always stays.
    fn too_much(&self, config: &ParquetConfig) -> Vec<String> {
        let Some(most) = config.keep_bytes else { return Vec::new() };
        let mut total = self.manifest.bytes_total();
        let mut oldest_first: Vec<(&String, &Entry)> = self.manifest.files.iter().collect();
        oldest_first.sort_by_key(|(path, entry)| (entry.from, *path));
        oldest_first.pop();
        let mut beyond = Vec::new();
        for (path, entry) in oldest_first {
            if total <= most {
                break;
            }
            total -= entry.bytes;
            beyond.push(path.clone());
        }
        beyond
    }

    /// The first run of small files that is worth its work.
    fn small(&self, config: &ParquetConfig) -> Option<Run> {
        if config.compact_bytes == 0 {
            return None;
        }
        let mut hours: BTreeMap<&str, Vec<(FileName, &str, u64)>> = BTreeMap::new();
        for (path, entry) in &self.manifest.files {
            if let (Some((hour, _)), Some(name)) = (path.rsplit_once('/'), FileName::parse(path)) {
                hours.entry(hour).or_default().push((name, path, entry.bytes));
            }
        }
        let over = self.manifest.now().before(LATE);
        hours.into_iter().find_map(|(hour, mut files)| {
            let is_over = hour_of(hour).is_some_and(|begins| begins.after(HOUR) <= over);
            let least = if is_over { 2 } else { OPEN_FILES_MIN };
            files.sort();
            self.run(config, hour, &files, least)
        })
    }

    fn run(
        &self,
        config: &ParquetConfig,
        hour: &str,
        files: &[(FileName, &str, u64)],
        least: usize,
    ) -> Option<Run> {
        let mut run: Vec<&(FileName, &str, u64)> = Vec::new();
        for file in files {
            let (name, path, bytes) = file;
            let is_small = *bytes <= config.compact_bytes / 2 && !self.unfit.contains(*path);
            let total: u64 = run.iter().map(|file| file.2).sum();
            let follows = run.last().is_none_or(|last| last.0.spool == name.spool);
            let fits = follows && total.saturating_add(*bytes) <= config.compact_bytes;
            if !(is_small && fits) {
                if is_worth(&run, least) {
                    break;
                }
                run.clear();
            }
            if is_small {
                run.push(file);
            }
        }
        if !is_worth(&run, least) {
            return None;
        }
        let (first, last) = (run.first()?, run.last()?);
        let name = FileName { last: last.0.last, is_compacted: true, ..first.0.clone() };
        let paths = run.iter().map(|file| file.1.to_owned()).collect();
        Some(Run { hour: hour.to_owned(), paths, name })
    }
}

/// A large file is not written again for the sake of one little one.
fn is_worth(run: &[&(FileName, &str, u64)], least: usize) -> bool {
    let total: u64 = run.iter().map(|file| file.2).sum();
    let largest = run.iter().map(|file| file.2).max().unwrap_or_default();
    run.len() >= least && (total.saturating_mul(3) >= largest.saturating_mul(4) || run.len() >= 8)
}

// === impl Chore ===

impl fmt::Display for Chore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove(paths) => write!(f, "removing {} files that were replaced", paths.len()),
            Self::Retire { paths, reason } => {
                write!(f, "giving up {} files for their {reason}", paths.len())
            }
            Self::Compact(run) => {
                write!(f, "making {}/{} of {} files", run.hour, run.name, run.paths.len())
            }
        }
    }
}
