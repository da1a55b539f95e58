//! Interning: one copy of a value, and a handle to it that is cheap to carry and to compare.
//!
//! A handle keeps its value alive, so an entry lives as long as a batch or an open row holds it;
//! [`Table::sweep`] forgets what nobody holds any more. Numbers are never given twice in one
//! process, and no handle leaves it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxHashSet;

/// A reference to an interned value. Two handles of one table are equal when their values are.
pub struct Handle<T>(Arc<Entry<T>>);

struct Entry<T> {
    id: u64,
    value: T,
}

/// A bounded set of values. Clones share it.
pub struct Table<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    entries: RwLock<FxHashSet<ByValue<T>>>,
    limit: usize,
    refused: AtomicU64,
    /// It is not swept again before so many were refused.
    sweep_at: AtomicU64,
}

/// Where every value of a full table is held, one in so many of its limit is refused before it is
/// looked through again.
const SWEEP_SHARE: usize = 16;

/// An entry that hashes and compares by what it holds.
struct ByValue<T>(Handle<T>);

/// What a table holds and has refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Values held now.
    pub held: usize,
    /// The most it will hold.
    pub limit: usize,
    /// Values that were not taken in because the table was full.
    pub refused: u64,
}

// === impl Handle ===

impl<T> Handle<T> {
    /// A handle outside any table: equal only to its own clones.
    #[must_use]
    pub fn lone(value: T) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(Entry { id: NEXT.fetch_add(1, Ordering::Relaxed), value }))
    }

    /// This value's number, for hashing and for memos: no other handle of this process, of
    /// whatever table, ever has it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl<T> Eq for Handle<T> {}

impl<T> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

// === impl ByValue ===

impl<T: PartialEq> PartialEq for ByValue<T> {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl<T: Eq> Eq for ByValue<T> {}

impl<T: Hash> Hash for ByValue<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.value.hash(state);
    }
}

impl<T> std::borrow::Borrow<T> for ByValue<T> {
    fn borrow(&self) -> &T {
        &self.0.0.value
    }
}

// === impl Table ===

impl<T: Eq + Hash> Table<T> {
    /// An empty table that takes at most `limit` values.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let entries = RwLock::new(FxHashSet::default());
        Self {
            inner: Arc::new(Inner {
                entries,
                limit,
                refused: AtomicU64::new(0),
                sweep_at: AtomicU64::new(0),
            }),
        }
    }

    /// The handle of this value, which is taken in when it is new. `None` when the table is full:
    /// counted, and the caller says what stands for it.
    #[must_use]
    pub fn intern(&self, value: T) -> Option<Handle<T>> {
        if let Some(found) = self.inner.entries.read().get(&value) {
            return Some(found.0.clone());
        }
        let mut entries = self.inner.entries.write();
        if let Some(found) = entries.get(&value) {
            return Some(found.0.clone());
        }
        if entries.len() >= self.inner.limit && !self.inner.make_room(&mut entries) {
            self.inner.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let handle = Handle::lone(value);
        entries.insert(ByValue(handle.clone()));
        Some(handle)
    }

    /// Forgets the values that nobody holds; says how many.
    pub fn sweep(&self) -> usize {
        let mut entries = self.inner.entries.write();
        let before = entries.len();
        entries.retain(|entry| Arc::strong_count(&entry.0.0) > 1);
        before - entries.len()
    }

    /// What it holds and has refused.
    #[must_use]
    pub fn stats(&self) -> TableStats {
        TableStats {
            held: self.inner.entries.read().len(),
            limit: self.inner.limit,
            refused: self.inner.refused.load(Ordering::Relaxed),
        }
    }
}

// === impl Inner ===

impl<T> Inner<T> {
    /// Forgets what nobody holds; whether there is room then.
    fn make_room(&self, entries: &mut FxHashSet<ByValue<T>>) -> bool {
        let refused = self.refused.load(Ordering::Relaxed);
        if refused < self.sweep_at.load(Ordering::Relaxed) {
            return false;
        }
        entries.retain(|entry| Arc::strong_count(&entry.0.0) > 1);
        let has_room = entries.len() < self.limit;
        if !has_room {
            let pause = (self.limit / SWEEP_SHARE) as u64;
            self.sweep_at.store(refused + pause, Ordering::Relaxed);
        }
        has_room
    }
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("limit", &self.inner.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_a_handle() {
        let table = Table::new(10);
        let (one, again) = (table.intern("a"), table.intern("a"));
        assert_eq!(one.unwrap(), again.unwrap());
        assert_ne!(table.intern("a"), table.intern("b"));
    }

    #[test]
    fn a_full_table_forgets_what_nobody_holds_and_then_refuses() {
        let table = Table::new(2);
        let held = table.intern(1).unwrap();
        drop(table.intern(2).unwrap());
        let third = table.intern(3).unwrap();
        assert_eq!(table.intern(4), None);
        assert_eq!(table.stats(), TableStats { held: 2, limit: 2, refused: 1 });
        drop((held, third));
        assert_eq!(table.sweep(), 2);
    }

    #[test]
    fn a_full_table_of_which_all_is_held_is_looked_through_again_only_now_and_then() {
        let table = Table::new(64);
        let mut held: Vec<_> = (0..64).map(|value| table.intern(value).unwrap()).collect();
        assert_eq!(table.intern(64), None);
        held.pop();
        let pause = 64 / SWEEP_SHARE;
        let refused = (65..).map_while(|value| table.intern(value).is_none().then_some(value));
        assert!(refused.count() < pause, "it takes new values in again after at most {pause}");
        drop(held);
    }
}
