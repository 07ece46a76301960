//! What both kinds of signatures are made from.

use std::collections::BTreeMap;

use spectra_keyless::Keyless;
use spectra_sign::Statement;
use spectra_test_sigstore::Authority;
use spectra_types::Digest;

pub(crate) const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
pub(crate) const WHO: &str = "https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main";
pub(crate) const ISSUER: &str = "https://token.actions.githubusercontent.com";

pub(crate) fn digest_of(manifest: &[u8]) -> Digest {
    let hash = <sha2::Sha256 as sha2::Digest>::digest(manifest);
    Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap()
}

pub(crate) fn statement() -> Vec<u8> {
    serde_json::to_vec(&Statement::signature(&digest_of(MANIFEST), &BTreeMap::new())).unwrap()
}

/// An authority, and what it takes to check what it made.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) keyless: Keyless,
}

impl World {
    pub(crate) fn new() -> Self {
        let authority = Authority::new();
        let keyless =
            Keyless::parse(&authority.trusted_root().to_string(), "of the test".to_owned()).unwrap();
        Self { authority, keyless }
    }
}
