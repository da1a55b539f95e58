//! Rows that are older than the memory, from the Parquet files: newest first, a page at a time.

use schemas::json::FlowJson;
use schemas::{RowId, UnixNanos};

use crate::answer::Row;
use crate::asker::{AskError, Asker};
use crate::memory::Snapshot;
use crate::query::{Page, Query};

/// The rows of one page, and what is beyond.
pub(crate) struct Answered {
    pub(crate) rows: Vec<Row>,
    pub(crate) next: Option<Page>,
    /// The start of what is there, where the question began before that.
    pub(crate) only_from: Option<UnixNanos>,
}

/// Rows of memory, then of the files where the question begins before that.
pub(crate) fn rows(
    asker: &Asker,
    snapshot: &Snapshot,
    query: &Query,
) -> Result<Answered, AskError> {
    let oldest = snapshot.oldest(asker.now());
    let from = query.from.filter(|from| *from < oldest);
    let folder = match from {
        Some(_) => asker.folder()?,
        None => None,
    };
    // A window of which the memory has forgotten rows is the files'.
    let whole_from = if folder.is_some() { oldest } else { UnixNanos(0) };
    let (mut rows, next) = crate::answer::rows(snapshot, query, whole_from);
    let only_from = from.filter(|_| folder.is_none()).map(|_| oldest);
    let (Some(folder), None) = (folder, next) else {
        return Ok(Answered { rows, next, only_from });
    };
    let room = query.rows().saturating_sub(rows.len());
    let (older, next) = read(&folder, query, oldest, room)?;
    rows.extend(older);
    Ok(Answered { rows, next, only_from })
}

fn read(
    folder: &history::History,
    query: &Query,
    oldest: UnixNanos,
    room: usize,
) -> Result<(Vec<Row>, Option<Page>), AskError> {
    // The files' question takes windows that start before its end.
    let before = match query.page {
        Some(Page::Older { window_start, .. }) => UnixNanos(window_start.0.saturating_add(1)),
        Some(Page::Recent { window_end, .. }) => window_end,
        None => UnixNanos::MAX,
    };
    let to = query.to.unwrap_or(UnixNanos::MAX).min(oldest).min(before);
    let asked = history::Query {
        filter: query.filter.clone(),
        from: query.from,
        to: Some(to),
        limit: None,
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut last = query.page.filter(|page| matches!(page, Page::Older { .. }));
    for row in folder.read(asked)? {
        let row = row?;
        if row.window_end > oldest || !is_behind(&row, query.page) {
            continue;
        }
        if rows.len() == room {
            // Where the memory had filled the page the files begin with the next one.
            let first =
                Page::Older { window_start: to, first: UnixNanos::MAX, id: RowId(u128::MAX) };
            return Ok((rows, Some(last.unwrap_or(first))));
        }
        let FlowJson { window_start, first_seen: first, id, .. } = row;
        last = Some(Page::Older { window_start, first, id });
        rows.push(Row::Older(Box::new(row)));
    }
    Ok((rows, None))
}

/// Whether a row comes after where a page ended: by window, first packet and number, newest first.
fn is_behind(row: &FlowJson, page: Option<Page>) -> bool {
    match page {
        Some(Page::Older { window_start, first, id }) => {
            (row.window_start, row.first_seen, row.id) < (window_start, first, id)
        }
        _ => true,
    }
}
