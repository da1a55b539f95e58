//! A bounded memory of answers that many readers share.
//!
//! It has two generations: new answers go to the young one, and when that is full it becomes the
//! old one and the old one is forgotten. An answer that is still asked for moves to the young one
//! again. So it never holds more than twice its limit, and what is in use stays.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{Equivalent, HashTable};
use parking_lot::{RwLock, RwLockWriteGuard};
use rustc_hash::FxBuildHasher;

/// How many locks share the work; a power of two.
const SHARDS: u64 = 16;

/// A bounded memory from `K` to `V`.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    shards: Box<[Shard<K, V>]>,
    limit_of_shard: usize,
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

/// One lock's share, and its counters on a cache line of their own.
#[derive(Debug)]
#[repr(align(64))]
struct Shard<K, V> {
    held: RwLock<Generations<K, V>>,
    hits: AtomicU64,
    misses: AtomicU64,
    forgotten: AtomicU64,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashTable<Known<K, V>>,
    old: HashTable<Known<K, V>>,
}

/// An answer, with what it is found by.
#[derive(Debug)]
struct Known<K, V> {
    key: K,
    value: V,
}

// === impl Memo ===

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    /// An empty memory of about `limit` answers in use: an eighth less for a power of two, which
    /// then fill their tables.
    pub(crate) fn new(limit: usize) -> Self {
        let shard = |_| Shard {
            held: RwLock::new(Generations { young: HashTable::new(), old: HashTable::new() }),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        };
        let shards: Box<[_]> = (0..SHARDS).map(shard).collect();
        let each = (limit / shards.len()).max(1);
        let limit_of_shard = if each.is_power_of_two() { each - each / 8 } else { each };
        Self { shards, limit_of_shard }
    }

    /// The answer for this key, found by `find` when it is not known. Two threads may find it at
    /// once; the answers are equal.
    #[inline]
    pub(crate) fn get_or_find<Q>(&self, asked: &Q, key: impl Fn() -> K, find: impl Fn() -> V) -> V
    where
        Q: Hash + Equivalent<K>,
    {
        let hash = FxBuildHasher.hash_one(asked);
        match self.young(hash, asked) {
            Some(value) => value,
            None => self.find_anew((hash, asked), key, find),
        }
    }

    /// The answer for this key, if it is known.
    pub(crate) fn get<Q>(&self, asked: &Q, key: impl Fn(&V) -> K) -> Option<V>
    where
        Q: Hash + Equivalent<K>,
    {
        let hash = FxBuildHasher.hash_one(asked);
        let young = self.young(hash, asked);
        young.or_else(|| {
            let old = self.old(hash, asked);
            let shard = &self.shards[shard_of(hash)];
            let counter = if old.is_some() { &shard.hits } else { &shard.misses };
            counter.fetch_add(1, Ordering::Relaxed);
            let value = old?;
            self.put_hashed((hash, asked), key(&value), value.clone());
            Some(value)
        })
    }

    /// Remembers this answer in the place of any other.
    pub(crate) fn put<Q>(&self, asked: &Q, key: K, value: V)
    where
        Q: Hash + Equivalent<K>,
    {
        self.put_hashed((FxBuildHasher.hash_one(asked), asked), key, value);
    }

    fn put_hashed<Q>(&self, (hash, asked): (u64, &Q), key: K, value: V)
    where
        Q: Equivalent<K>,
    {
        let mut held = self.with_room(&self.shards[shard_of(hash)]);
        match held.young.find_mut(hash, |known| asked.equivalent(&known.key)) {
            Some(known) => known.value = value,
            None => {
                held.young.insert_unique(hash, Known { key, value }, rehash);
            }
        }
    }

    #[inline]
    fn young<Q: Equivalent<K>>(&self, hash: u64, asked: &Q) -> Option<V> {
        let shard = &self.shards[shard_of(hash)];
        let held = shard.held.read();
        let known = held.young.find(hash, |known| asked.equivalent(&known.key))?;
        let value = known.value.clone();
        drop(held);
        shard.hits.fetch_add(1, Ordering::Relaxed);
        Some(value)
    }

    fn old<Q: Equivalent<K>>(&self, hash: u64, asked: &Q) -> Option<V> {
        let held = self.shards[shard_of(hash)].held.read();
        let known = held.old.find(hash, |known| asked.equivalent(&known.key))?;
        Some(known.value.clone())
    }

    /// The answer from the old generation, or a new one.
    #[cold]
    #[inline(never)]
    fn find_anew<Q>(&self, (hash, asked): (u64, &Q), key: impl Fn() -> K, find: impl Fn() -> V) -> V
    where
        Q: Equivalent<K>,
    {
        let shard = &self.shards[shard_of(hash)];
        let old = self.old(hash, asked);
        let counter = if old.is_some() { &shard.hits } else { &shard.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        let value = old.unwrap_or_else(find);
        let known = Known { key: key(), value: value.clone() };
        let mut held = self.with_room(shard);
        if held.young.find(hash, |known| asked.equivalent(&known.key)).is_none() {
            held.young.insert_unique(hash, known, rehash);
        }
        value
    }

    /// A shard whose young generation is not full.
    fn with_room<'a>(&self, shard: &'a Shard<K, V>) -> RwLockWriteGuard<'a, Generations<K, V>> {
        let mut held = shard.held.write();
        if held.young.len() >= self.limit_of_shard {
            let young = std::mem::take(&mut held.young);
            let old = std::mem::replace(&mut held.old, young);
            shard.forgotten.fetch_add(old.len() as u64, Ordering::Relaxed);
        }
        held
    }

    /// What it holds and how often it knew.
    pub(crate) fn stats(&self) -> MemoStats {
        let mut stats = MemoStats::default();
        for shard in &self.shards {
            let held = shard.held.read();
            stats.held += held.young.len() + held.old.len();
            stats.hits += shard.hits.load(Ordering::Relaxed);
            stats.misses += shard.misses.load(Ordering::Relaxed);
            stats.forgotten += shard.forgotten.load(Ordering::Relaxed);
        }
        stats
    }
}

fn rehash<K: Hash, V>(known: &Known<K, V>) -> u64 {
    FxBuildHasher.hash_one(&known.key)
}

/// Bits in the middle choose the shard: the table inside goes by the lowest and the highest.
fn shard_of(hash: u64) -> usize {
    usize::try_from((hash >> 40) % SHARDS).unwrap_or_default()
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
