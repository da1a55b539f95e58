//! Writing to standard output.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::sync::oneshot;

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

/// Tells when standard output has no reader any more. A file or a terminal has none that could
/// leave.
///
/// # Errors
/// When the thread that looks cannot be started.
pub fn reader_leaves() -> Result<oneshot::Receiver<()>> {
    let (left, leaves) = oneshot::channel();
    let look = move || {
        let stdout = io::stdout();
        while !left.is_closed() {
            let mut looked = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
            let found = nix::poll::poll(&mut looked, PollTimeout::from(500_u16));
            let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
            let is_gone = looked[0].revents().is_some_and(|seen| seen.intersects(gone));
            if found.is_err() || is_gone {
                // Nobody waiting for it is fine.
                return left.send(()).unwrap_or_default();
            }
        }
    };
    let thread = std::thread::Builder::new().name("stdout".to_owned());
    thread.spawn(look).context("cannot start a thread")?;
    Ok(leaves)
}

/// Whether the reader of standard output has gone away, as `head` does: the ordinary end.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind =
        error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}
