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

mod facts;
mod groups;
mod holders;

mod order;
mod policies;
mod shards;
mod twins;
mod uses;

mod draft;

mod end;
mod forward;
mod identity;
mod pair;
mod question;
mod select;
mod sight;
mod walk;

mod memo;
mod memory;

mod compiled;
mod documents;
mod timeline;

mod near;
mod part;
mod why;

mod lint;

mod explanation;
pub mod hits;
mod reach;

pub use compiled::{Compiled, Listed};
pub use document::{Document, Problem, Severity};
pub use documents::{DocumentId, Documents, ReadDocument};
pub use explanation::{DecidedBy, Explanation, Side};
pub use lint::{Finding, FindingKind, lint};
pub use memo::MemoStats;
pub use memory::CompiledStats;
pub use question::{InternedParty, InternedQuestion, Judgement, Party, Question};
pub use reach::{Reach, reach, reach_from};
pub use read::reads;
pub use settings::{Assume, Dialect, Dialects, Settings};
pub use timeline::{AtTime, Timeline, TimelineLimits, TimelineStats, TimelineWriter};
