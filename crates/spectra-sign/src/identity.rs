//! Identities: who may sign with a certificate instead of a key, and who checks such certificates.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{SourceRepository, Subject, TaggedCertificate};

/// What a certificate calls its owner: exactly a text, or a pattern in which `*` stands for one or more characters.
///
/// A `*` is never a `/`. Otherwise the name of a branch, which anybody who may push can choose, could be made to look like the
/// rest of the pattern: `https://github.com/acme/*/release.yml@refs/heads/main` would be fulfilled by a branch that is called
/// `x/release.yml@refs/heads/main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPattern(String);

/// A text is no pattern of identities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityPatternError {
    /// It is empty, or has control characters.
    #[error("an identity is neither empty nor has control characters")]
    Text,
    /// It is about nobody in particular.
    #[error("`{0}` would be anybody: beside `*`, an identity has to say who")]
    Anybody(String),
    /// It is about everybody who gets an address or a repository somewhere.
    #[error(
        "`{0}` would be anybody: a `*` is before the `@` of an address, or in the path of a URI behind its host, and on \
         github.com and gitlab.com behind the owner"
    )]
    Wide(String),
    /// There is `**` in it.
    #[error("`{0}` has `**` in it; each `*` stands for one or more characters that are no `/`")]
    Stars(String),
}

impl IdentityPattern {
    /// Whether it is about this identity.
    #[must_use]
    pub fn matches(&self, identity: &str) -> bool {
        matches(&self.0, identity)
    }

    /// Whether there is a `*` in it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.contains('*')
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the text is the pattern. Since no star is a slash, both have to have as many parts.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), text.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_matches(pattern, part) => {}
            _ => return false,
        }
    }
}

/// The same for one part. What is between two stars is taken where it comes first: that leaves most to the rest.
fn part_matches(pattern: &str, part: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| part.strip_prefix(first)) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        // A star is one character at least.
        let mut characters = rest.chars();
        if characters.next().is_none() {
            return false;
        }
        let Some((_, after)) = characters.as_str().split_once(piece) else { return false };
        rest = after;
    }
    rest.strip_suffix(last).is_some_and(|star| !star.is_empty())
}

impl FromStr for IdentityPattern {
    type Err = IdentityPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(IdentityPatternError::Text);
        }
        if text.contains("**") {
            return Err(IdentityPatternError::Stars(text.to_owned()));
        }
        // What is left of `*@*` or `https://*/*` names nobody.
        let scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
        if !scheme.chars().any(char::is_alphanumeric) {
            return Err(IdentityPatternError::Anybody(text.to_owned()));
        }
        if text.contains('*') && !names_whose(text) {
            return Err(IdentityPatternError::Wide(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether a pattern says whose the names are that it lets in: the domain of addresses, the host of URIs, and the owner where
/// everybody may have repositories.
fn names_whose(pattern: &str) -> bool {
    let exact = |text: &str| !text.is_empty() && !text.contains('*');
    let Some((scheme, rest)) = pattern.split_once("://") else {
        return pattern.rsplit_once('@').is_some_and(|(_, domain)| exact(domain));
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let shared = ["github.com", "gitlab.com"].iter().any(|shared| host.eq_ignore_ascii_case(shared));
    exact(scheme) && exact(host) && (!shared || path.split_once('/').is_some_and(|(owner, _)| exact(owner)))
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for IdentityPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IdentityPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Somebody who is trusted to sign with certificates, and what they are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIdentity {
    /// What messages and records call it.
    pub name: String,
    /// Who vouched for the identity, exactly: the URL of an `OpenID` Connect provider.
    pub issuer: String,
    /// The identity: an address or a URI.
    pub subject: IdentityPattern,
    /// For whose code it has to have signed; any when left out. A program that does not know this refuses the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_repository: Option<SourceRepository>,
}

impl TrustedIdentity {
    /// Whether it is this one, for whatever repository.
    #[must_use]
    pub fn is(&self, certified: &Certified) -> bool {
        self.issuer == certified.issuer && self.subject.matches(&certified.subject)
    }

    /// Whether it may sign for the certificate's repository. A certificate that names none is for none.
    #[must_use]
    pub fn may_sign_for(&self, certified: &Certified) -> bool {
        self.source_repository
            .as_ref()
            .is_none_or(|wanted| certified.source_repository.as_deref() == Some(wanted.as_str()))
    }
}

/// Who signed with a certificate, and when, as a root of trust has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// Who: an address or a URI.
    pub subject: String,
    /// Who vouched for that.
    pub issuer: String,
    /// For whose code: the URI of a repository, where the certificate names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_repository: Option<String>,
    /// When, by the word of a log or of a time stamp authority that is trusted: the earliest of them, RFC 3339.
    pub signed_at: String,
    /// The number of the entry in the log, where the log answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
}

/// A bundle whose certificate and signature hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whose it is.
    pub certified: Certified,
    /// What was signed.
    pub content: Proven,
}

/// What the signature of a [`Proof`] covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// The payload of an envelope.
    Envelope {
        /// What the payload is.
        payload_type: String,
        /// The payload.
        payload: Vec<u8>,
    },
    /// The subject's manifest itself.
    Manifest,
    /// A simple-signing document. What it is about is not known yet.
    Simple(Vec<u8>),
}

/// What is signed under a tag, without a bundle.
#[derive(Clone, Copy, Debug)]
pub enum Tagged<'a> {
    /// A simple-signing document.
    Simple {
        /// The document.
        payload: &'a [u8],
        /// Its signature, base64.
        signature: &'a str,
    },
    /// A DSSE envelope, as JSON.
    Envelope(&'a [u8]),
}

/// Somebody who checks certificates: the root of trust is theirs, whose certificates count is the policy's.
pub trait CertificateVerifier: Send + Sync {
    /// Checks everything that makes a bundle with a certificate hold, except who may sign: that the certificate was issued by a
    /// trusted authority and was valid when it was used, that the use is in a trusted log, and that the signature is over what
    /// the bundle has, about the subject. The `Err` says in words what does not hold.
    fn verify(&self, bundle: &[u8], subject: Subject<'_>) -> Result<Proof, String>;

    /// The same for what lies under a tag with its certificate beside it. That form has the log's promise alone, and no proof.
    /// Nothing that was found as a bundle is ever handed in here.
    fn verify_tagged(
        &self,
        signed: Tagged<'_>,
        beside: &TaggedCertificate,
        subject: Subject<'_>,
    ) -> Result<Proof, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str = "https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main";

    fn is(pattern: &str, identity: &str) -> bool {
        pattern.parse::<IdentityPattern>().unwrap().matches(identity)
    }

    #[test]
    fn a_star_is_one_or_more_characters_of_one_part() {
        assert!(is(FLOW, FLOW));
        assert!(is("https://github.com/acme/*/.github/workflows/*@refs/heads/main", FLOW));
        assert!(is("*@example.com", "dev@example.com"));
        assert!(is("https://github.com/acme/shop/.github/workflows/release.yml@refs/*/*", FLOW));
        for (pattern, other) in [
            (FLOW, "https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main2"),
            ("https://github.com/acme/*", FLOW),
            ("*@example.com", "@example.com"),
            ("*@example.com", "dev@example.com.evil.example"),
            ("dev@example.com", "DEV@example.com"),
        ] {
            assert!(!is(pattern, other), "{pattern} {other}");
        }
        assert!(!matches("a*a", "a") && !matches("a*a", "aa"));
        assert!(matches("a*a", "aaa") && matches("a*b*c", "axbxbxc") && matches("ä*ö", "äüö"));
    }

    #[test]
    fn the_name_of_a_branch_looked_like_the_rest_of_the_pattern() {
        let forged = "https://github.com/acme/toy/.github/workflows/x.yml@refs/heads/y/.github/workflows/release.yml@refs/heads/main";
        assert!(!is("https://github.com/acme/*/.github/workflows/release.yml@refs/heads/main", forged));
    }

    #[test]
    fn a_pattern_names_somebody() {
        for text in ["", " ", "*", "*@*", "https://*/*", "a**b", "a\nb"] {
            assert!(text.parse::<IdentityPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_let_in_everybody_of_a_public_place() {
        for text in [
            "*m",
            "*.com",
            "*@*.com",
            "dev@*",
            "*@example.*",
            "https://*.example/x",
            "htt*://github.com/acme/x",
            "https://github.com/*",
            "https://github.com/*/*/.github/workflows/release.yml@refs/heads/main",
            "https://GitHub.com/*/shop/x",
            "https://github.com/acme*/shop/x",
            "https://gitlab.com/*//.gitlab-ci.yml@refs/heads/main",
            "https://gitlab.com*/acme/x",
        ] {
            assert!(matches!(text.parse::<IdentityPattern>(), Err(IdentityPatternError::Wide(_))), "{text}");
        }
        for text in
            ["*@example.com", "https://github.com/acme/*", "https://ci.example/*", "spiffe://acme/*", "acme"]
        {
            text.parse::<IdentityPattern>().unwrap();
        }
    }
}
