//! What both kinds of signatures are made from.

use std::collections::BTreeMap;

use spectra_keyless::Keyless;
use spectra_sign::Statement;
use spectra_test_sigstore::{Authority, Oddity};
use spectra_types::Digest;

pub(crate) const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
pub(crate) const WHO: &str = "https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main";
pub(crate) const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// What makes a certificate worthless, and what is said of it. It takes one that names a source repository.
pub(crate) const ODDITIES: [(Oddity, &str); 7] = [
    (Oddity::NoSct, "missing SCT extension"),
    (Oddity::ForeignSct, "SCT signature verification failed"),
    (Oddity::SctOfAnother, "SCT signature verification failed"),
    (Oddity::ForServers, "RequiredEkuNotFound"),
    (Oddity::TwoIdentities, "2 names"),
    (Oddity::NoIssuer, "does not say who vouched"),
    (Oddity::TwoRepositories, "has an extension twice"),
];

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
