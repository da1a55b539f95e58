//! One copy of each value, however many things have it.

use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashSet;

/// Values of which many are alike. What nobody has any more is forgotten whenever the number of
/// values has doubled, so there are never many more than are in use.
#[derive(Debug)]
pub(super) struct Copies<T: ?Sized> {
    all: FxHashSet<Arc<T>>,
    sweep_at: usize,
}

/// So few are not worth a sweep.
const FEW: usize = 1_024;

// === impl Copies ===

impl<T: ?Sized + Hash + Eq> Copies<T> {
    /// The copy that others have of this value; this one, when it is the first.
    pub(super) fn share(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.all.get(&*value) {
            return known.clone();
        }
        if self.all.len() >= self.sweep_at {
            self.all.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = (2 * self.all.len()).max(FEW);
        }
        self.all.insert(value.clone());
        value
    }
}

impl<T: ?Sized> Default for Copies<T> {
    fn default() -> Self {
        Self { all: FxHashSet::default(), sweep_at: FEW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_copy_and_what_nobody_has_is_forgotten() {
        let mut copies = Copies::<str>::default();
        let held: Vec<Arc<str>> = (0..100).map(|_| copies.share("node-1".into())).collect();
        assert!(held.iter().all(|text| Arc::ptr_eq(text, &held[0])));
        for number in 0..10 * FEW {
            copies.share(number.to_string().into());
        }
        assert!(copies.all.len() <= FEW, "{}", copies.all.len());
        assert!(Arc::ptr_eq(&copies.share("node-1".into()), &held[0]));
    }
}
