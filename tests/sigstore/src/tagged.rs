//! What cosign attached before version 3: a layer under a tag, with the certificate and the log's promise in annotations.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Authority, Content, Key, Signed, base64,
    bundle::{IN_TOTO, encoding, envelope},
    der::pem,
    hex, sha256,
};

/// As what an attestation is entered into the log. Signatures are `hashedrekord`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// `dsse` 0.0.1.
    Dsse,
    /// `intoto` 0.0.2, which cosign 1 and the first of cosign 2 used.
    Intoto,
}

/// The layer, and what is beside it.
pub struct Tagged {
    /// A simple-signing document, or an envelope.
    pub content: Vec<u8>,
    /// The signature of a document, base64; empty for an envelope, which has its own.
    pub signature: String,
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub chain: String,
    /// What was entered.
    pub body: Value,
    /// The entry with its promise.
    pub bundle: Value,
    /// The key of the certificate.
    pub key: Key,
}

impl Authority {
    /// A signature of a document, or an attestation, in that form.
    #[must_use]
    pub fn tagged(&self, signed: &Signed<'_>, content: Content<'_>, entered: Entered) -> Tagged {
        let key = Key::generate();
        let certificate = self.certify(signed, &key);
        let (bytes, signature, raw) = match content {
            Content::Statement(payload) => {
                let signature = key.sign(&encoding(IN_TOTO, payload));
                let mut envelope = envelope(payload, &signature);
                // cosign writes it, and empty.
                envelope["signatures"][0]["keyid"] = json!("");
                (envelope.to_string().into_bytes(), String::new(), signature)
            }
            Content::Message(message) => {
                let signature = key.sign(message);
                (message.to_vec(), base64(&signature), signature)
            }
        };
        let body = if let (Content::Statement(payload), Entered::Intoto) = (content, entered) {
            intoto_body(&bytes, payload, &raw, pem("CERTIFICATE", &certificate).as_bytes())
        } else {
            let entry = self.enter(content, &raw, &certificate, signed.logged);
            serde_json::from_slice(&entry.body).unwrap()
        };
        Tagged {
            content: bytes,
            signature,
            certificate: pem("CERTIFICATE", &certificate),
            chain: self.chain().map(|der| pem("CERTIFICATE", der)).concat(),
            bundle: self.promise(&body, signed.logged),
            body,
            key,
        }
    }

    /// Enters anything, and promises that.
    #[must_use]
    pub fn promise(&self, body: &Value, at: Timestamp) -> Value {
        self.log.enter(body.to_string().as_bytes(), at).in_annotation()
    }
}

/// The body of an entry of the kind `intoto`, whose signature is in base64 twice.
fn intoto_body(envelope: &[u8], payload: &[u8], signature: &[u8], certificate: &[u8]) -> Value {
    json!({
        "apiVersion": "0.0.2",
        "kind": "intoto",
        "spec": { "content": {
            "envelope": {
                "payloadType": IN_TOTO,
                "signatures": [{
                    "publicKey": base64(certificate), "sig": base64(base64(signature).as_bytes()),
                }],
            },
            "hash": { "algorithm": "sha256", "value": hex(&sha256(envelope)) },
            "payloadHash": { "algorithm": "sha256", "value": hex(&sha256(payload)) },
        }},
    })
}
