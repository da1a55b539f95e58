//! A map of which a copy costs a fixed number of pointers: the writer changes a shard of its own
//! and the sets of the past keep theirs.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use rustc_hash::FxBuildHasher;

/// Shards of one map: of 10,000 entries a change copies about 40.
const SHARDS: usize = 256;

/// A map in shards. A clone is cheap and does not see later changes.
#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    shards: Box<[Arc<HashMap<K, V, FxBuildHasher>>]>,
}

// === impl Shards ===

impl<K: Hash + Eq + Clone, V: Clone + Default> Shards<K, V> {
    pub(crate) fn get<Q: Hash + Equivalent<K>>(&self, asked: &Q) -> Option<&V> {
        self.shards[place(asked)].get(asked)
    }

    /// Changes a value, made when it is not there, and forgets it when `change` says so.
    pub(crate) fn change(&mut self, key: &K, change: impl FnOnce(&mut V) -> Keep) {
        let shard = Arc::make_mut(&mut self.shards[place(key)]);
        let value = shard.entry(key.clone()).or_default();
        if change(value) == Keep::No {
            shard.remove(key);
        }
    }
}

/// Whether a value is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

fn place<Q: Hash>(key: &Q) -> usize {
    // The map inside uses the low bits and the highest.
    usize::try_from(FxBuildHasher.hash_one(key) >> 40).unwrap_or(0) % SHARDS
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::default());
        Self { shards: vec![empty; SHARDS].into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut map: Shards<u64, u64> = Shards::default();
        let put = |map: &mut Shards<u64, u64>, key: u64, value: u64| {
            map.change(&key, |held| {
                *held = value;
                Keep::Yes
            });
        };
        (0..1_000).for_each(|key| put(&mut map, key, key));
        let copy = map.clone();
        put(&mut map, 1, 7);
        map.change(&2, |_| Keep::No);
        assert_eq!((copy.get(&1), copy.get(&2)), (Some(&1), Some(&2)));
        assert_eq!((map.get(&1), map.get(&2)), (Some(&7), None));
    }
}
