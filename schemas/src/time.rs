//! Wall-clock time as it travels with the data, and the windows it is cut into.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixNanos(pub u64);

/// A half-open span of time `[start, end)`, aligned to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First instant inside.
    pub start: UnixNanos,
    /// First instant after.
    pub end: UnixNanos,
}

// === impl UnixNanos ===

impl UnixNanos {
    /// The end of time: what a draining graph is told.
    pub const MAX: Self = Self(u64::MAX);

    /// From whole seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This instant moved later, stopping at the end of time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This instant moved earlier, stopping at the epoch.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How much later this is than `earlier`; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixNanos {
    /// RFC 3339 in UTC with milliseconds, as in `2026-01-31T08:30:00.250Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.secs() / 86_400, self.secs() % 86_400);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        let millis = self.millis() % 1_000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

// === impl Window ===

impl Window {
    /// The window of this length that holds `at`, aligned to the epoch. A zero length counts as
    /// one nanosecond.
    #[must_use]
    pub fn holding(at: UnixNanos, length: Duration) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(1);
        let start = at.0 - at.0 % length;
        Self { start: UnixNanos(start), end: UnixNanos(start.saturating_add(length)) }
    }

    /// Whether `at` lies inside.
    #[must_use]
    pub fn holds(&self, at: UnixNanos) -> bool {
        self.start <= at && at < self.end
    }
}

/// Gregorian date of a day count from 1970-01-01, by counting in 400-year eras of 146,097 days
/// that begin on 1 March.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_reads_as_rfc_3339() {
        assert_eq!(UnixNanos(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(UnixNanos::from_secs(951_782_400).to_string(), "2000-02-29T00:00:00.000Z");
        let late = UnixNanos(1_769_848_200_250_999_999);
        assert_eq!(late.to_string(), "2026-01-31T08:30:00.250Z");
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        let window = Window::holding(UnixNanos::from_secs(31), Duration::from_secs(15));
        assert_eq!(window.start, UnixNanos::from_secs(30));
        assert!(window.holds(window.start));
        assert!(!window.holds(window.end));
    }
}
