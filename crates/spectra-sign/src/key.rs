//! Keys: ECDSA on P-256 with SHA-256, and Ed25519.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair as _, ParsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::Digest as _;
use spectra_types::{Digest, Secret};

use crate::{encrypted, hash::sha256, pem};

/// The DER of a P-256 public key up to the point itself (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The DER of an Ed25519 public key up to the key itself (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What a key signs with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256; what cosign makes.
    #[default]
    EcdsaP256,
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::Ed25519 => "ed25519",
        })
    }
}

/// A text is no key that can be used. It is not repeated: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No public key.
    #[error(
        "it is no public key of a kind that is read here: PEM `PUBLIC KEY` of ECDSA P-256 or Ed25519; `openssl pkey -pubout` \
         writes one, and so does `cosign public-key`"
    )]
    Public,
    /// A private key where a public one belongs.
    #[error("it is a private key; the public one is needed here, and the private one belongs nowhere else")]
    PrivateForPublic,
    /// No private key.
    #[error(
        "it is no private key of a kind that is read here: PEM `PRIVATE KEY` (PKCS#8) or `EC PRIVATE KEY` of ECDSA P-256 or \
         Ed25519, or what `cosign generate-key-pair` wrote"
    )]
    Private,
    /// It is encrypted, and there is no password.
    #[error("it is encrypted, and there is no password for it")]
    PasswordMissing,
    /// The password is wrong, or the file was changed.
    #[error("it cannot be decrypted: the password is wrong, or it was changed")]
    Password,
    /// It is encrypted in a form that is not read.
    #[error("it is encrypted in a form that is not read here: {0}")]
    Encryption(String),
    /// The system gives no randomness, or the library failed.
    #[error("the cryptographic library could not {0}")]
    Library(&'static str),
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// Subject public key info.
    der: Vec<u8>,
}

impl PublicKey {
    /// Reads PEM, or the base64 of the DER in it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let body = match pem::block(text) {
            Some(("PUBLIC KEY", body)) => body,
            Some((label, _)) if label.ends_with("PRIVATE KEY") => return Err(KeyError::PrivateForPublic),
            Some(_) => return Err(KeyError::Public),
            None => text.split_ascii_whitespace().collect(),
        };
        Self::from_der(&BASE64.decode(body).map_err(|_| KeyError::Public)?)
    }

    /// Reads the DER of a subject public key info. A point that is not on the curve is refused.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match der {
            _ if der.starts_with(&P256_SPKI) && der.len() == P256_SPKI.len() + 65 => Algorithm::EcdsaP256,
            _ if der.starts_with(&ED25519_SPKI) && der.len() == ED25519_SPKI.len() + 32 => Algorithm::Ed25519,
            _ => return Err(KeyError::Public),
        };
        let key = Self { algorithm, der: der.to_owned() };
        key.parsed().map(|_| key.clone()).ok_or(KeyError::Public)
    }

    /// What it verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Subject public key info in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.der)
    }

    /// SHA-256 of the DER: how people and records name the key.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        sha256(&self.der)
    }

    /// How a bundle names the key: the fingerprint's bytes in base64, as cosign has it.
    #[must_use]
    pub fn hint(&self) -> String {
        BASE64.encode(sha2::Sha256::digest(&self.der))
    }

    /// Whether the signature is that of the key over the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed().is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    fn parsed(&self) -> Option<ParsedPublicKey> {
        match self.algorithm {
            Algorithm::EcdsaP256 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.der[P256_SPKI.len()..]).ok()
            }
            Algorithm::Ed25519 => ParsedPublicKey::new(&ED25519, &self.der[ED25519_SPKI.len()..]).ok(),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.algorithm, self.fingerprint())
    }
}

/// A key that signs. `Debug` shows its public half.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Makes a new one.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Library("make a key");
        Self::of(match algorithm {
            Algorithm::EcdsaP256 => {
                Pair::EcdsaP256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?)
            }
            Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
        })
    }

    /// Whether reading the text takes a password.
    #[must_use]
    pub fn is_encrypted(text: &Secret<String>) -> bool {
        pem::block(text.expose()).is_some_and(|(label, _)| label.starts_with("ENCRYPTED "))
    }

    /// Reads a private key in PEM: PKCS#8, SEC 1, or encrypted as cosign does it.
    pub fn parse(text: &Secret<String>, password: Option<&Secret<String>>) -> Result<Self, KeyError> {
        let (label, body) = pem::block(text.expose()).ok_or(KeyError::Private)?;
        // A secret, so that the redactor knows it without its frame too, and it is wiped.
        let body = Secret::new(body);
        let bytes = BASE64.decode(body.expose()).map(Secret::new).map_err(|_| KeyError::Private)?;
        match label {
            "PRIVATE KEY" => Self::from_pkcs8(&bytes),
            "EC PRIVATE KEY" => {
                let pair =
                    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes.expose());
                Self::of(Pair::EcdsaP256(pair.map_err(|_| KeyError::Private)?))
            }
            encrypted::LABEL | encrypted::OLD_LABEL => {
                let password = password.ok_or(KeyError::PasswordMissing)?;
                Self::from_pkcs8(&encrypted::open(bytes.expose(), password)?)
            }
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encryption(
                "PKCS#8 with PBES2; decrypt it with `openssl pkey`, or make a key with `image keygen`"
                    .to_owned(),
            )),
            _ => Err(KeyError::Private),
        }
    }

    /// The key in PEM, encrypted as cosign does it where there is a password.
    pub fn to_pem(&self, password: Option<&Secret<String>>) -> Result<Secret<String>, KeyError> {
        let failed = |_| KeyError::Library("write a key");
        let document = match &self.pair {
            Pair::EcdsaP256(pair) => pair.to_pkcs8v1().map_err(failed)?,
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?,
        };
        let der = Secret::new(document.as_ref().to_vec());
        Ok(Secret::new(match password {
            None => pem::encode("PRIVATE KEY", der.expose()),
            Some(password) => pem::encode(encrypted::LABEL, &encrypted::seal(&der, password)?),
        }))
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::EcdsaP256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Library("sign")),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    fn from_pkcs8(der: &Secret<Vec<u8>>) -> Result<Self, KeyError> {
        let der = der.expose();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
            return Self::of(Pair::EcdsaP256(pair));
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::Private)?;
        Self::of(Pair::Ed25519(pair))
    }

    fn of(pair: Pair) -> Result<Self, KeyError> {
        let der = match &pair {
            Pair::EcdsaP256(pair) => [P256_SPKI.as_slice(), pair.public_key().as_ref()].concat(),
            Pair::Ed25519(pair) => [ED25519_SPKI.as_slice(), pair.public_key().as_ref()].concat(),
        };
        let public = PublicKey::from_der(&der).map_err(|_| KeyError::Private)?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.public.algorithm, self.public.fingerprint())
    }
}
