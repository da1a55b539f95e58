//! The rows of the past that a question asks for, newest first.

use std::sync::Arc;

use schemas::filter::Filter;
use schemas::json::{FlowJson, Words};
use schemas::observation::Names;
use schemas::{Flow, Interfaces, Lane, UnixNanos, Window};

use crate::memory::{Chunk, Snapshot};
use crate::query::{Page, Query};

/// One row that was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Open(Arc<Flow>),
    Closed(Arc<Chunk>, usize),
    /// From the Parquet files.
    Older(Box<FlowJson>),
}

/// The words behind the numbers in a row.
#[derive(Clone, Debug)]
pub(crate) struct Dictionary {
    pub(crate) interfaces: Interfaces,
    pub(crate) names: Names,
    pub(crate) cluster: Option<Arc<str>>,
}

/// The rows asked for of windows that begin at `whole_from` or later, newest first, and where the
/// next page begins when there are more.
pub(crate) fn rows(
    snapshot: &Snapshot,
    query: &Query,
    whole_from: UnixNanos,
) -> (Vec<Row>, Option<Page>) {
    let open = snapshot.open.iter().filter(|_| query.open && query.page.is_none());
    let open = open.filter(|row| asked(query, row)).map(|row| Row::Open(Arc::clone(row)));
    let mut known = Known::default();
    let chunks = snapshot.chunks.iter().filter(|chunk| overlaps(query, chunk.window));
    let chunks = chunks.filter(|chunk| chunk.window.start >= whole_from);
    let chunks = chunks.filter(|chunk| page_of(query, chunk) > 0);
    let closed =
        chunks.flat_map(|chunk| (0..page_of(query, chunk)).rev().map(move |row| (chunk, row)));
    let closed = closed.filter(|(chunk, row)| known.asks_for(query, chunk, *row));
    let closed = closed.map(|(chunk, row)| Row::Closed(Arc::clone(chunk), row));
    let mut found = open.chain(closed);
    let rows: Vec<Row> = found.by_ref().take(query.rows()).collect();
    let is_more = found.next().is_some();
    let last = rows.iter().rev().find_map(|row| match row {
        Row::Closed(chunk, row) => {
            let row = chunk.first + u64::try_from(*row).unwrap_or(u64::MAX);
            Some(Page::Recent { window_end: chunk.window.end, row })
        }
        Row::Open(_) | Row::Older(_) => None,
    });
    (rows, last.filter(|_| is_more))
}

/// Whether an open or followed row is asked for.
pub(crate) fn asked(query: &Query, row: &Flow) -> bool {
    overlaps(query, row.window) && query.filter.matches_flow(row)
}

/// The rows of a chunk that are asked for, in order.
pub(crate) fn asked_of<'a>(
    query: &'a Query,
    chunk: &'a Arc<Chunk>,
) -> impl Iterator<Item = Row> + 'a {
    let mut known = Known::default();
    let rows = (0..chunk.len())
        .rev()
        .filter(move |row| overlaps(query, chunk.window) && known.asks_for(query, chunk, *row));
    rows.map(|row| Row::Closed(Arc::clone(chunk), row))
}

/// Whether a window is asked for.
fn overlaps(query: &Query, window: Window) -> bool {
    query.from.is_none_or(|from| window.end > from) && query.to.is_none_or(|to| window.start < to)
}

/// How many rows of a chunk, from its first, a page may have: those before where the last page
/// ended. What comes while somebody turns pages stands behind, in its window or in a newer one.
fn page_of(query: &Query, chunk: &Chunk) -> usize {
    match query.page {
        Some(Page::Older { .. }) => 0,
        Some(Page::Recent { window_end, .. }) if chunk.window.end > window_end => 0,
        Some(Page::Recent { window_end, row }) if chunk.window.end == window_end => {
            let before = row.saturating_sub(chunk.first);
            usize::try_from(before).unwrap_or(usize::MAX).min(chunk.len())
        }
        _ => chunk.len(),
    }
}

/// What a question's filter says of keys, each looked at once.
#[derive(Default)]
struct Known(Vec<Option<bool>>);

// === impl Known ===

impl Known {
    fn asks_for(&mut self, query: &Query, chunk: &Chunk, row: usize) -> bool {
        let Filter { outcomes, .. } = &query.filter;
        if !outcomes.is_empty() {
            return query.filter.matches_flow(&chunk.flow(row));
        }
        let key = chunk.key(row);
        if self.0.len() <= key.place() {
            self.0.resize(key.place() + 1, None);
        }
        // Without outcomes a filter asks for what a key has.
        *self.0[key.place()].get_or_insert_with(|| query.filter.matches_flow(&chunk.flow(row)))
    }
}

// === impl Row ===

impl Row {
    /// One line of JSON, with its line end.
    pub(crate) fn line(&self, words: &Dictionary) -> String {
        match self {
            Self::Open(flow) => {
                json_line(&FlowJson { open: true, ..FlowJson::new(flow, &words.words(None)) })
            }
            Self::Closed(chunk, row) => {
                let words = words.words(Some(chunk.lane(*row)));
                json_line(&FlowJson::new(&chunk.flow(*row), &words))
            }
            Self::Older(row) => json_line(row),
        }
    }
}

/// A value as one line of JSON.
pub(crate) fn json_line(value: &impl serde::Serialize) -> String {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

// === impl Dictionary ===

impl Dictionary {
    fn words<'a>(&'a self, lane: Option<&'a Lane>) -> Words<'a> {
        let Self { interfaces, names, cluster } = self;
        Words { interfaces, names, lane, cluster: cluster.as_ref() }
    }
}
