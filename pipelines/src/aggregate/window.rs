//! A lane's open window.

use std::hint::black_box;
use std::sync::Arc;

use hashbrown::HashTable;
use schemas::{Ledger, Window};

use super::key::Key;
use super::row::Row;
use crate::chunks::Chunks;
use crate::{Amount, Attributed};

/// A row's place, and half of its key's hash, which is compared before the row is touched.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    place: u32,
}

/// A key, and the row where it likely is.
pub(super) struct Ahead {
    pub(super) key: Key,
    hash: u32,
    likely: Option<u32>,
}

/// An open window: rows in the order of their first packet's arrival, and their index.
pub(super) struct Open {
    pub(super) window: Window,
    pub(super) ledger: Option<Arc<Ledger>>,
    rows: Chunks<(Key, Row)>,
    index: HashTable<Entry>,
    bytes: usize,
    amount: Amount,
}

// === impl Ahead ===

impl Ahead {
    pub(super) fn of(key: Key) -> Self {
        Self { hash: half(key.hash()), key, likely: None }
    }
}

// === impl Open ===

impl Open {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            ledger: None,
            rows: Chunks::new(),
            index: HashTable::new(),
            bytes: 0,
            amount: Amount::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The memory that its rows take, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What its rows stand for.
    pub(super) fn amount(&self) -> Amount {
        self.amount
    }

    pub(super) fn row(&self, place: u32) -> &Row {
        &self.rows[place as usize].1
    }

    pub(super) fn key(&self, place: u32) -> &Key {
        &self.rows[place as usize].0
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&Key, &Row)> {
        self.rows.iter().map(|(key, row)| (key, row))
    }

    /// The rows where these keys likely are, touched, so that the memory's delays are waited for
    /// together.
    pub(super) fn look_ahead(&self, keys: &mut [Ahead]) {
        for Ahead { hash, likely, .. } in &mut *keys {
            let found = self.index.find(spread(*hash), |entry| entry.hash == *hash);
            *likely = found.map(|entry| entry.place);
        }
        let rows = keys.iter().filter_map(|one| one.likely);
        let rows = rows.map(|place| &self.rows[place as usize]);
        black_box(rows.fold(0, |sum, (key, row)| sum ^ key.revision ^ row.touched()));
    }

    /// The row that was looked up ahead.
    pub(super) fn find_ahead(&self, ahead: &Ahead) -> Option<u32> {
        let is_same = |place: &u32| self.rows[*place as usize].0 == ahead.key;
        ahead.likely.filter(is_same).or_else(|| self.find(&ahead.key))
    }

    /// The row of this key.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        let hash = half(key.hash());
        let is_same =
            |entry: &Entry| entry.hash == hash && self.rows[entry.place as usize].0 == *key;
        self.index.find(spread(hash), is_same).map(|entry| entry.place)
    }

    /// The memory that one more row takes, what hangs on it aside.
    pub(super) const fn cost() -> usize {
        size_of::<(Key, Row)>() + 2 * size_of::<Entry>()
    }

    /// A new row of this key.
    pub(super) fn insert(&mut self, key: Key, row: &Attributed) -> u32 {
        let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push((key, Row::new(&key, row)));
        self.bytes += Self::cost();
        let hash = half(key.hash());
        let entry = Entry { hash, place };
        self.index.insert_unique(spread(hash), entry, |entry| spread(entry.hash));
        place
    }

    /// Adds to a row. Returns the memory that it took.
    pub(super) fn add(&mut self, place: u32, row: Attributed, amount: Amount) -> usize {
        self.amount += amount;
        let bytes = self.rows[place as usize].1.add(row);
        self.bytes += bytes;
        bytes
    }

    /// Whether this is the first new connection of a row.
    pub(super) fn is_first_new(&mut self, place: u32) -> bool {
        !std::mem::replace(&mut self.rows[place as usize].1.is_shown, true)
    }
}

fn half(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// A hash for the index of half a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
