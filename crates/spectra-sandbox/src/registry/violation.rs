//! What clients did that a strict registry would punish, kept so that tests can read it.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// How many violations are kept; the oldest go first, so that a long-lived sandbox does not grow without end.
const KEPT: usize = 1_000;

/// How many characters of a detail are kept.
const MOST: usize = 1_000;

/// The rule that a client broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ViolationKind {
    /// A chunk whose `Content-Range` is malformed, starts at another offset than the upload has, or disagrees
    /// with the number of bytes that came.
    WrongContentRange,
    /// A blob was uploaded to a repository that already had it when the upload began; a `HEAD` would have told.
    BlobResent,
    /// A manifest came before something that it references.
    ManifestBeforeBlobs,
    /// The bytes do not have the digest that the client stated.
    DigestMismatch,
    /// Credentials were sent to the host that keeps the blobs, which is not the registry.
    CredentialsElsewhere,
    /// A signed address was used for something that it was not signed for.
    SignatureMisused,
    /// A manifest that states its type was sent without it in the head.
    ContentTypeMissing,
    /// A part was not sent to the address of the answer before.
    StaleLocation,
    /// More bytes were sent to an upload that has ended.
    UploadClosed,
    /// A part of an upload is smaller than the announced minimum, and is not the last.
    PartTooSmall,
    /// The request was repeated before the time of `Retry-After` was over.
    TooSoon,
    /// A manifest's descriptor states another size than the blob has.
    SizeMismatch,
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The rule.
    pub kind: ViolationKind,
    /// The repository that the request named, or else its path.
    pub repository: String,
    /// What was found, in words: digests, offsets.
    pub detail: String,
}

#[derive(Debug, Default)]
pub(crate) struct Violations(Mutex<Vec<Violation>>);

impl Violations {
    pub(crate) fn record(
        &self,
        kind: ViolationKind,
        repository: impl std::fmt::Display,
        detail: impl Into<String>,
    ) {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(MOST) {
            detail.truncate(end);
            detail.push('…');
        }
        let violation = Violation { kind, repository: repository.to_string(), detail };
        tracing::warn!(?violation, "registry client broke a rule");
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() == KEPT {
            list.remove(0);
        }
        list.push(violation);
    }

    pub(crate) fn all(&self) -> Vec<Violation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
