//! Who had what, and when.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use schemas::UnixNanos;
use smallvec::SmallVec;

use super::shards::Shards;
use crate::limits::Limits;
use crate::metrics::Metrics;

/// One holder's time: from its first instant up to the first that is no longer its own.
#[derive(Clone, Debug, PartialEq)]
struct Tenure<V> {
    from: UnixNanos,
    /// The end of time while it lasts.
    until: UnixNanos,
    holder: V,
}

/// The holders of one thing, earliest first. They never overlap, and only the last may last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History<V>(SmallVec<[Tenure<V>; 1]>);

/// The histories of many things, of which the ended tenures are bounded.
#[derive(Debug)]
pub(crate) struct Past<K, V> {
    pub(super) kept: Shards<K, History<V>>,
    /// When each kept tenure ended, about in order of time.
    ended: VecDeque<(UnixNanos, K)>,
    limits: PastLimits,
    by_age: Counter,
    by_count: Counter,
}

#[derive(Debug)]
struct PastLimits {
    of_one: usize,
    in_all: usize,
    age: Duration,
}

// === impl History ===

impl<V: PartialEq> History<V> {
    /// Who has it now.
    pub(crate) fn current(&self) -> Option<&V> {
        self.0.last().filter(|last| last.lasts()).map(|last| &last.holder)
    }

    /// Who had it at that time; where nobody had, who came to have it within `early`.
    pub(crate) fn at(&self, at: UnixNanos, early: Duration) -> Option<&V> {
        let after = self.0.partition_point(|tenure| tenure.from <= at);
        let held = self.0[..after].last().filter(|tenure| tenure.lasts() || at < tenure.until);
        let soon = || self.0.get(after).filter(|tenure| tenure.from.since(at) <= early);
        held.or_else(soon).map(|tenure| &tenure.holder)
    }

    /// This holder has it, and did since `from` if nobody else had it then. Says when the tenure of
    /// another ended by it.
    fn begin(&mut self, holder: V, from: UnixNanos, at: UnixNanos) -> Option<UnixNanos> {
        if self.current() == Some(&holder) {
            return None;
        }
        let ended = self.end(at);
        let free_since = self.0.last().map_or(UnixNanos(0), |last| last.until);
        let from = ended.unwrap_or_else(|| from.min(at).max(free_since));
        match self.0.last_mut() {
            Some(last) if last.until == from && last.holder == holder => {
                last.until = UnixNanos::MAX;
            }
            _ => self.0.push(Tenure { from, until: UnixNanos::MAX, holder }),
        }
        ended
    }

    /// Nobody has it any more. Says when that was, if somebody had; a tenure without any length is
    /// as if it had never been.
    fn end(&mut self, at: UnixNanos) -> Option<UnixNanos> {
        let last = self.0.last_mut().filter(|last| last.lasts())?;
        let at = at.max(last.from);
        if at == last.from {
            self.0.pop();
        } else {
            last.until = at;
        }
        Some(at)
    }

    /// Forgets what ended by then.
    fn forget(&mut self, by: UnixNanos) {
        self.0.retain(|tenure| tenure.until > by);
    }
}

impl<V> Default for History<V> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<V> Tenure<V> {
    fn lasts(&self) -> bool {
        self.until == UnixNanos::MAX
    }
}

// === impl Past ===

impl<K: Hash + Eq + Clone, V: PartialEq + Clone> Past<K, V> {
    pub(super) fn new(limits: &Limits, metrics: &Metrics) -> Self {
        Self {
            kept: Shards::default(),
            ended: VecDeque::new(),
            limits: PastLimits {
                of_one: limits.history_per_address.max(1),
                in_all: limits.history,
                age: limits.history_age,
            },
            by_age: metrics.forgotten_age.clone(),
            by_count: metrics.forgotten_count.clone(),
        }
    }

    pub(super) fn current(&self, key: &K) -> Option<&V> {
        self.kept.get(key).and_then(History::current)
    }

    pub(super) fn begin(&mut self, key: &K, holder: V, from: UnixNanos, at: UnixNanos) {
        if self.current(key) == Some(&holder) {
            return;
        }
        let history = self.kept.get_or_make(key);
        let ended = history.begin(holder, from, at);
        if history.0.len() > self.limits.of_one {
            history.0.remove(0);
            self.by_count.inc();
        }
        if let Some(ended) = ended {
            self.ended.push_back((ended, key.clone()));
        }
    }

    pub(super) fn end(&mut self, key: &K, at: UnixNanos) {
        let Some(history) = self.kept.get_mut(key) else { return };
        if let Some(ended) = history.end(at) {
            self.ended.push_back((ended, key.clone()));
        }
        if history.0.is_empty() {
            self.kept.remove(key);
        }
    }

    /// Forgets what is older than the limit, and the oldest of what is too much.
    pub(super) fn forget(&mut self, at: UnixNanos) {
        let old = at.before(self.limits.age);
        while let Some((ended, _)) = self.ended.front() {
            let is_old = *ended <= old;
            if !is_old && self.ended.len() <= self.limits.in_all {
                break;
            }
            let Some((ended, key)) = self.ended.pop_front() else { break };
            (if is_old { &self.by_age } else { &self.by_count }).inc();
            let Some(history) = self.kept.get_mut(&key) else { continue };
            history.forget(ended);
            if history.0.is_empty() {
                self.kept.remove(&key);
            }
        }
    }

    /// Ended tenures kept.
    pub(super) fn ended(&self) -> usize {
        self.ended.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_TIME: Duration = Duration::ZERO;

    fn past(of_one: usize, in_all: usize, age: Duration) -> Past<u8, u8> {
        let limits = Limits {
            history_per_address: of_one,
            history: in_all,
            history_age: age,
            ..Limits::default()
        };
        Past::new(&limits, &Metrics::default())
    }

    fn at(past: &Past<u8, u8>, key: u8, time: u64) -> Option<u8> {
        past.kept.get(&key).and_then(|history| history.at(UnixNanos(time), NO_TIME)).copied()
    }

    #[test]
    fn a_holder_came_early_only_where_nobody_had_it() {
        let mut history = History::default();
        history.begin('a', UnixNanos(10), UnixNanos(10));
        history.end(UnixNanos(20));
        history.begin('b', UnixNanos(30), UnixNanos(30));
        let early = Duration::from_nanos(5);
        let who = |time| history.at(UnixNanos(time), early).copied();
        assert_eq!((who(4), who(5), who(19)), (None, Some('a'), Some('a')));
        assert_eq!((who(20), who(24), who(25)), (None, None, Some('b')));
        assert_eq!(history.at(UnixNanos::MAX, early), Some(&'b'));
    }

    #[test]
    fn a_known_beginning_does_not_reach_into_another_tenure() {
        let mut history = History::default();
        history.begin('a', UnixNanos(0), UnixNanos(10));
        history.begin('b', UnixNanos(0), UnixNanos(20));
        history.end(UnixNanos(30));
        history.begin('c', UnixNanos(25), UnixNanos(40));
        let who = |time| history.at(UnixNanos(time), NO_TIME).copied();
        assert_eq!((who(0), who(19), who(20)), (Some('a'), Some('a'), Some('b')));
        assert_eq!((who(29), who(30)), (Some('b'), Some('c')));
    }

    #[test]
    fn limits_forget_the_oldest_first_and_count_it() {
        let mut past = past(10, 2, Duration::from_nanos(100));
        for time in 0..5_u8 {
            past.begin(&0, time, UnixNanos(u64::from(time) * 10), UnixNanos(u64::from(time) * 10));
        }
        past.forget(UnixNanos(40));
        assert_eq!(
            (at(&past, 0, 15), at(&past, 0, 25), at(&past, 0, 45)),
            (None, Some(2), Some(4))
        );
        past.end(&0, UnixNanos(50));
        past.forget(UnixNanos(1_000));
        assert_eq!((past.kept.iter().count(), past.ended()), (0, 0));
        assert_eq!((past.by_count.get(), past.by_age.get()), (2, 3));
    }

    /// What happens to one thing at a time.
    #[derive(Clone, Debug)]
    enum Step {
        Begin { holder: u8, known_since: u64 },
        End,
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let step = prop_oneof![
            3 => (0..4_u8, 0..200_u64)
                .prop_map(|(holder, known_since)| Step::Begin { holder, known_since }),
            1 => Just(Step::End),
        ];
        prop::collection::vec((0..12_u64, step), 0..40)
    }

    proptest! {
        /// Against the plainest model there is: one holder for each instant.
        #[test]
        fn every_instant_has_the_holder_that_it_was_given(steps in steps()) {
            let mut past = past(1_000, 1_000, Duration::MAX);
            let mut model: Vec<Option<u8>> = vec![None; 600];
            let (mut now, mut free_since, mut began, mut holds) = (0_u64, 0, 0, None);
            for (wait, step) in steps {
                now += wait;
                match step {
                    Step::Begin { holder, .. } if holds == Some(holder) => {}
                    Step::Begin { holder, known_since } => {
                        if holds.is_some() && began < now {
                            free_since = now;
                        }
                        let from = match holds {
                            Some(_) => now,
                            None => known_since.min(now).max(free_since),
                        };
                        let instants = usize::try_from(from).unwrap()..;
                        model[instants].fill(Some(holder));
                        (holds, began) = (Some(holder), from);
                        past.begin(&0, holder, UnixNanos(known_since), UnixNanos(now));
                    }
                    Step::End => {
                        if holds.take().is_some() {
                            model[usize::try_from(now).unwrap()..].fill(None);
                            // A tenure without any length leaves no trace.
                            free_since = if began < now { now } else { free_since };
                        }
                        past.end(&0, UnixNanos(now));
                    }
                }
            }
            for (instant, holder) in model.iter().enumerate() {
                prop_assert_eq!(at(&past, 0, instant as u64), *holder, "at {}", instant);
            }
        }
    }
}
