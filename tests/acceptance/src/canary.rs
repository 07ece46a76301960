//! Searches every byte below a directory for a secret, also in the spellings in which secrets leak.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Spellings of `secret`: as it is, base64 at each of the three alignments, percent-encoded, hexadecimal.
fn spellings(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut all =
        vec![("plain", secret.as_bytes().to_vec()), ("base64", STANDARD.encode(secret).into_bytes())];
    for shift in 0..3 {
        // Inside a longer text the first and last characters depend on the neighbours; the middle does not.
        let mut padded = vec![b'x'; shift];
        padded.extend_from_slice(secret.as_bytes());
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            let middle = encoded.as_bytes().get(4..encoded.len().saturating_sub(4)).unwrap_or_default();
            if middle.len() >= 8 {
                all.push(("base64 inside a longer text", middle.to_vec()));
            }
        }
    }
    let percent: String = secret
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    all.push(("percent-encoded", percent.into_bytes()));
    let hex = secret.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    all.push(("hexadecimal", hex.into_bytes()));
    all
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

/// Asserts that no file below `root` holds `secret` in any spelling. `except` are file name prefixes of
/// places that are meant to hold it: the platform's own database.
///
/// # Panics
/// With the file and the spelling, when one does, or when there is no file at all to search.
pub fn assert_absent(root: &Path, secret: &str, except: &[&str]) {
    assert!(secret.len() >= 16, "a short secret is found everywhere");
    let spellings = spellings(secret);
    let mut open = vec![root.to_owned()];
    let (mut files, mut hits) = (0, Vec::new());
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && !except.iter().any(|prefix| name.starts_with(prefix)) {
                files += 1;
                let bytes = std::fs::read(entry.path()).unwrap();
                for (spelling, needle) in &spellings {
                    if contains(&bytes, needle) {
                        hits.push(format!("{} ({spelling})", entry.path().display()));
                    }
                }
            }
        }
    }
    assert!(files > 0, "there is nothing to search below `{}`", root.display());
    assert!(hits.is_empty(), "the secret is in {}", hits.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "canary/7d1f+c0ffee=42&x";

    fn leaks(bytes: &[u8]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        std::fs::write(directory.path().join("inner/file"), bytes).unwrap();
        std::panic::catch_unwind(|| assert_absent(directory.path(), SECRET, &[])).is_err()
    }

    #[test]
    fn every_spelling_is_found() {
        assert!(leaks(format!("a {SECRET} b").as_bytes()));
        for prefix in ["", "u", "us", "user:"] {
            let text = STANDARD.encode(format!("{prefix}{SECRET} and more"));
            assert!(leaks(text.as_bytes()), "{text}");
            let text = URL_SAFE_NO_PAD.encode(format!("{prefix}{SECRET}"));
            assert!(leaks(text.as_bytes()), "{text}");
        }
        assert!(leaks(b"q=canary%2F7d1f%2Bc0ffee%3D42%26x"));
        assert!(leaks(b"63616e6172792f376431662b6330666665653d34322678"));
    }

    #[test]
    fn other_text_is_not_a_leak() {
        assert!(!leaks(b"nothing of the kind, canary included"));
    }
}
