//! Signature policies: whose signatures an image needs, and the judgement by them.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use spectra_types::PinnedImage;

use crate::{
    Accepted, CertificateVerifier, Error, Gathered, IdentityPattern, KeyError, PredicateType, PublicKey,
    Rejected, SourceRepository, Subject, Trust, TrustedIdentity, annotations::with_annotations, examine,
};

/// The version of policy files.
const FILE_VERSION: u32 = 1;

/// A key that is trusted, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// What messages and records call it.
    pub name: String,
    /// The key.
    #[serde(with = "as_pem")]
    pub public_key: PublicKey,
}

mod as_pem {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::PublicKey;

    pub(super) fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&key.to_pem())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        PublicKey::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// How many of the keys and identities have to sign the image: `any`, `all`, `none` (attestations alone), or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threshold {
    /// One of them.
    #[default]
    Any,
    /// Each of them.
    All,
    /// As many different ones.
    AtLeast(u32),
    /// None: attestations are all that is asked for.
    None,
}

impl Threshold {
    fn of(self, signers: usize) -> usize {
        match self {
            Self::Any => 1,
            Self::All => signers,
            Self::AtLeast(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::None => 0,
        }
    }
}

/// A text is no threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `any`, `all` or `none`, nor the number of keys that have to sign")]
pub struct ThresholdError(String);

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "any" => Ok(Self::Any),
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            number => number.parse().map(Self::AtLeast).map_err(|_| ThresholdError(text.to_owned())),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::All => f.write_str("all"),
            Self::None => f.write_str("none"),
            Self::AtLeast(count) => write!(f, "{count}"),
        }
    }
}

impl Serialize for Threshold {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Threshold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`any`, `all`, `none` or a number")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Threshold, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Threshold, E> {
                u32::try_from(number).map(Threshold::AtLeast).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Threshold, E> {
                u32::try_from(number).map(Threshold::AtLeast).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Whose signatures images need, and which attestations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignaturePolicy {
    /// The repositories whose images it is about: `ghcr.io/acme/shop`, or `ghcr.io/acme/*` for all below. Empty: every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// The keys.
    #[serde(default)]
    pub keys: Vec<TrustedKey>,
    /// Who may sign with a certificate instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<TrustedIdentity>,
    /// How many of both have to sign the image itself.
    #[serde(default)]
    pub required: Threshold,
    /// Attestations that have to be there, each signed by one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<PredicateType>,
}

/// Something that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `keys[1].name`.
    pub path: String,
    /// What.
    pub message: String,
}

impl SignaturePolicy {
    /// Everything that is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |path: String, message: String| found.push(Problem { path, message });
        if self.signers() == 0 {
            add("keys".to_owned(), "without a key or an identity nothing can be accepted".to_owned());
        }
        for (index, key) in self.keys.iter().enumerate() {
            let before = &self.keys[..index];
            if key.name.trim().is_empty() || key.name.chars().any(char::is_control) {
                add(format!("keys[{index}].name"), "it is empty, or has control characters".to_owned());
            }
            if before.iter().any(|other| other.name == key.name) {
                add(format!("keys[{index}].name"), format!("`{}` is there twice", key.name));
            }
            // Otherwise one signature would count for two.
            if let Some(other) = before.iter().find(|other| other.public_key == key.public_key) {
                add(format!("keys[{index}].public_key"), format!("it is the key of `{}` too", other.name));
            }
        }
        for (index, identity) in self.identities.iter().enumerate() {
            let before = &self.identities[..index];
            let path = |field: &str| format!("identities[{index}].{field}");
            let odd = |text: &str| text.trim().is_empty() || text.chars().any(char::is_control);
            if odd(&identity.name) {
                add(path("name"), "it is empty, or has control characters".to_owned());
            }
            // Who signed is counted by name.
            if before.iter().any(|other| other.name == identity.name)
                || self.keys.iter().any(|key| key.name == identity.name)
            {
                add(path("name"), format!("`{}` is there twice", identity.name));
            }
            if odd(&identity.issuer) || identity.issuer.contains('*') {
                add(path("issuer"), "it is the URL of one issuer, exactly".to_owned());
            }
            if let Some(other) = before.iter().find(|other| {
                (&other.issuer, &other.subject, &other.source_repository)
                    == (&identity.issuer, &identity.subject, &identity.source_repository)
            }) {
                add(path("subject"), format!("it is the identity of `{}` too", other.name));
            }
        }
        match self.required {
            Threshold::AtLeast(0) => {
                add("required".to_owned(), "signatures of no key are none; write `none`".to_owned());
            }
            Threshold::AtLeast(count) if self.required.of(0) > self.signers() => add(
                "required".to_owned(),
                format!("{count} {} have to sign, and there are only {}", self.kinds(), self.signers()),
            ),
            Threshold::None if self.attestations.is_empty() => add(
                "required".to_owned(),
                "neither signatures nor attestations are asked for, so everything would be accepted"
                    .to_owned(),
            ),
            _ => {}
        }
        for (index, pattern) in self.repositories.iter().enumerate() {
            if !is_repository_pattern(pattern) {
                let message = format!(
                    "`{pattern}` is neither a repository with its registry, such as `ghcr.io/acme/shop`, nor all below a \
                     path, such as `ghcr.io/acme/*`"
                );
                add(format!("repositories[{index}]"), message);
            }
        }
        found
    }

    fn signers(&self) -> usize {
        self.keys.len() + self.identities.len()
    }

    /// What its signers are.
    const fn kinds(&self) -> &'static str {
        match (self.keys.is_empty(), self.identities.is_empty()) {
            (_, true) => "keys",
            (true, false) => "identities",
            (false, false) => "keys and identities",
        }
    }

    /// Whether it is about an image.
    #[must_use]
    pub fn covers(&self, image: &PinnedImage) -> bool {
        self.repositories.is_empty()
            || self
                .repositories
                .iter()
                .any(|pattern| repository_matches(pattern, image.registry(), image.repository()))
    }
}

/// Whether a text is a repository with its registry, or a path with `/*` behind it.
#[must_use]
pub fn is_repository_pattern(pattern: &str) -> bool {
    !pattern.strip_suffix("/*").unwrap_or(pattern).contains('*') && pattern.contains('/')
}

/// Whether a repository of a registry is the pattern, or below it.
#[must_use]
pub fn repository_matches(pattern: &str, registry: &str, repository: &str) -> bool {
    let name = format!("{registry}/{repository}");
    match pattern.strip_suffix('*') {
        Some(path) => name.starts_with(path),
        None => name == pattern,
    }
}

/// A policy file: policies for different repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// The policies, with their names.
    pub policies: Vec<(String, SignaturePolicy)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    policy: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    #[serde(default)]
    repositories: Vec<String>,
    #[serde(default)]
    keys: Vec<KeyEntry>,
    #[serde(default)]
    identities: Vec<IdentityEntry>,
    #[serde(default)]
    required: Threshold,
    #[serde(default)]
    attestations: Vec<PredicateType>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: String,
    public_key: Option<String>,
    file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityEntry {
    /// The subject, when left out.
    name: Option<String>,
    issuer: String,
    subject: IdentityPattern,
    source_repository: Option<SourceRepository>,
}

impl From<IdentityEntry> for TrustedIdentity {
    fn from(entry: IdentityEntry) -> Self {
        let IdentityEntry { name, issuer, subject, source_repository } = entry;
        Self { name: name.unwrap_or_else(|| subject.to_string()), issuer, subject, source_repository }
    }
}

impl PolicyFile {
    /// Reads TOML. `read` gets the text of a key's file, whose name is relative to the policy; `from` names the policy.
    pub fn parse(
        text: &str,
        from: &str,
        mut read: impl FnMut(&str) -> Result<String, String>,
    ) -> Result<Self, Error> {
        let failed = |reason: String| Error::Policy { from: from.to_owned(), reason };
        let document: Document = toml::from_str(text).map_err(|error| failed(error.to_string()))?;
        if document.version != FILE_VERSION {
            let reason = format!("it has version {}, and {FILE_VERSION} is read", document.version);
            return Err(failed(reason));
        }
        if document.policy.is_empty() {
            return Err(failed("it has no `[[policy]]`".to_owned()));
        }
        let mut policies = Vec::new();
        let mut problems = Vec::new();
        for (index, entry) in document.policy.into_iter().enumerate() {
            let mut keys = Vec::new();
            for (number, key) in entry.keys.into_iter().enumerate() {
                let text = match (key.public_key, key.file) {
                    (Some(text), None) => Ok(text),
                    (None, Some(file)) => read(&file),
                    _ => Err("it needs either `public_key` or `file`".to_owned()),
                };
                let parsed = text
                    .and_then(|text| PublicKey::parse(&text).map_err(|error: KeyError| error.to_string()));
                match parsed {
                    Ok(public_key) => keys.push(TrustedKey { name: key.name, public_key }),
                    Err(reason) => {
                        return Err(failed(format!("`policy[{index}].keys[{number}]`: {reason}")));
                    }
                }
            }
            let policy = SignaturePolicy {
                repositories: entry.repositories,
                keys,
                identities: entry.identities.into_iter().map(TrustedIdentity::from).collect(),
                required: entry.required,
                attestations: entry.attestations,
            };
            problems.extend(policy.problems().into_iter().map(|problem| Problem {
                path: format!("policy[{index}].{}", problem.path),
                message: problem.message,
            }));
            policies.push((entry.name.unwrap_or_else(|| format!("{from}#{}", index + 1)), policy));
        }
        if problems.is_empty() {
            Ok(Self { policies })
        } else {
            Err(Error::PolicyProblems { from: from.to_owned(), problems })
        }
    }
}

/// The image is signed as every policy about it wants.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// What counted.
    pub accepted: Vec<Accepted>,
    /// What did not.
    pub rejected: Vec<Rejected>,
}

/// What has to be made for an image before policies let it in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Signatures.
    pub signatures: bool,
    /// Attestations.
    pub attestations: bool,
}

impl std::ops::BitOrAssign for Lacks {
    fn bitor_assign(&mut self, more: Self) {
        self.signatures |= more.signatures;
        self.attestations |= more.attestations;
    }
}

/// The image is not signed as it has to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// Which image.
    pub image: PinnedImage,
    /// What is missing, each with the policy that wants it.
    pub unmet: Vec<String>,
    /// What of that can be made; neither if no policy is about the image.
    #[serde(skip)]
    pub lacks: Lacks,
    /// What counted.
    pub accepted: Vec<Accepted>,
    /// What did not, and why.
    pub rejected: Vec<Rejected>,
}

/// How many reasons a refusal tells.
const REASONS: usize = 20;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not signed as it has to be: {}", self.image, self.unmet.join("; "))?;
        for Rejected { origin, reason } in self.rejected.iter().take(REASONS) {
            write!(f, "; not counted, `{origin}`: {reason}")?;
        }
        match self.rejected.len().saturating_sub(REASONS) {
            0 => Ok(()),
            more => write!(f, "; and {more} more that are not counted"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Judges an image by all policies that are about it. An image that none of them is about is refused: a policy for one
/// repository must not let every other one in. Without somebody who checks certificates, none counts.
pub fn judge(
    policies: &[(String, SignaturePolicy)],
    image: &PinnedImage,
    gathered: &Gathered,
    certificates: Option<&dyn CertificateVerifier>,
) -> Result<Verdict, Box<Refusal>> {
    judge_annotated(policies, &[], image, gathered, certificates)
}

/// As [`judge`]; if there are `annotations`, names with values, a signature of the image counts only if it carries all of them, and
/// every policy wants at least one, also one that is content with attestations.
pub fn judge_annotated(
    policies: &[(String, SignaturePolicy)],
    annotations: &[(String, String)],
    image: &PinnedImage,
    gathered: &Gathered,
    certificates: Option<&dyn CertificateVerifier>,
) -> Result<Verdict, Box<Refusal>> {
    let subject = Subject { digest: image.digest(), manifest: &gathered.manifest };
    let (mut unmet, mut lacks) = (Vec::new(), Lacks::default());
    let (mut accepted, mut rejected): (Vec<Accepted>, Vec<Rejected>) = Default::default();
    let mut about = 0;
    for (name, policy) in policies.iter().filter(|(_, policy)| policy.covers(image)) {
        about += 1;
        let trust = Trust { keys: &policy.keys, identities: &policy.identities, certificates };
        let found = examine(subject, &gathered.evidence, trust).carrying(annotations);
        let (signatures, attestations) = missing(name, policy, annotations, &found.accepted);
        lacks |= Lacks { signatures: signatures.is_some(), attestations: !attestations.is_empty() };
        unmet.extend(signatures.into_iter().chain(attestations));
        for one in found.accepted {
            if !accepted.contains(&one) {
                accepted.push(one);
            }
        }
        for one in found.rejected {
            if !rejected.contains(&one) {
                rejected.push(one);
            }
        }
    }
    if about == 0 {
        let repository = format!("{}/{}", image.registry(), image.repository());
        unmet.push(format!("no signature policy is about images of `{repository}`"));
    }
    // What one policy's keys did not sign may be what another one's did.
    rejected.retain(|one| !accepted.iter().any(|accepted| accepted.origin == one.origin));
    if unmet.is_empty() {
        Ok(Verdict { accepted, rejected })
    } else {
        Err(Box::new(Refusal { image: image.clone(), unmet, lacks, accepted, rejected }))
    }
}

/// What a policy wants and does not have: signatures, and attestations.
fn missing(
    name: &str,
    policy: &SignaturePolicy,
    annotations: &[(String, String)],
    accepted: &[Accepted],
) -> (Option<String>, Vec<String>) {
    // Keys, identities and their names are there once each.
    let signers: BTreeSet<_> =
        accepted.iter().filter(|one| one.predicate_type.is_none()).map(|one| &one.key).collect();
    let required = policy.required.of(policy.signers()).max(usize::from(!annotations.is_empty()));
    // A policy without keys is refused before; here it must not pass as one that is fulfilled.
    let signatures = (signers.len() < required || policy.signers() == 0).then(|| {
        let names = policy.keys.iter().map(|key| &key.name);
        let names = names.chain(policy.identities.iter().map(|identity| &identity.name));
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        format!(
            "policy `{name}` wants the signatures of {required} of the {} {}{} and there {}",
            policy.kinds(),
            names.join(", "),
            with_annotations(annotations),
            match signers.len() {
                0 => "is none".to_owned(),
                1 => "is 1".to_owned(),
                count => format!("are {count}"),
            }
        )
    });
    let is_there = |wanted: &PredicateType| {
        accepted.iter().any(|one| one.predicate_type.as_deref() == Some(wanted.uri()))
    };
    let attestations = policy.attestations.iter().filter(|wanted| !is_there(wanted));
    let attestations = attestations.map(|wanted| {
        format!("policy `{name}` wants an attestation `{wanted}`, and there is none that counts")
    });
    (signatures, attestations.collect())
}
