//! Values that rows share, each with a small number: a reader keeps what it knows of one in an
//! array.

use std::ops::Deref;
use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::Mutex;

/// A value with its number, which nothing else has while anybody holds this one.
#[derive(Debug)]
pub(crate) struct Numbered<T> {
    number: u32,
    value: T,
    free: Arc<Mutex<Vec<u32>>>,
}

/// The values that are held. An entry goes in [`Numbers::sweep`] when nobody else holds it.
#[derive(Debug)]
pub(crate) struct Numbers<T> {
    known: HashTable<(u64, Arc<Numbered<T>>)>,
    free: Arc<Mutex<Vec<u32>>>,
    next: u32,
}

// === impl Numbered ===

impl<T> Numbered<T> {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The number as a place in an array.
    pub(crate) fn place(&self) -> usize {
        self.number as usize
    }
}

impl<T> Deref for Numbered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Numbered<T> {
    fn drop(&mut self) {
        self.free.lock().push(self.number);
    }
}

// === impl Numbers ===

impl<T> Numbers<T> {
    /// The value of this hash that `is_it`; made when there is none.
    pub(crate) fn intern(
        &mut self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Arc<Numbered<T>> {
        if let Some((_, found)) = self.known.find(hash, |(_, known)| is_it(known)) {
            return Arc::clone(found);
        }
        let number = self.free.lock().pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let made = Arc::new(Numbered { number, value: make(), free: Arc::clone(&self.free) });
        self.known.insert_unique(hash, (hash, Arc::clone(&made)), |(hash, _)| *hash);
        made
    }

    /// Forgets what nobody else holds.
    pub(crate) fn sweep(&mut self) {
        self.known.retain(|(_, known)| Arc::strong_count(known) > 1);
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { known: HashTable::new(), free: Arc::default(), next: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_when_nobody_holds_its_value() {
        let mut numbers = Numbers::default();
        let mut intern = |value: u64| numbers.intern(value, |known| *known == value, || value);
        let (one, two) = (intern(1), intern(2));
        assert_eq!((one.number(), two.number(), intern(1).number()), (0, 1, 0));
        drop(one);
        numbers.sweep();
        let three = numbers.intern(3, |known| *known == 3, || 3);
        assert_eq!((three.number(), **two, numbers.len()), (0, 2, 2));
    }
}
