//! Goldmane's contract over real connections: gRPC with a tonic client, fed by the graph's updates
//! and by agents that push.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

#[path = "goldmane/access.rs"]
mod access;
#[path = "goldmane/collecting.rs"]
mod collecting;
#[path = "goldmane/listing.rs"]
mod listing;
#[path = "goldmane/many.rs"]
mod many;
#[path = "goldmane/mended.rs"]
mod mended;
#[path = "goldmane/served.rs"]
mod served;
#[path = "goldmane/statistics.rs"]
mod statistics;
#[path = "goldmane/streaming.rs"]
mod streaming;
#[path = "goldmane/v1.rs"]
mod v1;
#[path = "goldmane/whisker.rs"]
mod whisker;
