//! A map of which a copy costs a fixed number of pointers: the writer changes a shard of its own
//! and the readers keep theirs.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap};

/// Shards of one map. With 50,000 entries a change copies about 200 of them.
const SHARDS: usize = 256;

/// A map in shards. A clone is cheap and does not see later changes.
#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    shards: Box<[Arc<FxHashMap<K, V>>]>,
}

// === impl Shards ===

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.shards[Self::place(key)].get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        Arc::make_mut(&mut self.shards[Self::place(&key)]).insert(key, value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let shard = &mut self.shards[Self::place(key)];
        if !shard.contains_key(key) {
            return None;
        }
        Arc::make_mut(shard).remove(key)
    }

    /// The value, made when it is not there.
    pub(crate) fn get_or_make(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        Arc::make_mut(&mut self.shards[Self::place(key)]).entry(key.clone()).or_default()
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let shard = &mut self.shards[Self::place(key)];
        if !shard.contains_key(key) {
            return None;
        }
        Arc::make_mut(shard).get_mut(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    fn place(key: &K) -> usize {
        let hash = FxBuildHasher.hash_one(key);
        // The map inside uses the low bits.
        usize::try_from(hash >> 48).unwrap_or(0) % SHARDS
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let empty = Arc::new(FxHashMap::default());
        Self { shards: vec![empty; SHARDS].into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut map = Shards::default();
        for key in 0..1_000 {
            map.insert(key, key);
        }
        let copy = map.clone();
        map.insert(1, 7);
        assert_eq!(map.remove(&2), Some(2));
        assert_eq!((copy.get(&1), copy.get(&2)), (Some(&1), Some(&2)));
        assert_eq!((map.get(&1), map.get(&2)), (Some(&7), None));
        assert_eq!((copy.iter().count(), map.iter().count()), (1_000, 999));
    }
}
