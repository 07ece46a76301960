//! Sigstore bundles: a signature, and what it takes to check it, in one JSON document.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error, KeyError, SigningKey, Statement,
    dsse::{self, Envelope},
    statement::PAYLOAD_TYPE,
};

/// The media type of what is written.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The media types of what is read.
pub const BUNDLE_MEDIA_TYPES: [&str; 4] = [
    BUNDLE_MEDIA_TYPE,
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];

/// A bundle that is written: keyed, with an envelope.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    media_type: &'static str,
    verification_material: WrittenMaterial,
    dsse_envelope: Envelope,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMaterial {
    public_key: Hint,
}

#[derive(Serialize, Deserialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

/// A bundle as it is found. What decides nothing is not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    media_type: String,
    verification_material: FoundMaterial,
    dsse_envelope: Option<Envelope>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundMaterial {
    public_key: Option<Hint>,
    certificate: Option<Value>,
    x509_certificate_chain: Option<Value>,
    #[serde(default)]
    tlog_entries: Option<Vec<LogEntry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    integrated_time: Option<Value>,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

/// What a keyed bundle holds.
pub(crate) struct Keyed {
    /// Which key, by its own word.
    pub(crate) hint: String,
    /// Seconds since 1970 at which a transparency log says that it saw it. Nobody checked that.
    pub(crate) logged_at: Option<i64>,
    pub(crate) content: Content,
}

/// What is signed.
pub(crate) enum Content {
    /// The payload of an envelope.
    Envelope(Envelope),
    /// The image's manifest itself.
    Message { signature: Vec<u8> },
}

/// Why a document is no keyed bundle.
pub(crate) enum NotKeyed {
    /// It is none at all.
    Malformed(String),
    /// It is signed with a certificate.
    Certificate,
}

/// Signs a statement. The result is a bundle as JSON.
pub fn sign_statement(key: &SigningKey, statement: &Statement) -> Result<Vec<u8>, Error> {
    let bundle = Written {
        media_type: BUNDLE_MEDIA_TYPE,
        verification_material: WrittenMaterial { public_key: Hint { hint: key.public().hint() } },
        dsse_envelope: seal(key, statement)?,
    };
    serde_json::to_vec(&bundle).map_err(Error::Encode)
}

/// Signs a statement for a bundle that says otherwise whose the key is. The result is an envelope as JSON.
pub fn seal_statement(key: &SigningKey, statement: &Statement) -> Result<String, Error> {
    serde_json::to_string(&seal(key, statement)?).map_err(Error::Encode)
}

fn seal(key: &SigningKey, statement: &Statement) -> Result<Envelope, Error> {
    let payload = serde_json::to_vec(statement).map_err(Error::Encode)?;
    let failed = |source: KeyError| Error::Key { from: key.public().fingerprint().to_string(), source };
    Envelope::seal(key, PAYLOAD_TYPE, &payload).map_err(failed)
}

/// Reads a bundle that is to be checked with a key.
pub(crate) fn parse(bytes: &[u8]) -> Result<Keyed, NotKeyed> {
    let malformed = |reason: &str| NotKeyed::Malformed(reason.to_owned());
    let found: Found =
        serde_json::from_slice(bytes).map_err(|error| NotKeyed::Malformed(error.to_string()))?;
    if !BUNDLE_MEDIA_TYPES.contains(&found.media_type.as_str()) {
        return Err(NotKeyed::Malformed(format!("its media type is `{}`", found.media_type)));
    }
    let material = found.verification_material;
    if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
        return Err(NotKeyed::Certificate);
    }
    let Some(Hint { hint }) = material.public_key else {
        return Err(malformed("it has neither a key's name nor a certificate"));
    };
    let content = match (found.dsse_envelope, found.message_signature) {
        (Some(envelope), None) => Content::Envelope(envelope),
        (None, Some(message)) => Content::Message {
            signature: dsse::decode(&message.signature).ok_or(malformed("the signature is no base64"))?,
        },
        _ => return Err(malformed("it has to have either an envelope or a message's signature")),
    };
    let times = material.tlog_entries.unwrap_or_default().into_iter();
    // Protocol buffers write 64-bit numbers as text.
    let seconds = |time: Value| match time {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    let logged_at = times.filter_map(|entry| entry.integrated_time.and_then(seconds)).min();
    Ok(Keyed { hint, logged_at, content })
}
