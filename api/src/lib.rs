//! Recent flows in memory, and the questions that can be asked about them over HTTP, with
//! metrics and health beside them.
//!
//! It is fed by a branch of the graph that never waits for it ([`Feed`]), keeps what fits its
//! limits ([`Recent`]), and answers from there ([`serve`]). It refuses to know where flows come
//! from and where else they go. A slow reader loses rows, marked and counted; it never holds up
//! the feed.

mod metrics;

pub mod goldmane;

mod memory;

mod feed;

mod parameter;
mod query;

mod answer;
mod follow;
mod older;

mod ask;
mod asker;

pub mod status;

mod whisker;

pub mod known;
mod problem;
mod v1;

mod connections;
mod serve;

pub use asker::{Asker, AskerConfig, Clock};
pub use feed::{Feed, feed};
pub use memory::{Limits, Recent};
pub use metrics::Metrics;
pub use query::{BadQuery, Query};
pub use serve::{Api, BindError, bind, serve};
pub use status::{Status, Vitals};
pub use v1::document::openapi_text;
