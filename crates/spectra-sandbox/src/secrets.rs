//! The check that no secret was ever written down where it does not belong. The sandbox remembers, in memory, what it
//! was given in confidence, and looks for it in everything else that it keeps.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::Value;

use crate::config::{Error, SandboxInfo};
use crate::contract::Hidden;
use crate::railway::auth::hash;
use crate::store::{ONLY, Store, World};

/// Shorter values, in bytes, are too likely to stand somewhere by chance.
const SHORTEST: usize = 8;

/// Most values that are remembered.
const MOST: usize = 10_000;

/// Bytes of a file that are looked at in one go.
const CHUNK: usize = 1 << 20;

/// Keys whose text is a secret, and those whose every text is one; in lower case.
const KEYS: [&str; 4] = ["value", "password", "token", "secret"];
const MAPS: [&str; 2] = ["variables", "sharedvariables"];

/// Everything that was given as a secret since the start, and what the state directory held then.
#[derive(Default)]
pub(crate) struct Secrets {
    /// By hash.
    given: Mutex<BTreeMap<String, Hidden>>,
}

/// Where a secret stands that should not. The value itself is not told.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Sighting {
    /// `journal`, `lines`, `requests`, `objects/<kind>`, `documents`, or `files`.
    pub(crate) place: String,
    /// Key of the row, or path of the file below the state directory.
    pub(crate) id: String,
    /// `plain`, `json`, `base64` or `percent`.
    pub(crate) form: &'static str,
}

impl Secrets {
    /// Remembers one value.
    pub(crate) fn note(&self, value: &str) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if value.len() >= SHORTEST && given.len() < MOST {
            given.entry(hash(value)).or_insert_with(|| Hidden::from(value.to_owned()));
        }
    }

    /// Remembers what stands in confidential places of a request or a patch.
    pub(crate) fn note_json(&self, value: &Value) {
        self.walk(value, false);
    }

    fn walk(&self, value: &Value, below: bool) {
        match value {
            Value::String(text) if below => self.note(text),
            Value::Object(map) => {
                for (key, inner) in map {
                    let lower = key.to_ascii_lowercase();
                    let text = KEYS.contains(&lower.as_str()) && inner.is_string();
                    // Of a variable with more than a value, the value alone is secret.
                    let of_map = below && !["description", "generator"].contains(&lower.as_str());
                    self.walk(inner, text || of_map || MAPS.contains(&lower.as_str()));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, below)),
            _ => {}
        }
    }

    /// Remembers the secrets that a change is about to commit.
    pub(crate) fn note_changes(&self, world: &World) {
        for id in world.variables.dirty() {
            let set = world.variables.get(id);
            set.iter().flat_map(|set| set.variables.values()).for_each(|row| self.note(&row.value));
        }
        for row in world.credentials.dirty().iter().filter_map(|id| world.credentials.get(id)) {
            self.note(&row.password);
        }
        for row in world.patches.dirty().iter().filter_map(|id| world.patches.get(id)) {
            self.note_json(&row.patch);
        }
    }

    /// Remembers all that the state directory holds.
    pub(crate) fn note_world(&self, world: &World) {
        for set in world.variables.iter() {
            set.variables.values().for_each(|row| self.note(&row.value));
        }
        for row in world.snapshots.iter() {
            row.own.values().chain(row.shared.values()).for_each(|row| self.note(&row.value));
            row.credentials.iter().for_each(|row| self.note(&row.password));
        }
        world.credentials.iter().for_each(|row| self.note(&row.password));
        world.patches.iter().for_each(|row| self.note_json(&row.patch));
        if let Some(keys) = world.keys.get(ONLY) {
            self.note(&keys.account);
            self.note(&keys.workspace);
        }
    }

    /// How many values are remembered, and every place where one of them or of `more` stands.
    pub(crate) fn check(&self, store: &Store, more: &[String]) -> Result<(usize, Vec<Sighting>), Error> {
        for value in more {
            self.note(value);
        }
        let (count, needles) = {
            let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            (given.len(), Needles::new(given.values().map(Hidden::expose)))
        };
        let mut places = Vec::new();
        store.each_text(|place, id, text| {
            // The registry's login is shown by the settings on purpose.
            let shown = ((place, id) == ("documents", "settings")).then(|| without_login(text)).flatten();
            for form in needles.found(shown.as_deref().unwrap_or(text).as_bytes(), 0) {
                places.push(Sighting { place: place.to_owned(), id: id.to_owned(), form });
            }
        })?;
        files(store.directory(), store.directory(), &needles, &mut places)?;
        places.sort();
        places.dedup();
        Ok((count, places))
    }
}

/// The settings without the login of the registry.
fn without_login(text: &str) -> Option<String> {
    let mut settings: Value = serde_json::from_str(text).ok()?;
    settings.get_mut("registry")?.as_object_mut()?.remove("login")?;
    Some(settings.to_string())
}

/// Looks at every file below `directory` but the database, whose rows were looked at one by one, and the
/// description, which holds the sandbox's tokens on purpose.
fn files(root: &Path, directory: &Path, needles: &Needles, places: &mut Vec<Sighting>) -> Result<(), Error> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { action: "read", path, source }
    };
    for entry in std::fs::read_dir(directory).map_err(fail(directory))? {
        let path = entry.map_err(fail(directory))?.path();
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if path.is_dir() {
            files(root, &path, needles, places)?;
            continue;
        }
        if name == SandboxInfo::FILE || name.starts_with(crate::store::FILE) {
            continue;
        }
        let mut file = match std::fs::File::open(&path) {
            // An upload that has ended meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(fail(&path))?,
        };
        let mut kept = Vec::new();
        loop {
            let seen = kept.len();
            let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut kept).map_err(fail(&path))?;
            if read == 0 {
                break;
            }
            for form in needles.found(&kept, seen) {
                places.push(Sighting { place: "files".to_owned(), id: name.clone(), form });
            }
            // What is cut in two by the end of this piece is whole in the next one.
            kept.drain(..kept.len().saturating_sub(needles.longest));
        }
    }
    Ok(())
}

/// All forms of all values, by their first byte.
struct Needles {
    by_first: BTreeMap<u8, Vec<(Vec<u8>, &'static str)>>,
    longest: usize,
}

impl Needles {
    fn new<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut needles = Self { by_first: BTreeMap::new(), longest: 0 };
        for value in values {
            needles.add(value.as_bytes(), "plain");
            let json = Value::from(value).to_string();
            needles.add(&json.as_bytes()[1..json.len() - 1], "json");
            // In the midst of other text (`user:password`) a value has three encodings; what its neighbours
            // have a part in is cut off.
            for before in 0..3_usize {
                let text = [vec![0; before], value.as_bytes().to_vec()].concat();
                let (from, bits) = ((before * 8).div_ceil(6), text.len() * 8);
                for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                    needles.add(&engine.encode(&text).as_bytes()[from..bits / 6], "base64");
                }
            }
            let plus: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            needles.add(plus.replace('+', "%20").as_bytes(), "percent");
            needles.add(plus.as_bytes(), "percent");
        }
        needles
    }

    fn add(&mut self, bytes: &[u8], form: &'static str) {
        let Some(first) = bytes.first() else { return };
        self.longest = self.longest.max(bytes.len());
        let forms = self.by_first.entry(*first).or_default();
        // Many values look alike in several forms; the first name is kept.
        if !forms.iter().any(|(other, _)| other == bytes) {
            forms.push((bytes.to_vec(), form));
        }
    }

    /// The form of each occurrence in `bytes` that does not end before `seen`.
    fn found(&self, bytes: &[u8], seen: usize) -> Vec<&'static str> {
        let mut found = Vec::new();
        for (at, first) in bytes.iter().enumerate() {
            for (needle, form) in self.by_first.get(first).into_iter().flatten() {
                if at + needle.len() > seen && bytes[at..].starts_with(needle) {
                    found.push(*form);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn forms(text: &str) -> Vec<&'static str> {
        Needles::new(["pass word/1?"].into_iter()).found(text.as_bytes(), 0)
    }

    #[test]
    fn a_value_is_found_in_every_form_and_amid_other_text() {
        assert_eq!(forms("x pass word/1? y"), ["plain"]);
        assert_eq!(forms("/p?q=pass+word%2F1%3F"), ["percent"]);
        assert_eq!(forms("/pass%20word%2F1%3F"), ["percent"]);
        for before in ["", "u", "us", "user:", "longer:"] {
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}pass word/1?\n"));
            assert_eq!(forms(&text), ["base64"], "{before}");
        }
        assert!(forms("pass word/1").is_empty());
    }

    #[test]
    fn a_value_that_two_pieces_of_a_file_share_is_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut content = vec![b'x'; CHUNK - 5];
        content.extend_from_slice(b"hunter2-hunter2");
        content.extend(vec![b'x'; CHUNK]);
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        std::fs::write(dir.path().join("deep/blob"), content).unwrap();
        let mut places = Vec::new();
        let needles = Needles::new(["hunter2-hunter2"].into_iter());
        files(dir.path(), dir.path(), &needles, &mut places).unwrap();
        let wanted = Sighting { place: "files".to_owned(), id: "deep/blob".to_owned(), form: "plain" };
        assert_eq!(places, [wanted]);
    }

    #[test]
    fn secrets_of_a_request_are_told_from_its_names() {
        let secrets = Secrets::default();
        secrets.note_json(&json!({ "input": { "name": "LONG_NAME_1", "value": "hunter2-a", "variables": { "LONG_NAME_2": "hunter2-b",
            "LONG_NAME_3": { "value": "hunter2-c", "description": "no secret here" } }, "registryCredentials": { "username": "somebody", "password": "hunter2-d" } } }));
        let given = secrets.given.lock().unwrap();
        let mut values: Vec<_> = given.values().map(|value| value.expose().to_owned()).collect();
        values.sort();
        assert_eq!(values, ["hunter2-a", "hunter2-b", "hunter2-c", "hunter2-d"]);
    }
}
