//! The kernel's side of whyflow: programs that count, a loader that drains them, and recordings of
//! what they saw.
//!
//! The crux: every packet of a watched interface is in exactly one row of one batch, or in an
//! overflow counter. Programs write one half of a mapped table while the loader reads the other;
//! the halves change places only after every running program has ended.
//!
//! This crate knows interfaces, tuples and counters. It refuses to know Kubernetes and policies.

pub mod config;
pub mod error;
pub mod metrics;
pub mod report;

mod kernel;

mod netlink;

mod netns;

mod links;

mod conntrack;

mod attachments;
mod hooks;
mod settling;
mod watch;

mod decode;
mod ledger;
mod openings;

mod drain;

mod probe;
mod unload;

mod source;

#[cfg(feature = "bench")]
pub mod bench;

mod columns;
pub mod record;
pub mod replay;

pub use config::{Attach, Config, Namespace};
pub use error::{OpenError, RecordingError};
pub use metrics::Metrics;
pub use probe::features;
pub use record::Recorder;
pub use report::{Features, Report};
pub use source::{Control, Source, Tables, open, unload};
