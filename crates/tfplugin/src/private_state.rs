//! What a provider keeps beside the state of an object, invisible to the user.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::Diagnostic;

/// The key of an object's private state under which the provider's own entries stand. What else there is belongs to
/// the framework.
const ENTRIES: &str = "provider";
/// The key of the framework's own notes.
const FRAMEWORK: &str = "framework";
/// The note that the object was imported and not read yet.
const IMPORTED: &str = "imported";

/// Entries that Terraform stores beside the state of one object and hands back with every call about it: an etag, the id of a
/// task under way. They are stored in plain text, so no secrets. Clones share the entries.
///
/// Entries written during a plan arrive at the apply of that plan, but (before Terraform 1.16) not at the second plan that
/// core asks for in between: a plan must not depend on them.
#[derive(Clone, Default)]
pub struct PrivateState(Arc<Mutex<Held>>);

#[derive(Clone, Default)]
struct Held {
    /// What arrived; goes back byte for byte while nothing was changed.
    stored: Bytes,
    entries: BTreeMap<String, Json>,
    /// Whether the object was imported and not read yet: the read that follows holds what it finds against what was asked.
    imported: bool,
    changed: bool,
}

impl PrivateState {
    /// Reads what Terraform has stored. Bytes of another layout (an object taken over from another provider) have no
    /// entries, and stay until something is set.
    pub(crate) fn of(stored: Bytes) -> Self {
        let mut all = serde_json::from_slice::<BTreeMap<String, Json>>(&stored).unwrap_or_default();
        let entries =
            all.remove(ENTRIES).and_then(|entries| serde_json::from_value(entries).ok()).unwrap_or_default();
        let imported = all.get(FRAMEWORK).is_some_and(|notes| notes[IMPORTED] == true);
        Self(Arc::new(Mutex::new(Held { stored, entries, imported, changed: false })))
    }

    /// What Terraform is to store: an empty answer would erase what it has.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let held = self.lock();
        if !held.changed {
            return held.stored.clone();
        }
        let mut all = serde_json::Map::new();
        if !held.entries.is_empty() {
            all.insert(ENTRIES.to_owned(), held.entries.clone().into_iter().collect());
        }
        if held.imported {
            all.insert(FRAMEWORK.to_owned(), serde_json::json!({ IMPORTED: true }));
        }
        if all.is_empty() { Bytes::new() } else { Json::Object(all).to_string().into() }
    }

    /// Notes that the object was imported.
    pub(crate) fn set_imported(&self) {
        let mut held = self.lock();
        (held.imported, held.changed) = (true, true);
    }

    /// Whether the object was imported and not read since; the note is gone then.
    pub(crate) fn take_imported(&self) -> bool {
        let mut held = self.lock();
        let imported = std::mem::take(&mut held.imported);
        held.changed |= imported;
        imported
    }

    /// An entry; `None` if there is none. An entry of another type is an error.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Diagnostic> {
        let Some(entry) = self.lock().entries.get(key).cloned() else { return Ok(None) };
        serde_json::from_value(entry).map(Some).map_err(|error| {
            Diagnostic::error(
                "Cannot read private state",
                format!("What is stored as {key:?} beside the state is not what this version of the provider stores: {error}."),
            )
        })
    }

    /// Sets an entry.
    pub fn set<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Diagnostic> {
        let value = serde_json::to_value(value).map_err(|error| {
            Diagnostic::provider_bug(format!("The private entry {key:?} cannot be written as JSON: {error}."))
        })?;
        let mut held = self.lock();
        held.entries.insert(key.to_owned(), value);
        held.changed = true;
        Ok(())
    }

    /// Removes an entry.
    pub fn remove(&self, key: &str) {
        let mut held = self.lock();
        held.changed |= held.entries.remove(key).is_some();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Entries are replaced whole; a panic elsewhere leaves none half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries may say more than a log should.
impl fmt::Debug for PrivateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateState").field(&self.lock().entries.keys().collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_goes_back_byte_for_byte() {
        for stored in ["", "null", "not json", r#"{"other":1}"#, r#"{ "provider": {"a": 1} }"#] {
            let private = PrivateState::of(Bytes::from(stored));
            private.remove("b");
            assert_eq!(private.to_bytes(), stored);
        }
    }

    #[test]
    fn the_note_of_an_import_is_read_once_and_is_no_entry() {
        let private = PrivateState::default();
        private.set("etag", &"x").unwrap();
        private.set_imported();
        let read = PrivateState::of(private.to_bytes());
        assert_eq!(read.get::<bool>("imported").unwrap(), None);
        assert!(read.take_imported() && !read.take_imported());
        assert_eq!(read.to_bytes(), r#"{"provider":{"etag":"x"}}"#);
        assert!(!PrivateState::of(read.to_bytes()).take_imported());
    }

    #[test]
    fn entries_come_back_and_go() {
        let private = PrivateState::default();
        private.set("etag", &"x").unwrap();
        private.set("count", &3).unwrap();
        let again = PrivateState::of(private.to_bytes());
        assert_eq!(again.get::<String>("etag").unwrap().as_deref(), Some("x"));
        assert_eq!(again.get::<i64>("none").unwrap(), None);
        assert!(again.get::<i64>("etag").unwrap_err().detail.contains("etag"));
        again.remove("etag");
        again.remove("count");
        assert_eq!(again.to_bytes(), Bytes::new());
    }
}
