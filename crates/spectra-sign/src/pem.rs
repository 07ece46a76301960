//! PEM: base64 between two lines that say what it is.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// The label and the base64 text of the first block, without white space. `None` when the text is no PEM.
pub(crate) fn block(text: &str) -> Option<(&str, String)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    Some((label, body.split_ascii_whitespace().collect()))
}

/// A block of lines of 64 characters.
pub(crate) fn encode(label: &str, bytes: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut body = BASE64.encode(bytes);
    while !body.is_empty() {
        // Base64 is ASCII: every byte is a character.
        let rest = body.split_off(body.len().min(64));
        text.push_str(&body);
        text.push('\n');
        body = rest;
    }
    text + &format!("-----END {label}-----\n")
}
