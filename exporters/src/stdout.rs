//! Standard output: a table on a terminal, JSON lines otherwise.

pub mod table;
mod writer;

use std::io::{self, IsTerminal, Write};

use schemas::json::FlowJson;

use crate::config::{Format, StdoutConfig};
use table::Table;

pub use writer::Writer;

/// Writes every row to a stream.
#[derive(Debug)]
pub struct Stdout<W> {
    to: W,
    /// `None` writes JSON lines.
    table: Option<Table>,
    rows_since_header: usize,
}

/// A header comes again after so many rows.
const HEADER_EVERY: usize = 40;

// === impl Stdout ===

impl Stdout<io::Stdout> {
    /// To this process's standard output.
    #[must_use]
    pub fn open(config: &StdoutConfig) -> Self {
        let stdout = io::stdout();
        let is_table = match config.format {
            Format::Auto => stdout.is_terminal(),
            Format::Table => true,
            Format::Json => false,
        };
        let table = is_table.then(Table::for_stdout);
        Self::new(stdout, table)
    }
}

impl<W: Write> Stdout<W> {
    /// To any stream, as a table or as JSON lines.
    pub fn new(to: W, table: Option<Table>) -> Self {
        Self { to, table, rows_since_header: 0 }
    }

    /// Writes rows.
    ///
    /// # Errors
    /// What the stream said.
    pub fn write(&mut self, rows: &[FlowJson]) -> io::Result<()> {
        let mut text = String::new();
        for row in rows {
            let Some(table) = &self.table else {
                text.push_str(&serde_json::to_string(row)?);
                text.push('\n');
                continue;
            };
            if self.rows_since_header.is_multiple_of(HEADER_EVERY) {
                text.push_str(&table.header());
            }
            self.rows_since_header += 1;
            text.push_str(&table.row(row));
        }
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests;
