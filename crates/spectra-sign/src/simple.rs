//! Simple signing: the JSON document that names a digest, as cosign signed images before version 3.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The only type there is.
const TYPE: &str = "cosign container image signature";

/// What the document says.
pub(crate) struct Simple {
    /// The digest that is signed, as text.
    pub(crate) digest: String,
    /// What was signed with it.
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Document {
    critical: Critical,
    #[serde(default)]
    optional: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Reads one; the `Err` says why it is none.
pub(crate) fn parse(payload: &[u8]) -> Result<Simple, String> {
    let document: Document = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if document.critical.kind != TYPE {
        return Err(format!("its type is `{}`", document.critical.kind));
    }
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let annotations = document.optional.unwrap_or_default();
    Ok(Simple {
        digest: document.critical.image.digest,
        annotations: annotations.into_iter().map(|(name, value)| (name, text(value))).collect(),
    })
}
