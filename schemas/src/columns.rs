//! Flows as Arrow columns.
//!
//! There are two layouts of the same facts. In the *stored* one, which the spool's files have,
//! what rows share (endpoints, traces, reasons) is a dictionary of structs: handles become indices
//! into that file's own dictionaries, so a file is whole in itself and small. In the *flat* one,
//! which Parquet files have, every field of a section is a column of its own, as DuckDB, Spark and
//! pyarrow read them naturally. [`flatten`] goes from the first to the second without touching a
//! string, and [`read`] gives [`FlowJson`](crate::json::FlowJson) rows of either.
//!
//! A column may be added; none is renamed, removed or given another meaning without raising
//! [`VERSION`].

mod arrays;
mod build;
mod coarsen;
mod compact;
mod flatten;
mod nested;
mod read;
mod rows;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::Interfaces;
use crate::json::Words;
use crate::observation::Names;

pub use build::encode;
pub use coarsen::{coarsen, keep_labels};
pub use compact::{compact, filter};
pub use flatten::{flat_column, flatten};
pub use read::read;

/// The key under which the layout's version stands in a file's metadata.
pub const VERSION_KEY: &str = "whyflow.schema";

/// The version of both layouts.
pub const VERSION: &str = "flow/1";

/// Columns that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// Arrow refused.
    #[error("computing Arrow columns of flows")]
    Arrow(#[from] ArrowError),
    /// A column that every version has is not there.
    #[error("reading flows from columns: column '{column}' is missing; found {found}")]
    Missing {
        /// The one that was looked for.
        column: String,
        /// Those that are there.
        found: String,
    },
    /// A column of a type that cannot be read as what it should be.
    #[error("reading flows from columns: column '{column}' is {found}, expected {expected}")]
    Type {
        /// Which column.
        column: String,
        /// What it is.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A value that is not one of the column's words.
    #[error("reading flows from columns: row {row} of column '{column}' has '{found}'")]
    Value {
        /// Which column.
        column: String,
        /// Which row of the batch, from 0.
        row: usize,
        /// What was there.
        found: String,
    },
}

/// The columns of the flat layout as this version writes them.
///
/// # Errors
/// When Arrow refuses.
pub fn flat_schema() -> Result<SchemaRef, ColumnsError> {
    let (interfaces, names) = (Interfaces::default(), Names::default());
    let words = Words { interfaces: &interfaces, names: &names, lane: None, cluster: None };
    Ok(flatten(&encode(&[], &words)?)?.schema())
}

/// How a section's columns are called in the flat layout: the prefix of a dictionary's fields.
const SECTIONS: &[(&str, &str)] = &[
    ("lane", ""),
    ("interface", "interface_"),
    ("source", "source_"),
    ("destination", "destination_"),
    ("service", "service_"),
    ("policies", ""),
    ("reason", ""),
];

#[cfg(test)]
mod tests;
