//! A map of rows that is cheap to copy and knows which rows changed since the last commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows by id. Cloning shares everything; the first write after a clone copies the index, never the rows.
#[derive(Debug)]
pub(crate) struct Table<T> {
    rows: Arc<BTreeMap<String, Arc<T>>>,
    dirty: BTreeSet<String>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { rows: Arc::clone(&self.rows), dirty: self.dirty.clone() }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Arc::default(), dirty: BTreeSet::new() }
    }
}

impl<T: Clone> Table<T> {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<T>> {
        self.rows.get(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        self.rows.values()
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        if !self.rows.contains_key(id) {
            return None;
        }
        self.dirty.insert(id.to_owned());
        Arc::make_mut(&mut self.rows).get_mut(id).map(Arc::make_mut)
    }

    pub(crate) fn insert(&mut self, id: &str, row: T) {
        self.dirty.insert(id.to_owned());
        Arc::make_mut(&mut self.rows).insert(id.to_owned(), Arc::new(row));
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if self.rows.contains_key(id) {
            self.dirty.insert(id.to_owned());
            Arc::make_mut(&mut self.rows).remove(id);
        }
    }

    /// Adds a row that is on disk already.
    pub(crate) fn load(&mut self, id: String, row: T) {
        Arc::make_mut(&mut self.rows).insert(id, Arc::new(row));
    }

    /// Ids written or removed since the last commit.
    pub(crate) fn dirty(&self) -> &BTreeSet<String> {
        &self.dirty
    }

    /// Ids written or removed since the last call.
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.dirty)
    }
}
