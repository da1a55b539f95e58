//! The rows of one chunk on their way: what is delivered leaves at the front, and what is refused is
//! cut in halves until only the rows that are refused alone are left.

use std::ops::Range;

use crate::exporter::{Chunk, Refusal};

/// The most that a refused chunk is cut. Beyond it a refused part is set aside as it is, good rows
/// and all: a far side that refuses everything must cost a bounded number of requests.
const CUTS_MAX: u32 = 256;

/// What is left of a chunk.
#[derive(Debug)]
pub(super) struct Parts {
    chunk: Chunk,
    /// Ranges of its rows that still have to go, the next one last.
    left: Vec<Range<usize>>,
    cuts_left: u32,
    refused: Vec<Refusal>,
    rejected: u64,
}

// === impl Parts ===

impl Parts {
    pub(super) fn of(chunk: Chunk) -> Self {
        // A chunk without rows is one empty part: an exporter that holds files must see it.
        let rows = 0..chunk.rows.num_rows();
        Self { chunk, left: vec![rows], cuts_left: CUTS_MAX, refused: Vec::new(), rejected: 0 }
    }

    /// The rows to deliver next; `None` when none are left.
    pub(super) fn next(&self) -> Option<Chunk> {
        self.left.last().map(|rows| self.chunk.part(rows.clone()))
    }

    /// So many rows of the next part need not come again; these of them the far side refused.
    pub(super) fn took(&mut self, taken: usize, refused: Vec<Refusal>, rejected: u64) {
        let Some(part) = self.left.pop() else { return };
        for Refusal { rows, reason } in refused {
            let rows = clip(&part, &rows);
            self.refuse(rows, reason);
        }
        self.rejected += rejected;
        let rest = part.start + taken.clamp(1, part.len().max(1))..part.end;
        if !rest.is_empty() {
            self.left.push(rest);
        }
    }

    /// The far side refused the first `rows` of the next part together.
    pub(super) fn were_refused(&mut self, rows: usize, reason: &str) {
        let Some(part) = self.left.pop() else { return };
        let together = part.start..part.start + rows.clamp(1, part.len().max(1)).min(part.len());
        let rest = together.end..part.end;
        if !rest.is_empty() {
            self.left.push(rest);
        }
        if together.len() <= 1 || self.cuts_left == 0 {
            self.refuse(together, reason.to_owned());
            return;
        }
        self.cuts_left -= 1;
        let middle = together.start + together.len() / 2;
        self.left.push(middle..together.end);
        self.left.push(together.start..middle);
    }

    /// Nothing of it can be delivered.
    pub(super) fn refuse_all(&mut self, reason: &str) {
        self.left.clear();
        self.refuse(0..self.chunk.rows.num_rows(), reason.to_owned());
    }

    fn refuse(&mut self, rows: Range<usize>, reason: String) {
        if !rows.is_empty() {
            self.refused.push(Refusal { rows, reason });
        }
    }

    /// The chunk, the rows of it that were refused in order, and how many more were thrown away.
    pub(super) fn done(self) -> (Chunk, Vec<Refusal>, u64) {
        (self.chunk, self.refused, self.rejected)
    }
}

/// A range within a part as a range of the chunk.
fn clip(part: &Range<usize>, rows: &Range<usize>) -> Range<usize> {
    let at = |row: usize| part.start.saturating_add(row).min(part.end);
    at(rows.start)..at(rows.end)
}
