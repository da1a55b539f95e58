//! A bounded memo that forgets what was not asked for lately.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Remembers at least the last `limit / 2` keys asked for, and at most `limit`.
///
/// Two generations: a full young one becomes the old one, and what is still asked for moves back.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
    generation_limit: usize,
    forgotten: u64,
}

// === impl Memo ===

impl<K: Eq + Hash + Copy, V: Clone> Memo<K, V> {
    /// An empty memo of at most `limit` keys.
    pub(crate) fn new(limit: usize) -> Self {
        let (young, old) = (FxHashMap::default(), FxHashMap::default());
        Self { young, old, generation_limit: (limit / 2).max(1), forgotten: 0 }
    }

    /// What is remembered of a key.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value.clone());
        Some(value)
    }

    /// Remembers a key's value.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_limit {
            let old = std::mem::take(&mut self.young);
            self.forgotten += self.old.len() as u64;
            self.old = old;
        }
        self.young.insert(key, value);
    }

    /// How many keys are remembered.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// How many were forgotten to make room.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memo_keeps_what_is_asked_for_and_stays_in_its_bounds() {
        let mut memo = Memo::new(10);
        for key in 0..1_000 {
            memo.insert(key, key);
            assert_eq!(memo.get(&0), Some(0));
            assert!(memo.len() <= 10);
        }
        assert_eq!(memo.get(&1), None);
        assert!(memo.forgotten() > 900);
    }
}
