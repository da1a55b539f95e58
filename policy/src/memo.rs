//! A bounded memory of answers that many readers share.
//!
//! It has two generations: new answers go to the young one, and when that is full it becomes the
//! old one and the old one is forgotten. An answer that is still asked for moves to the young one
//! again. So it never holds more than twice its limit, and what is in use stays.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;
use rustc_hash::FxBuildHasher;

/// How many locks share the work.
const SHARDS: usize = 16;

/// A bounded memory from `K` to `V`.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    shards: [RwLock<Generations<K, V>>; SHARDS],
    limit_of_shard: usize,
    hits: AtomicU64,
    misses: AtomicU64,
    forgotten: AtomicU64,
}

/// What a memory holds and how often it knew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoStats {
    /// Answers held.
    pub held: usize,
    /// Questions whose answer was known.
    pub hits: u64,
    /// Questions whose answer had to be found.
    pub misses: u64,
    /// Answers forgotten to stay within the limit.
    pub forgotten: u64,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V, FxBuildHasher>,
    old: HashMap<K, V, FxBuildHasher>,
}

// === impl Memo ===

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    /// An empty memory of about `limit` answers in use.
    pub(crate) fn new(limit: usize) -> Self {
        let empty =
            || RwLock::new(Generations { young: HashMap::default(), old: HashMap::default() });
        Self {
            shards: std::array::from_fn(|_| empty()),
            limit_of_shard: (limit / SHARDS).max(1),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// The answer for this key, found by `find` when it is not known. Two threads may find it at
    /// once; the answers are equal.
    pub(crate) fn get_or_find<Q>(&self, asked: &Q, key: impl Fn() -> K, find: impl Fn() -> V) -> V
    where
        Q: Hash + Equivalent<K>,
    {
        let shard = &self.shards[Self::shard_of(asked)];
        let (known, is_old) = {
            let held = shard.read();
            match held.young.get(asked) {
                Some(value) => (Some(value.clone()), false),
                None => (held.old.get(asked).cloned(), true),
            }
        };
        if let Some(value) = known {
            self.hits.fetch_add(1, Ordering::Relaxed);
            if is_old {
                self.insert(shard, key(), value.clone());
            }
            return value;
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let value = find();
        self.insert(shard, key(), value.clone());
        value
    }

    fn insert(&self, shard: &RwLock<Generations<K, V>>, key: K, value: V) {
        let mut held = shard.write();
        if held.young.len() >= self.limit_of_shard {
            let young = std::mem::take(&mut held.young);
            let old = std::mem::replace(&mut held.old, young);
            self.forgotten.fetch_add(old.len() as u64, Ordering::Relaxed);
        }
        held.young.insert(key, value);
    }

    /// The upper bits choose the shard: the map inside goes by the lower ones.
    fn shard_of<Q: Hash>(asked: &Q) -> usize {
        let hash = FxBuildHasher.hash_one(asked);
        usize::try_from(hash >> 48).unwrap_or_default() % SHARDS
    }

    /// What it holds and how often it knew.
    pub(crate) fn stats(&self) -> MemoStats {
        let held = |shard: &RwLock<Generations<K, V>>| {
            let shard = shard.read();
            shard.young.len() + shard.old.len()
        };
        MemoStats {
            held: self.shards.iter().map(held).sum(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            forgotten: self.forgotten.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_forgets_what_is_not_asked_for_and_keeps_what_is() {
        let memo: Memo<u64, u64> = Memo::new(16 * 4);
        let ask = |key: u64| memo.get_or_find(&key, || key, || key * 2);
        for key in 0..10_000 {
            assert_eq!(ask(key), key * 2);
            assert_eq!(ask(7), 14);
        }
        let stats = memo.stats();
        assert!(stats.held <= 2 * 16 * 4, "{stats:?}");
        assert_eq!(stats.misses, 10_000, "key 7 was found once, and never forgotten");
        assert!(stats.forgotten > 9_000);
    }
}
