//! The daemon's log, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::written::{Log, LogForm};

/// Starts the log. A second start in one process changes nothing.
pub fn start(log: &Log) {
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let started = match log.form {
        LogForm::Text => lines.with_target(false).try_init(),
        LogForm::Json => lines.json().try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "the log is on already");
    }
}
