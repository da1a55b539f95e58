//! Flows on standard output: a table on a terminal, JSON lines otherwise.

use std::io;

use anyhow::{Context as _, Result};
use exporters::stdout::Stdout;
use exporters::stdout::table::Table;
use schemas::json::FlowJson;
use serde::Deserialize;

use crate::terminal;

/// Where rows are printed.
pub(crate) struct Screen {
    /// Nothing where JSON lines are printed as they come.
    table: Option<Stdout<io::Stdout>>,
}

/// A mark in a stream where rows are missing.
#[derive(Deserialize)]
struct GapLine {
    gap: Gap,
}

#[derive(Deserialize)]
struct Gap {
    rows: u64,
    reason: String,
}

// === impl Screen ===

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        let is_table = !json && terminal::is_terminal();
        let table = is_table.then(|| Stdout::new(io::stdout(), Some(Table::for_stdout())));
        Self { table }
    }

    /// One line of the API.
    pub(super) fn line(&mut self, line: &str) -> Result<()> {
        let Some(table) = &mut self.table else { return terminal::line(line) };
        if let Ok(GapLine { gap: Gap { rows, reason } }) = serde_json::from_str(line) {
            return terminal::line(&format!("... {rows} rows are missing here ({reason}) ..."));
        }
        let flow = serde_json::from_str(line).context("the daemon sent a line that is no flow")?;
        Ok(table.write(&[flow])?)
    }

    /// Rows of a folder.
    pub(crate) fn rows(&mut self, rows: &[FlowJson]) -> Result<()> {
        match &mut self.table {
            Some(table) => Ok(table.write(rows)?),
            None => rows.iter().try_for_each(|row| terminal::line(&serde_json::to_string(row)?)),
        }
    }
}
