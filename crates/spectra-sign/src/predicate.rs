//! What an attestation says: its predicate type, by a short name or a URI.

use std::{fmt, str::FromStr};

use serde_json::Value;

/// The predicate type of a plain signature of an image, as cosign 3 writes it.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The short names, as cosign has them.
const NAMES: [(&str, &str); 9] = [
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("link", "https://in-toto.io/Link/v1"),
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
];

/// The type of a predicate: always a URI inside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PredicateType(String);

/// A text is no predicate type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no predicate type: it is a URI, or one of {}", names())]
pub struct PredicateTypeError {
    text: String,
}

fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

impl PredicateType {
    /// The URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.0
    }

    /// What is wrong with a predicate of this type, as far as its shape shows it. A scanner's output that was given the wrong
    /// name would otherwise be found out by whoever needs it.
    #[must_use]
    pub fn problem_of(&self, predicate: &Value) -> Option<String> {
        let Some(fields) = predicate.as_object() else { return Some("it is no JSON object".to_owned()) };
        if fields.contains_key("predicateType") && fields.contains_key("subject") {
            return Some("it is a whole statement; the predicate inside is what is needed".to_owned());
        }
        let needed: &[&str] = match self.uri() {
            "https://slsa.dev/provenance/v1" => &["buildDefinition", "runDetails"],
            "https://slsa.dev/provenance/v0.2" => &["builder", "buildType"],
            "https://cyclonedx.org/bom" => &["bomFormat", "specVersion"],
            "https://spdx.dev/Document" => &["spdxVersion"],
            "https://cosign.sigstore.dev/attestation/vuln/v1" => &["scanner", "metadata"],
            _ => &[],
        };
        let missing: Vec<_> = needed.iter().filter(|name| !fields.contains_key(**name)).collect();
        let first = missing.first()?;
        Some(format!("it has no `{first}`, which every `{self}` has"))
    }
}

impl FromStr for PredicateType {
    type Err = PredicateTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, uri)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Self((*uri).to_owned()));
        }
        let scheme = text.split_once(':').map(|(scheme, rest)| (scheme, !rest.is_empty()));
        let plain = !text.chars().any(|character| character.is_whitespace() || character.is_control());
        match scheme {
            Some((scheme, true))
                if plain && !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(PredicateTypeError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for PredicateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, uri)| *uri == self.0);
        f.write_str(name.map_or(&self.0, |(name, _)| name))
    }
}

impl serde::Serialize for PredicateType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for PredicateType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
