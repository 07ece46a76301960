//! The last line of defence against printing a secret.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt::Write as _,
    sync::{PoisonError, RwLock},
};

use base64::{Engine as _, prelude::*};

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// A list of secret texts that can be removed from anything the process is about to write.
///
/// For each text it knows the raw form, base64 (standard and URL-safe alphabet, padded or not, also inside a longer encoded
/// value such as `user:password`), URL-encoded (`%20` and `+` style, either case) and JSON-escaped.
///
/// Texts shorter than [`Redactor::MIN_LENGTH`] bytes are ignored: removing `a` or `42` everywhere would destroy
/// the output without protecting anything worth the name. This is a safety net, not the means by which secrets stay out of
/// output; that is [`Secret`](crate::Secret), which cannot be printed at all.
#[derive(Debug, Default)]
pub struct Redactor {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// In no particular order: overlapping matches are merged by position.
    needles: Vec<String>,
    seen: HashSet<String>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} forms", self.needles.len())
    }
}

static GLOBAL: std::sync::LazyLock<Redactor> = std::sync::LazyLock::new(Redactor::default);

impl Redactor {
    /// Shortest text, in bytes, that is registered.
    pub const MIN_LENGTH: usize = 4;

    /// Shortest line of a longer text, in bytes, that is registered: shorter ones are brackets and the like.
    pub const MIN_LINE: usize = 8;

    /// Base64 fragments found inside a longer encoding are only searched from this length on; shorter ones
    /// occur in ordinary words.
    const MIN_FRAGMENT: usize = 7;

    /// The process's redactor, which every [`Secret`](crate::Secret) registers with.
    #[must_use]
    pub fn global() -> &'static Self {
        &GLOBAL
    }

    /// Makes an empty redactor, for tests and for programs that handle several sets of secrets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret text in all its forms. White space at the ends is not significant.
    ///
    /// Of a text of several lines, such as a key, each line is a secret too, since output is written line by line: those of at least
    /// [`Redactor::MIN_LINE`] bytes that are not the frame of a key.
    pub fn register(&self, secret: &str) {
        let secret = secret.trim();
        if secret.contains(['\n', '\r']) {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let lines = secret.lines().flat_map(|line| line.split('\r')).map(str::trim);
            for line in lines.filter(|line| line.len() >= Self::MIN_LINE && !line.starts_with("-----")) {
                for form in [line.to_owned(), json_escape(line)] {
                    if known.seen.insert(form.clone()) {
                        known.needles.push(form);
                    }
                }
            }
        }
        if secret.len() < Self::MIN_LENGTH {
            return;
        }
        if self.known.read().unwrap_or_else(PoisonError::into_inner).seen.contains(secret) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms(secret, Self::MIN_FRAGMENT) {
            if known.seen.insert(form.clone()) {
                known.needles.push(form);
            }
        }
    }

    /// Replaces every known form of every known secret by `[redacted]`; borrows if there was none.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for needle in &known.needles {
            spans.extend(text.match_indices(needle.as_str()).map(|(at, found)| (at, at + found.len())));
        }
        drop(known);
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        spans.sort_unstable();
        let mut output = String::with_capacity(text.len());
        let mut written = 0;
        let mut open: Option<(usize, usize)> = None;
        for (start, end) in spans {
            open = match open {
                // Overlapping forms (the raw text inside its own encoding) leave one mark, not a torn one.
                Some((first, last)) if start < last => Some((first, last.max(end))),
                Some((first, last)) => {
                    output.push_str(&text[written..first]);
                    output.push_str(REDACTED);
                    written = last;
                    Some((start, end))
                }
                None => Some((start, end)),
            };
        }
        if let Some((first, last)) = open {
            output.push_str(&text[written..first]);
            output.push_str(REDACTED);
            written = last;
        }
        output.push_str(&text[written..]);
        Cow::Owned(output)
    }
}

fn forms(secret: &str, min_fragment: usize) -> Vec<String> {
    let mut forms = vec![
        secret.to_owned(),
        BASE64_STANDARD.encode(secret),
        BASE64_STANDARD_NO_PAD.encode(secret),
        BASE64_URL_SAFE.encode(secret),
        BASE64_URL_SAFE_NO_PAD.encode(secret),
        url_encode(secret, "%20", true),
        url_encode(secret, "%20", false),
        url_encode(secret, "+", true),
        json_escape(secret),
    ];
    for before in 0..3_usize {
        for standard in [true, false] {
            let fragment = base64_fragment(secret, before, standard);
            if fragment.len() >= min_fragment {
                forms.push(fragment);
            }
        }
    }
    forms
}

/// The base64 characters that depend on the secret alone when `before` (mod 3) bytes precede it and any follow.
fn base64_fragment(secret: &str, before: usize, standard: bool) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret.as_bytes());
    let encoded =
        if standard { BASE64_STANDARD_NO_PAD.encode(&bytes) } else { BASE64_URL_SAFE_NO_PAD.encode(&bytes) };
    // A preceding byte reaches into the character after it; a following one into the last partial character.
    let skip = [0, 2, 3][before];
    let end = if bytes.len().is_multiple_of(3) { encoded.len() } else { encoded.len() - 1 };
    encoded.get(skip..end).unwrap_or_default().to_owned()
}

fn url_encode(text: &str, space: &str, upper: bool) -> String {
    let mut output = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                output.push(char::from(byte));
            }
            b' ' => output.push_str(space),
            // Writing to a String cannot fail.
            _ if upper => drop(write!(output, "%{byte:02X}")),
            _ => drop(write!(output, "%{byte:02x}")),
        }
    }
    output
}

fn json_escape(text: &str) -> String {
    let mut output = String::new();
    for character in text.chars() {
        match character {
            '"' => output.push_str("\\\""),
            '\\' => output.push_str("\\\\"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            '\u{8}' => output.push_str("\\b"),
            '\u{c}' => output.push_str("\\f"),
            control if u32::from(control) < 0x20 => drop(write!(output, "\\u{:04x}", u32::from(control))),
            other => output.push(other),
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(secret: &str) -> Redactor {
        let redactor = Redactor::new();
        redactor.register(secret);
        redactor
    }

    proptest! {
        #[test]
        fn no_form_survives(secret in "[ -~]{12,40}", prefix in "[a-z]{0,5}:", suffix in "[a-z]{0,5}") {
            let secret = secret.trim();
            prop_assume!(secret.len() >= 12);
            let redactor = with(secret);
            let json = serde_json::to_string(secret).unwrap();
            for form in [
                secret.to_owned(),
                BASE64_STANDARD.encode(secret),
                BASE64_URL_SAFE_NO_PAD.encode(secret),
                url_encode(secret, "%20", true),
                json[1..json.len() - 1].to_owned(),
            ] {
                let output = redactor.redact(&format!("<{form}>")).into_owned();
                prop_assert!(!output.contains(&form), "{}", output);
                prop_assert!(output.contains(REDACTED));
            }
            // As Basic credentials: no more than the bytes at the borders may remain readable.
            let header = BASE64_STANDARD.encode(format!("{prefix}{secret}{suffix}"));
            let output = redactor.redact(&header).into_owned();
            prop_assert!(output.contains(REDACTED), "{} in {}", secret, output);
        }

        #[test]
        fn other_text_is_untouched(text in "[a-z ]{0,60}") {
            prop_assert!(matches!(with("S3CR3T-VALUE").redact(&text), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn short_secrets_are_ignored() {
        assert_eq!(with("abc").redact("abcabc"), "abcabc");
    }

    #[test]
    fn every_line_of_a_key_is_a_secret() {
        let key =
            "-----BEGIN KEY-----\ncanaryAAAAAAAAAA1\r\n  canaryBBBBBBBBBB2  \n}\nfoot\n-----END KEY-----\n";
        let redactor = with(key);
        assert_eq!(redactor.redact("#7 0.1 canaryAAAAAAAAAA1"), "#7 0.1 [redacted]");
        assert_eq!(redactor.redact("x canaryBBBBBBBBBB2"), "x [redacted]");
        assert_eq!(redactor.redact("} -----BEGIN KEY----- foot"), "} -----BEGIN KEY----- foot");
        assert_eq!(redactor.redact(key.trim()), "[redacted]", "as a whole");
    }

    #[test]
    fn overlaps_and_repeats_leave_single_marks() {
        let redactor = with("hunter22");
        redactor.register("22-tail");
        assert_eq!(
            redactor.redact("a hunter22-tail b hunter22hunter22"),
            "a [redacted] b [redacted][redacted]"
        );
    }

    #[test]
    fn a_secret_that_reads_like_the_mark_is_replaced_once() {
        assert_eq!(with("redacted").redact("it is redacted"), "it is [redacted]");
    }
}
