//! Telling someone how far a push or a download is.

use std::{path::Path, time::Duration};

use spectra_types::Digest;

/// How a blob got to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOutcome {
    /// It was there already.
    Present,
    /// The registry linked it from another repository.
    Mounted,
    /// It was sent.
    Uploaded,
    /// It was fetched from a registry.
    Downloaded,
}

/// Receives what happens during a push. Calls come from several tasks at once and must return quickly.
pub trait Progress: Send + Sync {
    /// This many blobs will be taken to the registry; raw layers count before compression.
    fn blobs(&self, count: usize) {
        let _ = count;
    }

    /// A raw layer of this many bytes is being compressed.
    fn compressing(&self, layer: usize, bytes: u64) {
        let _ = (layer, bytes);
    }

    /// A blob of this many bytes is being looked up or sent.
    fn started(&self, digest: &Digest, bytes: u64) {
        let _ = (digest, bytes);
    }

    /// More bytes of a blob were handed to the connection, or came from it.
    fn sent(&self, digest: &Digest, bytes: u64) {
        let _ = (digest, bytes);
    }

    /// Moving a blob begins anew at this offset, because an attempt failed.
    fn restarted(&self, digest: &Digest, offset: u64) {
        let _ = (digest, offset);
    }

    /// A blob has arrived.
    fn finished(&self, digest: &Digest, outcome: BlobOutcome) {
        let _ = (digest, outcome);
    }

    /// A call failed for `reason` and will be repeated after `wait`.
    fn retrying(&self, attempt: &str, reason: &str, wait: Duration) {
        let _ = (attempt, reason, wait);
    }

    /// Another process writes this layout, and is waited for.
    fn waiting(&self, layout: &Path) {
        let _ = layout;
    }

    /// A manifest or index is in the registry.
    fn manifest(&self, digest: &Digest) {
        let _ = digest;
    }
}

/// Receives everything and shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
