//! How far a reader of a stream has come: what `Last-Event-ID` says.

use schemas::{UnixNanos, Window};

use crate::memory::Sum;

/// A reader's place: windows come in order, and in one of them the keys in the order of their
/// numbers; what comes late is numbered by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of the window that the reader is in.
    pub(crate) start: UnixNanos,
    /// The last key of it that he has.
    pub(crate) key: i64,
    /// The last correction that he has.
    pub(crate) corrections: u64,
    /// In which life of the daemon corrections were numbered so.
    pub(crate) run: u32,
}

// === impl Place ===

impl Place {
    /// Nothing of this window was told yet.
    pub(crate) fn before(window: Window) -> Self {
        Self { start: window.start, ..Self::default() }
    }

    /// All of this window was told.
    pub(crate) fn behind(window: Window) -> Self {
        Self { start: window.start, key: i64::MAX, ..Self::default() }
    }

    /// The same with this sum told.
    pub(crate) fn at(self, sum: &Sum) -> Self {
        Self { start: sum.window.start, key: sum.group.id, ..self }
    }

    /// Whether a window's sum was told.
    pub(crate) fn has(&self, sum: &Sum) -> bool {
        (sum.window.start, sum.group.id) <= (self.start, self.key)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(());
        let start = UnixNanos::from_secs(u64::from(part()?.parse::<u32>().map_err(drop)?));
        let key = part()?.parse::<u64>().map_err(drop)?.try_into().map_err(drop)?;
        let corrections = part()?.parse().map_err(drop)?;
        let run = u32::from_str_radix(part()?, 16).map_err(drop)?;
        if parts.next().is_some() {
            return Err(());
        }
        Ok(Self { start, key, corrections, run })
    }
}

impl std::fmt::Display for Place {
    /// Seconds since 1970 of the window's start, the key's number, the correction's and the life's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { start, key, corrections, run } = self;
        write!(f, "{}-{key}-{corrections}-{run:x}", start.secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_is_a_place_or_none(text in ".{0,40}") {
            if let Ok(place) = text.parse::<Place>() {
                assert_eq!(place.to_string().parse(), Ok(place));
            }
        }

        #[test]
        fn a_place_is_read_back_as_it_was_written(
            start: u32, key in 0..i64::MAX, corrections: u64, run: u32,
        ) {
            let start = UnixNanos::from_secs(start.into());
            let place = Place { start, key, corrections, run };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
    }
}
