//! Content digests.

use std::{fmt, str::FromStr};

use crate::text::serde_as_text;

/// A hash function that OCI registers for content digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 64 hexadecimal characters; what practically every image uses.
    Sha256,
    /// SHA-512, 128 hexadecimal characters.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal characters follow the colon.
    #[must_use]
    pub const fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The digest of some bytes: `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// Builds a digest from the raw bytes that the hash function returned.
    ///
    /// Fails if the number of bytes is not the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, DigestError> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        if bytes.len() * 2 != algorithm.hex_length() {
            return Err(DigestError::Length {
                algorithm,
                expected: algorithm.hex_length(),
                found: bytes.len() * 2,
            });
        }
        let mut hex = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            hex.push(char::from(HEX[usize::from(byte >> 4)]));
            hex.push(char::from(HEX[usize::from(byte & 0x0f)]));
        }
        Ok(Self { algorithm, hex: hex.into() })
    }

    /// The hash function.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal characters alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The form for people: algorithm and the first twelve hexadecimal characters, `sha256:0123456789ab`.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}:{}", self.algorithm, &self.hex[..12])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((name, hex)) = text.split_once(':') else {
            return Err(DigestError::NoAlgorithm { text: text.to_owned() });
        };
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm { name: name.to_owned() }),
        };
        if let Some(character) = hex.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(DigestError::Character { text: text.to_owned(), character });
        }
        if hex.len() != algorithm.hex_length() {
            return Err(DigestError::Length {
                algorithm,
                expected: algorithm.hex_length(),
                found: hex.len(),
            });
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

serde_as_text!(Digest);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// There is no colon.
    #[error(
        "`{text}` has no algorithm; a digest is written `sha256:` and 64 lower-case hexadecimal characters"
    )]
    NoAlgorithm {
        /// The text.
        text: String,
    },
    /// The part before the colon is no known algorithm.
    #[error("`{name}` is not a digest algorithm that Spectra accepts; expected `sha256` or `sha512`")]
    Algorithm {
        /// The part before the colon.
        name: String,
    },
    /// A character is not lower-case hexadecimal.
    #[error("`{text}` contains `{character}`; a digest has only the characters 0-9 and a-f (lower case)")]
    Character {
        /// The text.
        text: String,
        /// The first offending character.
        character: char,
    },
    /// Too short (often a shortened digest) or too long.
    #[error(
        "a {algorithm} digest has {expected} hexadecimal characters, this one has {found}; give the full digest"
    )]
    Length {
        /// The algorithm.
        algorithm: Algorithm,
        /// Characters needed.
        expected: usize,
        /// Characters found.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parse_after_display_is_identity(bytes in prop::array::uniform32(any::<u8>())) {
            let digest = Digest::from_bytes(Algorithm::Sha256, &bytes).unwrap();
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,80}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }

    #[test]
    fn names_the_mistake() {
        let message = |text: &str| text.parse::<Digest>().unwrap_err().to_string();
        insta::assert_snapshot!(message("v1.2"), @"`v1.2` has no algorithm; a digest is written `sha256:` and 64 lower-case hexadecimal characters");
        insta::assert_snapshot!(message("md5:00"), @"`md5` is not a digest algorithm that Spectra accepts; expected `sha256` or `sha512`");
        insta::assert_snapshot!(message("sha256:ABC"), @"`sha256:ABC` contains `A`; a digest has only the characters 0-9 and a-f (lower case)");
        insta::assert_snapshot!(message("sha256:0123456789ab"), @"a sha256 digest has 64 hexadecimal characters, this one has 12; give the full digest");
    }

    #[test]
    fn short_form_and_serde() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        assert_eq!(digest.short(), "sha256:abababababab");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"sha256:00\"").is_err());
    }
}
