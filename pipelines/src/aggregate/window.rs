//! A lane's open window.

use std::sync::Arc;

use hashbrown::HashTable;
use schemas::{Ledger, Window};

use super::key::Key;
use super::row::Row;
use crate::{Amount, Attributed};

/// An open window: rows in the order of their first packet's arrival, and their index.
pub(super) struct Open {
    pub(super) window: Window,
    pub(super) ledger: Option<Arc<Ledger>>,
    keys: Vec<Key>,
    rows: Vec<Row>,
    index: HashTable<u32>,
    bytes: usize,
    amount: Amount,
}

// === impl Open ===

impl Open {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            ledger: None,
            keys: Vec::new(),
            rows: Vec::new(),
            index: HashTable::new(),
            bytes: 0,
            amount: Amount::default(),
        }
    }

    /// Another window in the memory of this one, whose rows were taken out.
    pub(super) fn reused(mut self, window: Window) -> Self {
        self.keys.clear();
        self.rows.clear();
        self.index.clear();
        Self { window, ledger: None, bytes: 0, amount: Amount::default(), ..self }
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
        &self.rows[place as usize]
    }

    pub(super) fn key(&self, place: u32) -> &Key {
        &self.keys[place as usize]
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = (&Key, &Row)> {
        self.keys.iter().zip(&self.rows)
    }

    /// The row of this key.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.index.find(key.hash(), |place| self.keys[*place as usize] == *key).copied()
    }

    /// The memory that one more row takes, what hangs on it aside.
    pub(super) const fn cost() -> usize {
        size_of::<Key>() + size_of::<Row>() + 8
    }

    /// A new row of this key.
    pub(super) fn insert(&mut self, key: Key, row: &Attributed) -> u32 {
        let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Row::new(&key, row));
        self.keys.push(key);
        self.bytes += Self::cost();
        let keys = &self.keys;
        self.index.insert_unique(key.hash(), place, |place| keys[*place as usize].hash());
        place
    }

    /// Adds to a row. Returns the memory that it took.
    pub(super) fn add(&mut self, place: u32, row: Attributed, amount: Amount) -> usize {
        self.amount += amount;
        let bytes = self.rows[place as usize].add(row);
        self.bytes += bytes;
        bytes
    }

    /// Whether this is the first new connection of a row.
    pub(super) fn is_first_new(&mut self, place: u32) -> bool {
        !std::mem::replace(&mut self.rows[place as usize].is_shown, true)
    }
}
