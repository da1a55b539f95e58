//! From which time to which, in seconds as Goldmane's clients say it, and the rows of it.

use std::sync::Arc;

use schemas::{UnixNanos, Window};

use crate::memory::{Best, Chunk};

/// Windows that begin at `from` or later and end at `to` or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: UnixNanos,
    pub(crate) to: UnixNanos,
}

/// A range that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RangeError {
    #[error(
        "start_time_gte must be less than start_time_lt; found {from} and {to} (seconds since \
         1970; a negative number is relative to now)"
    )]
    Order { from: i64, to: i64 },
}

/// The rows that a question is about.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Newest first, each with which origin counts.
    windows: Vec<(Window, Vec<Arc<Chunk>>, Best)>,
}

// === impl Range ===

impl Range {
    /// A positive time is absolute, a negative one relative to now, and 0 the oldest there is, or
    /// now.
    pub(crate) fn new(gte: i64, lt: i64, now: UnixNanos) -> Result<Self, RangeError> {
        let from = instant(gte, now).unwrap_or_default();
        let to = instant(lt, now).unwrap_or(now);
        if from >= to {
            let shown = |at: UnixNanos| i64::try_from(at.secs()).unwrap_or(i64::MAX);
            return Err(RangeError::Order { from: shown(from), to: shown(to) });
        }
        Ok(Self { from, to })
    }

    /// Whether a window is in it.
    pub(crate) fn holds(&self, window: Window) -> bool {
        window.start >= self.from && window.end <= self.to
    }
}

/// An instant that is said; nothing for 0.
pub(crate) fn instant(seconds: i64, now: UnixNanos) -> Option<UnixNanos> {
    let amount = std::time::Duration::from_secs(seconds.unsigned_abs());
    match seconds {
        0 => None,
        1.. => Some(UnixNanos(0).after(amount)),
        ..0 => Some(now.before(amount)),
    }
}

// === impl Scope ===

impl Scope {
    /// The chunks whose windows are in a range.
    pub(crate) fn new(chunks: Vec<Arc<Chunk>>, is_in: impl Fn(Window) -> bool) -> Self {
        let mut windows: Vec<(Window, Vec<Arc<Chunk>>, Best)> = Vec::new();
        let mut chunks: Vec<_> = chunks.into_iter().filter(|chunk| is_in(chunk.window)).collect();
        chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.window));
        for chunk in chunks {
            match windows.last_mut() {
                Some((window, chunks, _)) if *window == chunk.window => chunks.push(chunk),
                _ => windows.push((chunk.window, vec![chunk], Best::default())),
            }
        }
        for (_, chunks, best) in &mut windows {
            *best = Best::of(chunks.iter());
        }
        Self { windows }
    }

    /// Every row of every origin.
    pub(crate) fn of_all_origins(mut self) -> Self {
        for (_, _, best) in &mut self.windows {
            *best = Best::default();
        }
        self
    }

    /// Each window by itself.
    pub(crate) fn oldest_first(self) -> impl Iterator<Item = (Window, Vec<Arc<Chunk>>, Best)> {
        self.windows.into_iter().rev()
    }

    /// One more than the highest number of a key.
    pub(crate) fn groups(&self) -> usize {
        let all = self.chunks().flat_map(|(chunk, _)| chunk.groups());
        all.max().map_or(0, |highest| *highest as usize + 1)
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = (&Arc<Chunk>, &Best)> {
        self.windows
            .iter()
            .flat_map(|(_, chunks, best)| chunks.iter().map(move |chunk| (chunk, best)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_relative_to_now() {
        let now = UnixNanos::from_secs(1_000);
        let range = |gte, lt| Range::new(gte, lt, now).map(|it| (it.from.secs(), it.to.secs()));
        assert_eq!(range(0, 0), Ok((0, 1_000)));
        assert_eq!(range(-10, 0), Ok((990, 1_000)));
        assert_eq!(range(-12, -7), Ok((988, 993)));
        assert_eq!(range(500, 600), Ok((500, 600)));
        assert_eq!(range(990, -5), Ok((990, 995)));
        for (gte, lt) in [(-7, -12), (600, 500), (5, 5), (2_000, 0)] {
            let said = range(gte, lt).unwrap_err().to_string();
            assert!(said.contains("must be less than"), "{said}");
        }
    }
}
