//! SHA-256 as a digest.

use sha2::Digest as _;
use spectra_types::{Algorithm, Digest};

#[expect(clippy::expect_used, reason = "the hash function returns as many bytes as its algorithm says")]
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &sha2::Sha256::digest(bytes))
        .expect("a hash has its algorithm's length")
}

/// The digest of bytes by the algorithm of `like`.
#[expect(clippy::expect_used, reason = "the hash function returns as many bytes as its algorithm says")]
pub(crate) fn digest_like(like: &Digest, bytes: &[u8]) -> Digest {
    match like.algorithm() {
        Algorithm::Sha256 => sha256(bytes),
        Algorithm::Sha512 => Digest::from_bytes(Algorithm::Sha512, &sha2::Sha512::digest(bytes))
            .expect("a hash has its algorithm's length"),
    }
}
