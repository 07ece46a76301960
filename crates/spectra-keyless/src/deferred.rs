//! A root of trust that is read when the first certificate is there.

use std::{fmt, sync::OnceLock};

use spectra_sign::{CertificateVerifier, Proof, Subject, Tagged, TaggedCertificate};

use crate::Keyless;

type Read = dyn Fn() -> Result<Keyless, String> + Send + Sync;

/// Checks like [`Keyless`], and reads the root once, at the first need. A root that cannot be read refuses what needs it, and
/// nothing else: not a rollout that is about keys, and not the way back to the version before.
pub struct Deferred {
    read: Box<Read>,
    found: OnceLock<Result<Keyless, String>>,
}

impl Deferred {
    /// With what reads the root. It says in words why it does not.
    pub fn new(read: impl Fn() -> Result<Keyless, String> + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read), found: OnceLock::new() }
    }

    /// The root, read now unless it was before.
    pub fn root(&self) -> Result<&Keyless, &str> {
        self.found.get_or_init(&self.read).as_ref().map_err(String::as_str)
    }

    /// The same, with the code of [`Error::Root`](crate::Error::Root) where it cannot be read.
    fn needed(&self) -> Result<&Keyless, String> {
        self.root().map_err(|reason| format!("{reason} [SPX-337]"))
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("read", &self.found.get().is_some()).finish_non_exhaustive()
    }
}

impl CertificateVerifier for Deferred {
    fn verify(&self, bundle: &[u8], subject: Subject<'_>) -> Result<Proof, String> {
        self.needed()?.verify(bundle, subject)
    }

    fn verify_tagged(
        &self,
        signed: Tagged<'_>,
        beside: &TaggedCertificate,
        subject: Subject<'_>,
    ) -> Result<Proof, String> {
        self.needed()?.verify_tagged(signed, beside, subject)
    }
}
