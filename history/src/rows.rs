//! Rows newest first: row groups of all files of an hour, merged by the time that their statistics
//! give them.

use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use lake::{Lake, LakeFile};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use schemas::columns::{self, ColumnsError};
use schemas::json::FlowJson;
use schemas::{RowId, UnixNanos};

use crate::input::Input;
use crate::partitions::Partition;
use crate::{HistoryError, Query, prune};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 2_048;

/// The rows that were asked for, newest window first, each once. Files that cannot be read are
/// errors in between.
#[derive(Debug)]
pub struct Rows {
    lake: Lake,
    query: Query,
    partitions: VecDeque<Partition>,
    /// Row groups of the present hour that are not read yet, by their newest window.
    groups: BinaryHeap<Group>,
    /// Rows that are read, newest first.
    ready: BinaryHeap<Row>,
    errors: VecDeque<HistoryError>,
    last: Option<RowId>,
    given: usize,
}

/// A row group of a file.
#[derive(Debug)]
struct Group {
    newest: UnixNanos,
    file: Arc<OpenFile>,
    index: usize,
}

#[derive(Debug)]
struct OpenFile {
    input: Input,
    metadata: ArrowReaderMetadata,
}

/// A row by its place in the order: window, first packet, number.
#[derive(Debug)]
struct Row(Box<FlowJson>);

// === impl Rows ===

impl Rows {
    pub(crate) fn new(lake: Lake, partitions: VecDeque<Partition>, query: Query) -> Self {
        Self {
            lake,
            query,
            partitions,
            groups: BinaryHeap::new(),
            ready: BinaryHeap::new(),
            errors: VecDeque::new(),
            last: None,
            given: 0,
        }
    }

    /// Whether no row group that is not read yet can hold a row as new as the newest that is.
    fn is_settled(&self) -> bool {
        let Some(row) = self.ready.peek() else { return false };
        self.groups.peek().is_none_or(|group| group.newest < row.0.window_start)
    }

    /// Whether anything more was read.
    fn advance(&mut self) -> bool {
        if let Some(group) = self.groups.pop() {
            if let Err(error) = self.read(&group) {
                self.errors.push_back(error);
            }
            return true;
        }
        // Rows of an hour are all given before the next hour's are read.
        if !self.ready.is_empty() {
            return false;
        }
        let Some(partition) = self.partitions.pop_front() else { return false };
        partition.files.iter().for_each(|file| self.open(file));
        true
    }

    /// Takes in the row groups of a file that may hold what is asked for.
    fn open(&mut self, file: &LakeFile) {
        let end_of_hour = file.hour.map(|hour| hour.after(std::time::Duration::from_hours(1)));
        let file = match OpenFile::open(Input::of(&self.lake, file)) {
            Ok(Some(file)) => Arc::new(file),
            Ok(None) => return,
            Err(error) => return self.errors.push_back(error),
        };
        for (index, group) in file.metadata.metadata().row_groups().iter().enumerate() {
            if prune::may_hold(group, &self.query) {
                let newest = prune::newest(group).or(end_of_hour).unwrap_or(UnixNanos::MAX);
                self.groups.push(Group { newest, file: Arc::clone(&file), index });
            }
        }
    }

    fn read(&mut self, group: &Group) -> Result<(), HistoryError> {
        guarded(&group.file.input.path, || self.read_guarded(group))
    }

    fn read_guarded(&mut self, group: &Group) -> Result<(), HistoryError> {
        let OpenFile { input, metadata } = &*group.file;
        let path = &input.path;
        let reader = input.rows(metadata.clone(), group.index, BATCH_ROWS)?;
        let columns = |source: ColumnsError| HistoryError::Columns { path: path.clone(), source };
        for batch in reader {
            let batch = batch.map_err(|error| columns(error.into()))?;
            let rows = columns::read(&batch).map_err(columns)?;
            let wanted = rows.into_iter().filter(|row| self.is_wanted(row));
            self.ready.extend(wanted.map(|row| Row(Box::new(row))).collect::<Vec<_>>());
            self.trim();
        }
        Ok(())
    }

    fn is_wanted(&self, row: &FlowJson) -> bool {
        let Query { filter, from, to, .. } = &self.query;
        from.is_none_or(|from| row.window_end > from)
            && to.is_none_or(|to| row.window_start < to)
            && filter.matches_json(row)
    }

    /// Forgets what is beyond the limit. A row may be there twice, so twice as many are kept.
    fn trim(&mut self) {
        let Some(limit) = self.query.limit else { return };
        let kept = limit.saturating_sub(self.given).saturating_mul(2).max(1);
        if self.ready.len() > kept.saturating_mul(2) {
            let newest_first = std::mem::take(&mut self.ready).into_sorted_vec();
            self.ready = newest_first.into_iter().rev().take(kept).collect();
        }
    }
}

impl Iterator for Rows {
    type Item = Result<FlowJson, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.query.limit.is_some_and(|limit| self.given >= limit) {
            return None;
        }
        loop {
            if let Some(error) = self.errors.pop_front() {
                return Some(Err(error));
            }
            if !self.is_settled() {
                if self.advance() {
                    continue;
                }
                if self.ready.is_empty() {
                    return None;
                }
            }
            let Row(row) = self.ready.pop()?;
            if self.last.replace(row.id) != Some(row.id) {
                self.given += 1;
                return Some(Ok(*row));
            }
        }
    }
}

// === impl OpenFile ===

impl OpenFile {
    /// `None` for a file that is gone by now: old ones are removed.
    fn open(input: Input) -> Result<Option<Self>, HistoryError> {
        let Some(metadata) = guarded(&input.path, || input.metadata())? else { return Ok(None) };
        check_version(&input.path, &metadata)?;
        Ok(Some(Self { input, metadata }))
    }
}

/// The Parquet reader asserts where a damaged page breaks its own rules; that damage is one file's
/// and stays there. Rows that were taken in before it are whole, so nothing is left half-done.
fn guarded<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, HistoryError>,
) -> Result<T, HistoryError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let found = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
        Err(HistoryError::Damaged { path: path.to_owned(), found: found.to_owned() })
    })
}

fn check_version(path: &Path, metadata: &ArrowReaderMetadata) -> Result<(), HistoryError> {
    let entries = metadata.metadata().file_metadata().key_value_metadata();
    let mut entries = entries.into_iter().flatten();
    let version = entries.find(|entry| entry.key == columns::VERSION_KEY);
    let found = version.and_then(|entry| entry.value.clone()).unwrap_or_default();
    if found == columns::VERSION {
        return Ok(());
    }
    Err(HistoryError::Version { path: path.to_owned(), found })
}

// === impl Group ===

impl Group {
    fn order(&self) -> (UnixNanos, &Path, usize) {
        (self.newest, &self.file.input.path, self.index)
    }
}

impl Ord for Group {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Group {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Group {}

// === impl Row ===

impl Row {
    fn order(&self) -> (UnixNanos, UnixNanos, RowId) {
        (self.0.window_start, self.0.first_seen, self.0.id)
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Row {}
