//! Why a connection is allowed or denied: policies of every dialect in one model, compiled, asked,
//! and explained.
//!
//! The crate is pure: it refuses to know about I/O, tokio and clocks. Documents come in as JSON
//! values with the place they were written at, endpoints come in with each question, and time
//! comes in with each compiled set that is published.

mod document;
mod settings;

mod canonical;
mod names;
mod read;

mod model;
mod nets;
mod requirement;
mod selector;

mod assemble;
mod facts;

mod end;
mod forward;
mod memo;
mod pair;
mod question;
mod select;
mod sight;
mod walk;

mod compiled;
mod timeline;

mod near;
mod why;

mod lint;

mod explanation;
pub mod hits;
mod reach;

pub use compiled::{Compiled, CompiledStats};
pub use document::{Document, Problem, Severity};
pub use explanation::{DecidedBy, Explanation, Side};
pub use lint::{Finding, FindingKind, lint};
pub use memo::MemoStats;
pub use question::{Judgement, Party, Question};
pub use reach::{Reach, reach, reach_from};
pub use read::reads;
pub use settings::{Assume, Dialect, Dialects, Settings};
pub use timeline::{AtTime, Timeline, TimelineLimits, TimelineStats, TimelineWriter};
