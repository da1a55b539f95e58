//! How an exporter sees the rows: which of them, how fine, with which labels.
//!
//! It is applied on reading, so the spool holds every row once, whoever wants what of it. What a
//! filter leaves out is counted.

use schemas::columns::{self, ColumnsError};
use schemas::filter::Filter;
use schemas::flow::Detail;

use crate::exporter::Chunk;
use crate::spool::{Dropped, reason};
use crate::tally::Tally;

/// What one exporter wants of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Only these.
    pub filter: Filter,
    /// Grouped to this detail, where it is coarser than what is stored.
    pub detail: Option<Detail>,
    /// Only these labels of endpoints, namespaces and service accounts; `None` is all.
    pub labels: Option<Vec<LabelPattern>>,
}

/// A label's key, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelPattern(String);

// === impl View ===

impl View {
    /// Whether rows are delivered as they are stored.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// A chunk as this exporter sees it, and what it leaves out.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn apply(&self, chunk: Chunk) -> Result<(Chunk, Dropped), ColumnsError> {
        let mut dropped = Dropped::default();
        // Rows that come again were seen like this before they were refused.
        if self.is_plain() || chunk.header.again.is_some() || chunk.rows.num_rows() == 0 {
            return Ok((chunk, dropped));
        }
        let mut rows = chunk.rows.clone();
        if !self.filter.is_empty() {
            let flows = columns::read(&rows)?;
            let keep: Vec<bool> = flows.iter().map(|it| self.filter.matches_json(it)).collect();
            rows = columns::filter(&rows, &keep)?;
        }
        let kept = Tally::of_columns(&rows);
        dropped.add(reason::FILTERED, chunk.tally - kept);
        if let Some(patterns) = &self.labels {
            let is_wanted = |key: &str| patterns.iter().any(|pattern| pattern.matches(key));
            rows = columns::keep_labels(&rows, is_wanted)?;
        }
        if let Some(detail) = self.detail {
            rows = columns::coarsen(&rows, detail)?;
        }
        // The books are in stored rows: a grouped one stands for all that are in it.
        Ok((Chunk { rows, tally: kept, ..chunk }, dropped))
    }
}

// === impl LabelPattern ===

impl LabelPattern {
    /// A key, or a beginning with `*` behind it; `None` where the `*` is elsewhere, or nothing is
    /// said.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let start = text.strip_suffix('*').unwrap_or(text);
        (!text.is_empty() && !start.contains('*')).then(|| Self(text.to_owned()))
    }

    fn matches(&self, key: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => key == self.0,
        }
    }
}

#[cfg(test)]
mod tests;
