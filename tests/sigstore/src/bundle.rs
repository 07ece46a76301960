//! Bundles, without the services.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Authority, Entry, Issue, Key, Oddity, base64, der::pem, hex, sha256};

pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A statement, as JSON.
    Statement(&'a [u8]),
    /// These bytes themselves.
    Message(&'a [u8]),
}

/// A signature with a certificate.
pub struct Signed<'a> {
    /// Who.
    pub identity: &'a str,
    /// Who vouches for that.
    pub issuer: &'a str,
    /// For whose code.
    pub source_repository: Option<&'a str>,
    /// What is wrong with the certificate.
    pub oddity: Oddity,
    /// From when the certificate is.
    pub certified: Timestamp,
    /// When it was entered into the log.
    pub logged: Timestamp,
}

impl<'a> Signed<'a> {
    /// A minute ago, and nothing is wrong.
    #[must_use]
    pub fn by(identity: &'a str, issuer: &'a str) -> Self {
        let certified = Timestamp::now() - Duration::from_mins(1);
        let logged = certified + Duration::from_secs(5);
        Self { identity, issuer, source_repository: None, oddity: Oddity::None, certified, logged }
    }
}

impl Authority {
    /// The certificate for a key that something is signed with.
    pub(crate) fn certify(&self, signed: &Signed<'_>, key: &Key) -> Vec<u8> {
        self.issue(&Issue {
            identity: signed.identity,
            issuer: signed.issuer,
            source_repository: signed.source_repository,
            key: &key.spki(),
            from: signed.certified,
            oddity: signed.oddity,
        })
    }

    /// A bundle of version 0.3, with what is entered into the log.
    #[must_use]
    pub fn bundle(&self, signed: &Signed<'_>, content: Content<'_>) -> Value {
        let key = Key::generate();
        let certificate = self.certify(signed, &key);
        let (kind, signature, part, name) = match content {
            Content::Statement(payload) => {
                let signature = key.sign(&encoding(IN_TOTO, payload));
                let part = envelope(payload, &signature);
                ("dsse", signature, part, "dsseEnvelope")
            }
            Content::Message(message) => {
                let signature = key.sign(message);
                let part = json!({
                    "messageDigest": { "algorithm": "SHA2_256", "digest": base64(&sha256(message)) },
                    "signature": base64(&signature),
                });
                ("hashedrekord", signature, part, "messageSignature")
            }
        };
        let entry = self.enter(content, &signature, &certificate, signed.logged);
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": base64(&certificate) },
                "tlogEntries": [entry.in_bundle(kind)],
                "timestampVerificationData": {},
            },
            name: part,
        })
    }

    /// Enters a signature into the log.
    pub fn enter(&self, content: Content<'_>, signature: &[u8], certificate: &[u8], at: Timestamp) -> Entry {
        let verifier = base64(pem("CERTIFICATE", certificate).as_bytes());
        let body = match content {
            Content::Statement(payload) => {
                dsse_body(&envelope(payload, signature).to_string(), payload, signature, &verifier)
            }
            Content::Message(message) => record_body(&hex(&sha256(message)), &base64(signature), &verifier),
        };
        self.log.enter(body.as_bytes(), at)
    }
}

/// The body of an entry of the kind `hashedrekord`.
pub(crate) fn record_body(hash: &str, signature: &str, verifier: &str) -> String {
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"sha256","value":"{hash}"}}}},"signature":{{"content":"{signature}","publicKey":{{"content":"{verifier}"}}}}}}}}"#
    )
}

/// The body of an entry of the kind `dsse`, as Rekor makes it canonical.
pub(crate) fn dsse_body(envelope: &str, payload: &[u8], signature: &[u8], verifier: &str) -> String {
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"dsse","spec":{{"envelopeHash":{{"algorithm":"sha256","value":"{}"}},"payloadHash":{{"algorithm":"sha256","value":"{}"}},"signatures":[{{"signature":"{}","verifier":"{verifier}"}}]}}}}"#,
        hex(&sha256(envelope.as_bytes())),
        hex(&sha256(payload)),
        base64(signature)
    )
}

/// A statement and its signature.
pub(crate) fn envelope(payload: &[u8], signature: &[u8]) -> Value {
    json!({
        "payload": base64(payload),
        "payloadType": IN_TOTO,
        "signatures": [{ "sig": base64(signature) }],
    })
}

/// What an envelope's signature covers.
pub(crate) fn encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let start = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [start.as_bytes(), payload].concat()
}
