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
