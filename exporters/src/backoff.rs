//! How long to wait before the next attempt: twice as long each time, with jitter, and never less
//! than the far side asked for.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Waits that grow.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempts: u32,
    random: RandomState,
}

// === impl Backoff ===

impl Backoff {
    /// Between these.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, attempts: 0, random: RandomState::new() }
    }

    /// The next attempt succeeded: begin anew.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How long to wait now. Half of it is random, so that many do not come back at once; never
    /// less than `asked`.
    pub fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let grown = self.first.saturating_mul(1 << self.attempts.min(20)).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        let mut hasher = self.random.build_hasher();
        hasher.write_u32(self.attempts);
        let share = f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(0)) / 4_294_967_296.0;
        grown.mul_f64(0.5 + share / 2.0).max(asked.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_begin_anew() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, most);
        for attempt in 0..40 {
            let wait = backoff.wait(None);
            let full = first.saturating_mul(1 << attempt.min(20)).min(most);
            assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait(None) <= first);
    }

    #[test]
    fn what_the_far_side_asked_for_is_the_least() {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(5));
        let asked = Duration::from_secs(30);
        assert_eq!(backoff.wait(Some(asked)), asked);
    }
}
