//! DSSE: an envelope around a payload, and the bytes that its signature covers.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE},
};
use serde::{Deserialize, Serialize};

use crate::{KeyError, PublicKey, SigningKey};

/// The envelope. A `keyid` is neither written nor looked at: nothing protects it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    sig: String,
}

/// An envelope as bytes.
pub(crate) struct Opened {
    pub(crate) payload: Vec<u8>,
    pub(crate) payload_type: String,
    signature: Vec<u8>,
}

impl Envelope {
    /// Signs a payload.
    pub(crate) fn seal(key: &SigningKey, payload_type: &str, payload: &[u8]) -> Result<Self, KeyError> {
        let signature = key.sign(&encoding(payload_type, payload))?;
        Ok(Self {
            payload: BASE64.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![Signature { sig: BASE64.encode(signature) }],
        })
    }

    /// Decodes it. The `Err` says why it is no envelope with one signature.
    pub(crate) fn open(&self) -> Result<Opened, String> {
        let [signature] = self.signatures.as_slice() else {
            return Err(format!("the envelope has {} signatures, expected 1", self.signatures.len()));
        };
        Ok(Opened {
            payload: decode(&self.payload).ok_or("the payload is no base64")?,
            payload_type: self.payload_type.clone(),
            signature: decode(&signature.sig).ok_or("the signature is no base64")?,
        })
    }
}

impl Opened {
    /// Whether the signature is that of the key over the payload and its type.
    pub(crate) fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&encoding(&self.payload_type, &self.payload), &self.signature)
    }
}

/// Base64 of either alphabet; the specification allows both.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// What is signed: type and payload with their lengths, so that neither can be taken for the other.
fn encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let bytes = encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
