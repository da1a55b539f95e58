//! The rows of the past that a question asks for, newest first.

use std::sync::Arc;

use schemas::json::{FlowJson, Words};
use schemas::observation::Names;
use schemas::{Flow, Interfaces, Lane, Window};

use crate::query::{Page, Query};
use crate::recent::{Piece, Snapshot};

/// One row that was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Open(Arc<Flow>),
    Closed(Arc<Piece>, usize),
}

/// The words behind the numbers in a row.
#[derive(Clone, Debug)]
pub(crate) struct Dictionary {
    pub(crate) interfaces: Interfaces,
    pub(crate) names: Names,
    pub(crate) cluster: Option<Arc<str>>,
}

/// The rows asked for, newest first, and where the next page begins when there are more.
pub(crate) fn rows(snapshot: &Snapshot, query: &Query) -> (Vec<Row>, Option<Page>) {
    let open = snapshot.open.iter().filter(|_| query.open && query.page.is_none());
    let open = open.filter(|row| asked(query, row)).map(|row| Row::Open(Arc::clone(row)));
    let pieces = snapshot.pieces.iter().skip_while(|piece| is_before_page(query, piece));
    let closed = pieces.filter(|piece| overlaps(query, piece.window)).flat_map(|piece| {
        let first = match query.page {
            Some(page) if page.sequence == piece.sequence => page.row + 1,
            _ => 0,
        };
        let rows = piece.rows.iter().enumerate().skip(first);
        let found = rows.filter(|(_, row)| query.filter.matches_flow(row));
        found.map(|(index, _)| Row::Closed(Arc::clone(piece), index))
    });
    let mut found = open.chain(closed);
    let rows: Vec<Row> = found.by_ref().take(query.rows()).collect();
    let is_more = found.next().is_some();
    let last = rows.iter().rev().find_map(|row| match row {
        Row::Closed(piece, row) => Some(Page { sequence: piece.sequence, row: *row }),
        Row::Open(_) => None,
    });
    (rows, last.filter(|_| is_more))
}

/// Whether an open or followed row is asked for.
pub(crate) fn asked(query: &Query, row: &Flow) -> bool {
    overlaps(query, row.window) && query.filter.matches_flow(row)
}

/// Whether a window is asked for.
fn overlaps(query: &Query, window: Window) -> bool {
    query.from.is_none_or(|from| window.end > from) && query.to.is_none_or(|to| window.start < to)
}

/// Pieces before the one where the last page ended. A piece that is forgotten meanwhile was the
/// oldest: nothing follows it.
fn is_before_page(query: &Query, piece: &Piece) -> bool {
    query.page.is_some_and(|page| piece.sequence != page.sequence)
}

// === impl Row ===

impl Row {
    /// One line of JSON, with its line end.
    pub(crate) fn line(&self, words: &Dictionary) -> String {
        match self {
            Self::Open(flow) => {
                json_line(&FlowJson { open: true, ..FlowJson::new(flow, &words.words(None)) })
            }
            Self::Closed(piece, row) => match piece.rows.get(*row) {
                Some(flow) => json_line(&FlowJson::new(flow, &words.words(Some(&piece.lane)))),
                None => String::new(),
            },
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
