//! What keyless signatures need, for tests: an authority that issues certificates as Fulcio does, a transparency log as Rekor is
//! one, and the file that says that both are trusted. Everything is made anew for a test, in memory; [`Fake`] puts the two on
//! loopback and is as strict with requests as the real ones are.
//!
//! It uses nothing of the code that it tests, not even the library: certificates, proofs and checkpoints are written by hand
//! after RFC 5280, RFC 6962 and the format of signed notes, so that a mistake is not made twice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's fixture stops at its first surprise")]

mod authority;
mod bundle;
mod der;
mod fake;
mod key;
mod log;
mod tagged;

pub use authority::{Authority, Issue, Oddity};
pub use bundle::{Content, Signed};
pub use der::pem;
pub use fake::{Claims, Fake, Switch};
pub use key::Key;
pub use log::{Entry, Log};
pub use tagged::{Entered, Tagged};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::Digest as _;

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |number: u8| char::from_digit(u32::from(number), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}
