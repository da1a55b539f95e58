//! All policies of a set, each with a number that it keeps while others come and go.

use std::ops::Index;
use std::sync::Arc;

use crate::model::{Policy, Tier};

/// All policies, with the tiers that they are asked in.
#[derive(Clone, Debug)]
pub(crate) struct PolicySet {
    /// In the order they are asked.
    pub(crate) tiers: Arc<[Tier]>,
    pub(crate) policies: Policies,
    /// The numbers of those that apply to what a host forwards, in the order they are asked.
    pub(crate) forwarded: Arc<[u32]>,
}

/// A policy in its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) policy: Arc<Policy>,
    /// Which tier.
    pub(crate) tier: usize,
    /// It counts for what is enforced.
    pub(crate) enforced: bool,
    /// It counts for what would be with the staged policies enforced.
    pub(crate) pending: bool,
    /// Lower is asked first, of all policies.
    pub(crate) rank: u64,
    /// Never the same of two policies, nor of one before and after it changed.
    pub(crate) version: u64,
}

/// Policies by number. A clone shares every chunk that is not changed afterwards. Of a set that was
/// compiled at once the numbers are the order in which policies are asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    chunks: Vec<Arc<Vec<Option<Placed>>>>,
    /// Numbers that were given, those that are free again included.
    given: usize,
}

/// Policies that are copied together.
const CHUNK: usize = 64;

// === impl Policies ===

impl Policies {
    /// The policy of a number.
    pub(crate) fn get(&self, number: usize) -> Option<&Placed> {
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)?.as_ref()
    }

    /// The number after all that were given.
    pub(crate) fn next(&self) -> u32 {
        u32::try_from(self.given).unwrap_or(u32::MAX)
    }

    /// Puts a policy, or none, in the place of a number that was given, or of the next.
    pub(crate) fn set(&mut self, number: u32, placed: Option<Placed>) -> Option<Placed> {
        let number = number as usize;
        self.given = self.given.max(number + 1);
        if number / CHUNK == self.chunks.len() {
            self.chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        let chunk = Arc::make_mut(&mut self.chunks[number / CHUNK]);
        if number % CHUNK == chunk.len() {
            chunk.push(placed);
            return None;
        }
        std::mem::replace(&mut chunk[number % CHUNK], placed)
    }

    /// Changes what is said of a policy.
    pub(crate) fn change(&mut self, number: u32, change: impl FnOnce(&mut Placed)) {
        let chunk = self.chunks.get_mut(number as usize / CHUNK).map(Arc::make_mut);
        let placed = chunk.and_then(|chunk| chunk.get_mut(number as usize % CHUNK));
        if let Some(placed) = placed.and_then(Option::as_mut) {
            change(placed);
        }
    }

    /// All of them by number.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Placed> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }
}

impl Index<usize> for Policies {
    type Output = Placed;

    /// # Panics
    /// When no policy of this set has this number.
    fn index(&self, number: usize) -> &Placed {
        self.get(number).expect("a number of a policy of this set")
    }
}

impl<'a> IntoIterator for &'a Policies {
    type Item = &'a Placed;
    type IntoIter = Box<dyn Iterator<Item = &'a Placed> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}
