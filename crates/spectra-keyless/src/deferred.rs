//! A root of trust that is read when the first certificate is there.

use std::{fmt, sync::OnceLock};

use spectra_sign::{CertificateVerifier, Proof, Subject};

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
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("read", &self.found.get().is_some()).finish_non_exhaustive()
    }
}

impl CertificateVerifier for Deferred {
    fn verify(&self, bundle: &[u8], subject: Subject<'_>) -> Result<Proof, String> {
        match self.root() {
            Ok(keyless) => keyless.verify(bundle, subject),
            // The code of [`Error::Root`](crate::Error::Root).
            Err(reason) => Err(format!("{reason} [SPX-337]")),
        }
    }
}
