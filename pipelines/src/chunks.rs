//! A list that grows without moving what it holds, and without holding twice what it needs.

use std::ops::{Index, IndexMut};

/// How many values are allocated at a time.
const CHUNK: usize = 4_096;

/// Values by place.
#[derive(Debug)]
pub(crate) struct Chunks<T>(Vec<Vec<T>>);

// === impl Chunks ===

impl<T> Chunks<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        let full = self.0.len().saturating_sub(1) * CHUNK;
        full + self.0.last().map_or(0, Vec::len)
    }

    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place / CHUNK)?.get(place % CHUNK)
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.0.get_mut(place / CHUNK)?.get_mut(place % CHUNK)
    }

    pub(crate) fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.0.push(chunk);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.0[place / CHUNK][place % CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.0[place / CHUNK][place % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_stays_at_its_place() {
        let mut chunks = Chunks::new();
        for value in 0..10_000 {
            assert_eq!(chunks.len(), value);
            chunks.push(value);
        }
        assert_eq!((chunks[0], chunks[4_096], chunks[9_999]), (0, 4_096, 9_999));
        assert_eq!(chunks.get_mut(10_000), None);
        assert!(chunks.iter().copied().eq(0..10_000));
    }
}
