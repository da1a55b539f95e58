//! The daemon's log, on standard error, and over OTLP where that is asked for.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt};

use crate::config::written::{Log, LogForm};
use crate::telemetry::Telemetry;

/// Starts the log. A second start in one process changes nothing.
pub fn start(log: &Log, telemetry: Option<&Telemetry>) {
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let lines = fmt::layer::<Registry>().with_writer(std::io::stderr);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let lines = match log.form {
        LogForm::Text => lines.with_target(false).boxed(),
        LogForm::Json => lines.json().boxed(),
    };
    let mut layers = vec![lines.with_filter(filter).boxed()];
    layers.extend(telemetry.map(|telemetry| telemetry.layers(&log.level)).into_iter().flatten());
    if let Err(error) = tracing_subscriber::registry().with(layers).try_init() {
        tracing::debug!(%error, "the log is on already");
    }
}
