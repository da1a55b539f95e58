//! Writing to standard output.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};

/// Writes text and a line end to standard output.
///
/// # Errors
/// When standard output cannot be written; [`is_closed_pipe`] says whether the reader just left.
pub fn line(text: &str) -> Result<()> {
    writeln!(io::stdout().lock(), "{text}").context("cannot write to standard output")
}

/// Rows under headers, two spaces in, columns as wide as they need; empty when there is no row.
pub fn table<const N: usize>(
    headers: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headers[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let headers = headers.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&headers).chain(&rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
        text.push('\n');
    }
    text
}

/// Whether a person is looking.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether the reader of standard output has gone away, as `head` does: the ordinary end.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind =
        error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}
