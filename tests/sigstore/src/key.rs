//! Keys on P-256.

use aws_lc_rs::{
    digest::{Digest, SHA256},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED,
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};

/// The DER of a public key up to the point itself (RFC 5480).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A pair of keys.
pub struct Key {
    pair: EcdsaKeyPair,
    fixed: bool,
}

impl Key {
    /// A new one, whose signatures are in DER.
    #[must_use]
    pub fn generate() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(), fixed: false }
    }

    /// A new one, whose signatures are two numbers, as tokens have them.
    pub(crate) fn of_tokens() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), fixed: true }
    }

    /// Signs the SHA-256 of a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// The subject public key info.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        [SPKI.as_slice(), self.pair.public_key().as_ref()].concat()
    }

    /// Whether a signature is this key's.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm = if self.fixed { &ECDSA_P256_SHA256_FIXED } else { &ECDSA_P256_SHA256_ASN1 };
        UnparsedPublicKey::new(algorithm, self.pair.public_key()).verify(message, signature).is_ok()
    }
}

/// Whether a signature is that of the key in a subject public key info.
pub(crate) fn signed_by(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    spki.strip_prefix(SPKI.as_slice()).is_some_and(|point| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
    })
}

/// The same, of a message of which only the hash is known.
pub(crate) fn digest_signed_by(spki: &[u8], hash: &[u8], signature: &[u8]) -> bool {
    let Ok(digest) = Digest::import_less_safe(hash, &SHA256) else { return false };
    spki.strip_prefix(SPKI.as_slice()).is_some_and(|point| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify_digest(&digest, signature).is_ok()
    })
}

/// The key in a certificate. The only thing of that shape in it is the key.
pub(crate) fn key_of(certificate: &[u8]) -> Option<&[u8]> {
    let at = certificate.windows(SPKI.len()).position(|window| window == SPKI)?;
    certificate.get(at..at + SPKI.len() + 65)
}
