//! Where flows go: the spool on disk, and the exporters that read it.
//!
//! Every closed window is written once, into the spool; from then on it is safe. Each exporter
//! reads the spool at its own pace and keeps its own place in it, so none can hurt another. What
//! one of them cannot deliver is tried again, or counted as dropped with a reason: for each
//! exporter, received = sent + dropped + held at any time.
//!
//! This crate refuses to know about Kubernetes and the kernel: to it a flow is a row.

pub mod config;

mod files;
pub mod tally;

pub mod spool;

pub mod backoff;
pub mod exporter;
pub mod run;
pub mod view;

mod shared;
mod wire;

pub mod file;
pub mod kafka;
pub mod otlp;
pub mod parquet;
pub mod prometheus;
pub mod stdout;

pub mod metrics;

pub use config::SpoolConfig;
pub use exporter::{Chunk, ExportError, Exporter, Position, Receipt, Refusal};
pub use run::run;
pub use spool::Spool;
pub use tally::Tally;
pub use view::View;
