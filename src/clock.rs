//! The wall clock: read here, at the edge, and nowhere below.

use std::time::{SystemTime, UNIX_EPOCH};

use schemas::UnixNanos;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the edge: below it time comes with the data")]
pub fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
