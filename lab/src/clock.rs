//! The lab's clock: deadlines for what is waited for, and the time that is written down.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment after which waiting ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

/// Between two looks at something that is waited for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Nanoseconds since 1970.
pub(crate) fn unix_nanos() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a program of the lab logs when it did something"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// The time as Kubernetes writes it.
pub(crate) fn kubernetes_time() -> String {
    let seconds = i64::try_from(unix_nanos() / 1_000_000_000).unwrap_or_default();
    let time = k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.to_string()
}

// === impl Deadline ===

impl Deadline {
    /// That long from now.
    pub(crate) fn after(wait: Duration) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "waiting for real programs needs a real clock"
        )]
        let now = Instant::now();
        Self(now + wait)
    }

    /// What is left of it.
    pub(crate) fn left(self) -> Duration {
        #[expect(
            clippy::disallowed_methods,
            reason = "waiting for real programs needs a real clock"
        )]
        let now = Instant::now();
        self.0.saturating_duration_since(now)
    }

    /// Looks again and again until `holds` does; false when the deadline came first.
    pub(crate) fn wait(self, mut holds: impl FnMut() -> bool) -> bool {
        loop {
            if holds() {
                return true;
            }
            if self.left().is_zero() {
                return false;
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}
