//! What patterns cannot say: whether a match is a real credential or stands for one.

use std::collections::BTreeMap;

use base64::Engine as _;

/// A match of a rule's pattern.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The path, relative, with `/`.
    pub path: &'a str,
    /// The secret itself.
    pub secret: &'a [u8],
    /// Everything that matched.
    pub whole: &'a [u8],
    /// The second group, where the rule has one.
    pub second: Option<&'a [u8]>,
}

/// Words by which people mark a value as standing for another.
const STAND_INS: &[&str] = &[
    "example",
    "placeholder",
    "changeme",
    "change_me",
    "change-me",
    "dummy",
    "sample",
    "your_",
    "your-",
    "yourtoken",
    "redacted",
    "xxxx",
    "....",
    "****",
    "____",
    "----",
    "0000000",
    "1234567890abcdef",
    "insert_",
    "replace",
    "fake",
    "not-a-",
    "not_a_",
    "todo",
];

/// Passwords that are written in documentation.
const DOCUMENTED: &[&str] = &[
    "pass", "password", "passwd", "pwd", "secret", "token", "user", "username", "postgres", "mysql", "root",
    "admin", "guest", "test", "testing", "pw", "key", "hidden", "hunter2", "letmein", "foo", "bar", "baz",
    "db", "app", "x", "xyz", "xxx", "abc", "s3cret", "p4ss",
];

/// Lock files are full of hashes under all sorts of names.
const LOCKS: &[&str] = &[
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "composer.lock",
    "flake.lock",
    "go.sum",
    "mix.lock",
    "package-lock.json",
    "pdm.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pubspec.lock",
    "uv.lock",
    "yarn.lock",
    ".terraform.lock.hcl",
];

/// Nothing else to check.
pub(super) const fn any(_: &Candidate<'_>) -> bool {
    true
}

/// No word in it says that it is not real.
pub(super) fn not_an_example(candidate: &Candidate<'_>) -> bool {
    let text = String::from_utf8_lossy(candidate.secret).to_ascii_lowercase();
    !STAND_INS.iter().any(|word| text.contains(word))
}

/// Letters and digits mixed, as no name, path or sentence is.
pub(super) fn is_random(candidate: &Candidate<'_>) -> bool {
    let name = candidate.path.rsplit('/').next().unwrap_or(candidate.path);
    let secret = candidate.secret;
    let digits = secret.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = secret.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    if digits < 2 || letters < 2 || LOCKS.contains(&name) || !not_an_example(candidate) {
        return false;
    }
    let text = String::from_utf8_lossy(secret);
    let lower = text.to_ascii_lowercase();
    // References to a value: paths, calls, versions, digests, names with a number in them.
    let reference = lower.starts_with("sha256")
        || lower.starts_with("sha512")
        || lower.starts_with("http")
        || text.starts_with(['/', '.', '~', '@', '-', '*', '&', '%'])
        || text.contains("::")
        || lower.starts_with("var.")
        || lower.starts_with("local.")
        || lower.starts_with("data.")
        || lower.starts_with("module.")
        || lower.starts_with("process.")
        || lower.starts_with("os.")
        || lower.starts_with("env.");
    !reference && !is_words(&text)
}

/// Whether the text is made of words and numbers: `my-service-token-v2`, `arn.aws.iam.role1`.
///
/// A part counts as a word if its letters come before its digits and are either all small or one capital and small letters.
fn is_words(text: &str) -> bool {
    let parts: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    if parts.len() < 2 {
        return false;
    }
    parts.iter().all(|part| {
        let letters = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let rest = letters.get(1..).unwrap_or_default();
        let one_case = rest.bytes().all(|byte| byte.is_ascii_lowercase())
            || letters.bytes().all(|byte| byte.is_ascii_uppercase());
        one_case && letters.len() <= 16 && part.len() - letters.len() <= 4
    })
}

/// A header that names an algorithm, and no stand-in.
pub(super) fn is_jwt(candidate: &Candidate<'_>) -> bool {
    let header = candidate.secret.split(|byte| *byte == b'.').next().unwrap_or_default();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header =
        engine.decode(header).ok().and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    header.is_some_and(|header| header["alg"].is_string()) && not_an_example(candidate)
}

/// A name, a colon and a password, in base64.
pub(super) fn is_login(candidate: &Candidate<'_>) -> bool {
    let engine = base64::engine::general_purpose::STANDARD;
    let Some(text) = engine.decode(candidate.secret).ok().and_then(|bytes| String::from_utf8(bytes).ok())
    else {
        return false;
    };
    text.split_once(':').is_some_and(|(name, password)| {
        !name.is_empty() && !text.chars().any(char::is_control) && is_password(password)
    })
}

/// A password that is not one of documentation, for a host that somebody can reach.
pub(super) fn is_real_login(candidate: &Candidate<'_>) -> bool {
    let host = String::from_utf8_lossy(candidate.second.unwrap_or_default()).to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let here = matches!(
        host,
        "localhost" | "127.0.0.1" | "[" | "[::1]" | "::1" | "host" | "hostname" | "db" | "registry"
    );
    let documented = ["example.com", "example.org", "example.net", "example", "invalid", "test", "localhost"]
        .iter()
        .any(|name| host == *name || host.ends_with(&format!(".{name}")));
    let path = String::from_utf8_lossy(candidate.whole);
    !here && !documented && !path.contains("${") && is_password(&String::from_utf8_lossy(candidate.secret))
}

fn is_password(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.len() >= 3
        && !DOCUMENTED.contains(&lower.as_str())
        && !STAND_INS.iter().any(|word| lower.contains(word))
        // A port, and not a password: `http://a:80@…` is written by mistake alone.
        && !text.starts_with(['%', '#', '*', '…'])
        && text.bytes().any(|byte| byte != text.as_bytes()[0])
}

/// Bits a character, by how often each occurs.
pub(super) fn entropy(text: &[u8]) -> f64 {
    let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
    for byte in text {
        *counts.entry(*byte).or_default() += 1;
    }
    // A secret has far fewer bytes than a float counts exactly.
    let total = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    counts.values().map(|count| f64::from(*count) / total).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_texts() {
        assert!(entropy(b"").abs() < 1e-9 && entropy(b"aaaa").abs() < 1e-9);
        assert!((entropy(b"abcd") - 2.0).abs() < 1e-9);
        assert!((entropy(b"0123456789abcdef") - 4.0).abs() < 1e-9);
    }

    #[test]
    fn words_are_no_secrets() {
        for text in ["my-service-token-v2", "arn.aws.iam.role1", "RAILWAY_API_TOKEN_2", "Some.Name.42"] {
            assert!(is_words(text), "{text}");
        }
        for text in ["a8Kd93jfLq0Zx71", "abc-1f3a9c-77de", "single"] {
            assert!(!is_words(text), "{text}");
        }
    }
}
