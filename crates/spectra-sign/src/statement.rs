//! in-toto statements: a predicate about digests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use spectra_types::Digest;

use crate::{PredicateType, SIGNATURE};

/// The payload type of an envelope with a statement.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const TYPE: &str = "https://in-toto.io/Statement/v1";
/// cosign still writes attestations so.
const OLD_TYPE: &str = "https://in-toto.io/Statement/v0.1";

/// A statement about one or more subjects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Resource>,
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Resource {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default)]
    digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    annotations: Map<String, Value>,
}

impl Statement {
    /// A plain signature of an image. The annotations are signed with it.
    #[must_use]
    pub fn signature(image: &Digest, annotations: &BTreeMap<String, String>) -> Self {
        let annotations = annotations.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        Self {
            kind: TYPE.to_owned(),
            subject: vec![Resource {
                name: String::new(),
                digest: digests(image),
                annotations: annotations.collect(),
            }],
            predicate_type: SIGNATURE.to_owned(),
            predicate: Value::Object(Map::new()),
        }
    }

    /// An attestation about an image; `name` is its repository.
    #[must_use]
    pub fn attestation(name: &str, image: &Digest, kind: &PredicateType, predicate: Value) -> Self {
        Self {
            kind: TYPE.to_owned(),
            subject: vec![Resource {
                name: name.to_owned(),
                digest: digests(image),
                annotations: Map::new(),
            }],
            predicate_type: kind.uri().to_owned(),
            predicate,
        }
    }

    /// Reads one; the `Err` says why it is none.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        let statement: Self = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        if statement.kind != TYPE && statement.kind != OLD_TYPE {
            return Err(format!("its `_type` is `{}`", statement.kind));
        }
        Ok(statement)
    }

    /// Whether it is about this digest.
    #[must_use]
    pub fn is_about(&self, image: &Digest) -> bool {
        self.subject_of(image).is_some()
    }

    /// What it says: a URI.
    #[must_use]
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// What it says in full.
    #[must_use]
    pub const fn predicate(&self) -> &Value {
        &self.predicate
    }

    /// The annotations of the subject with this digest.
    pub(crate) fn annotations(&self, image: &Digest) -> BTreeMap<String, String> {
        let annotations = self.subject_of(image).map(|subject| &subject.annotations);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        annotations.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
    }

    /// The digests that it is about, for a message.
    pub(crate) fn subjects(&self) -> Vec<String> {
        let digests = self.subject.iter().flat_map(|subject| &subject.digest);
        digests.map(|(algorithm, hex)| format!("{algorithm}:{hex}")).collect()
    }

    fn subject_of(&self, image: &Digest) -> Option<&Resource> {
        let algorithm = image.algorithm().as_str();
        self.subject
            .iter()
            .find(|subject| subject.digest.get(algorithm).is_some_and(|hex| hex == image.hex()))
    }
}

fn digests(image: &Digest) -> BTreeMap<String, String> {
    BTreeMap::from([(image.algorithm().as_str().to_owned(), image.hex().to_owned())])
}
