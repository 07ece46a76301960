//! How a receiver knows that a message is ours, whole, and of now.

use std::fmt;

use aws_lc_rs::hmac;
use spectra_types::Secret;

/// The value of the signature's header: `t=1700000000,v1=5257a8…`.
///
/// `v1` is the HMAC-SHA256, in hexadecimal digits, of the timestamp, a full stop and the body, under the shared secret.
/// A receiver computes it anew over the body as it came, compares in constant time, and refuses timestamps that are
/// too old, so that a message that was overheard cannot be sent again later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    timestamp: u64,
    code: String,
}

/// Signs `body` as of `timestamp`, in seconds since the Unix epoch.
#[must_use]
pub fn sign(secret: &Secret<String>, timestamp: u64, body: &[u8]) -> Signature {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(timestamp.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    Signature { timestamp, code: hexadecimal(context.sign().as_ref()) }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t={},v1={}", self.timestamp, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_openssl_computes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec-of-a-test
        let signature = sign(&Secret::from("whsec-of-a-test"), 1_700_000_000, br#"{"a":1}"#);
        assert_eq!(
            signature.to_string(),
            "t=1700000000,v1=19e16b85beb9bbe128b825e14e63cd9d86754720559156f4a8f5fabdc4208cdf"
        );
    }
}
