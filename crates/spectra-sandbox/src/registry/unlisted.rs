//! Manifests with a subject that were taken without being listed: the client has to list them itself, by the index under the tag that
//! is made of the subject's digest.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;
use spectra_types::Digest;

use super::{Registry, Violation, ViolationKind, name::RepositoryName};

/// By repository and tag: the manifests that the tag's index has to list, and whether it does.
#[derive(Debug, Default)]
pub(crate) struct Unlisted(Mutex<BTreeMap<(String, String), BTreeMap<Digest, bool>>>);

/// The tag of the index that lists what refers to a subject.
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    format!("{}-{}", cut(&subject.algorithm().to_string(), 32), cut(subject.hex(), 64))
}

/// What an index lists; nothing if it is none.
fn listed(index: &[u8]) -> Vec<Digest> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        digest: Digest,
    }
    let index: Option<Index> = serde_json::from_slice(index).ok();
    index.map(|index| index.manifests.into_iter().map(|entry| entry.digest).collect()).unwrap_or_default()
}

impl Unlisted {
    /// A manifest was taken; `index` is what its tag names so far.
    pub(crate) fn take(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
        index: Option<&[u8]>,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_listed = index.is_some_and(|index| listed(index).contains(digest));
        let key = (name.to_string(), fallback_tag(subject));
        all.entry(key).or_default().insert(digest.clone(), is_listed);
    }

    /// A tag was written.
    pub(crate) fn write(&self, name: &RepositoryName, tag: &str, index: &[u8]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entries) = all.get_mut(&(name.to_string(), tag.to_owned())) else { return };
        let listed = listed(index);
        for (digest, is_listed) in entries {
            *is_listed = listed.contains(digest);
        }
    }

    /// A manifest was deleted.
    pub(crate) fn remove(&self, name: &RepositoryName, digest: &Digest) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((repository, _), entries) in all.iter_mut() {
            if repository == name.as_str() {
                entries.remove(digest);
            }
        }
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Registry {
    /// What no list has as it is now.
    pub(super) fn unlisted(&self) -> Vec<Violation> {
        let all = self.0.unlisted.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = all.iter().flat_map(|((repository, tag), entries)| {
            entries.iter().filter(|(_, listed)| !**listed).map(move |(digest, _)| Violation {
                kind: ViolationKind::ReferrerNotListed,
                repository: repository.clone(),
                detail: format!("{digest} is not in the index under `{tag}`"),
            })
        });
        each.collect()
    }
}
