//! Evidence, checked with keys: what counts, and why the rest does not.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;
use spectra_types::Digest;

use crate::{
    Evidence, Material, PublicKey, SIGNATURE, Statement, TrustedKey,
    bundle::{self, Content, Keyed, NotKeyed},
    dsse::{self, Envelope},
    hash::digest_like,
    simple,
    statement::PAYLOAD_TYPE,
};

/// What the evidence has to be about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The digest that was asked about.
    pub digest: &'a Digest,
    /// The manifest or index that has it.
    pub manifest: &'a [u8],
}

/// The form of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A bundle with a statement.
    Bundle,
    /// A bundle with the signature of the manifest.
    MessageBundle,
    /// A simple-signing document.
    SimpleSigning,
    /// An envelope without a bundle.
    Envelope,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bundle => "bundle",
            Self::MessageBundle => "message bundle",
            Self::SimpleSigning => "simple signing",
            Self::Envelope => "envelope",
        })
    }
}

/// A signature or attestation of a trusted key about the image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accepted {
    /// Where it was found.
    pub origin: String,
    /// What the policy calls the key.
    pub key: String,
    /// The key's fingerprint.
    pub fingerprint: Digest,
    /// Its form.
    pub form: Form,
    /// What it says, if it is more than a signature of the image: a URI.
    pub predicate_type: Option<String>,
    /// When, by its own word or that of a log, RFC 3339. Nobody checked that.
    pub stated_time: Option<String>,
    /// What was signed with it.
    pub annotations: BTreeMap<String, String>,
    /// What the attestation says in full.
    #[serde(skip)]
    pub predicate: Option<Value>,
}

/// Something that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Where it was found.
    pub origin: String,
    /// Why, in words.
    #[serde(serialize_with = "as_text")]
    pub reason: Rejection,
}

fn as_text<T: fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Why something does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// It cannot be read.
    Malformed(String),
    /// It is signed with a certificate.
    Certificate,
    /// No key that is trusted signed it; the text is what it says of its key.
    UnknownKey(Option<String>),
    /// It names a trusted key, and the signature is not that key's over what is there.
    BadSignature {
        /// The key's name in the policy.
        key: String,
    },
    /// A trusted key signed it, but it is about something else.
    OtherImage(Vec<String>),
    /// The manifest does not have the digest that was asked about.
    OtherManifest,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "it cannot be read: {reason}"),
            Self::Certificate => f.write_str(
                "it is signed with a keyless certificate; those are not verified by this build, so it does not count",
            ),
            Self::UnknownKey(None) => f.write_str("none of the trusted keys signed it"),
            Self::UnknownKey(Some(hint)) => {
                write!(f, "none of the trusted keys signed it; it names the key `{hint}`")
            }
            Self::BadSignature { key } => {
                write!(f, "it names the key `{key}`, and the signature is not that key's; it was changed or forged")
            }
            Self::OtherImage(subjects) if subjects.is_empty() => f.write_str("it is about no image"),
            Self::OtherImage(subjects) => write!(f, "it is about another image: {}", subjects.join(", ")),
            Self::OtherManifest => f.write_str("the manifest that it is about does not have the image's digest"),
        }
    }
}

/// All evidence, sorted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Examination {
    /// What counts.
    pub accepted: Vec<Accepted>,
    /// What does not.
    pub rejected: Vec<Rejected>,
}

/// Checks every piece of evidence with the keys.
#[must_use]
pub fn examine(subject: Subject<'_>, evidence: &[Evidence], keys: &[TrustedKey]) -> Examination {
    let mut found = Examination::default();
    for piece in evidence {
        match check(subject, piece, keys) {
            Ok(accepted) => found.accepted.push(accepted),
            Err(reason) => found.rejected.push(Rejected { origin: piece.origin.clone(), reason }),
        }
    }
    found
}

fn check(subject: Subject<'_>, evidence: &Evidence, keys: &[TrustedKey]) -> Result<Accepted, Rejection> {
    let accept = |key: &TrustedKey, form| Accepted {
        origin: evidence.origin.clone(),
        key: key.name.clone(),
        fingerprint: key.public_key.fingerprint(),
        form,
        predicate_type: None,
        // Nothing protects it: only what is a time is passed on, and written anew.
        stated_time: evidence
            .stated_time
            .as_deref()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .map(|time| time.to_string()),
        annotations: BTreeMap::new(),
        predicate: None,
    };
    match &evidence.material {
        Material::Unreadable(reason) => Err(Rejection::Malformed(reason.clone())),
        Material::Simple { certificate: true, .. } | Material::Envelope { certificate: true, .. } => {
            Err(Rejection::Certificate)
        }
        Material::Simple { payload, signature, .. } => {
            let signature = dsse::decode(signature)
                .ok_or_else(|| Rejection::Malformed("the signature is no base64".to_owned()))?;
            let key = signer(keys, None, |key| key.verifies(payload, &signature))?;
            let said = simple::parse(payload).map_err(Rejection::Malformed)?;
            if said.digest != subject.digest.to_string() {
                return Err(Rejection::OtherImage(vec![said.digest]));
            }
            Ok(Accepted { annotations: said.annotations, ..accept(key, Form::SimpleSigning) })
        }
        Material::Envelope { json, .. } => {
            let envelope = serde_json::from_slice(json)
                .map_err(|error: serde_json::Error| Rejection::Malformed(error.to_string()))?;
            stated(subject, &envelope, None, keys, |key| accept(key, Form::Envelope))
        }
        Material::Bundle(json) => {
            let Keyed { hint, logged_at, content } = bundle::parse(json).map_err(|error| match error {
                NotKeyed::Malformed(reason) => Rejection::Malformed(reason),
                NotKeyed::Certificate => Rejection::Certificate,
            })?;
            let accepted = match content {
                Content::Envelope(envelope) => {
                    stated(subject, &envelope, Some(&hint), keys, |key| accept(key, Form::Bundle))?
                }
                Content::Message { signature } => {
                    if digest_like(subject.digest, subject.manifest) != *subject.digest {
                        return Err(Rejection::OtherManifest);
                    }
                    let key = signer(keys, Some(&hint), |key| key.verifies(subject.manifest, &signature))?;
                    accept(key, Form::MessageBundle)
                }
            };
            let logged = logged_at.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            let logged = logged.map(|time| time.to_string());
            Ok(Accepted { stated_time: logged.or(accepted.stated_time.clone()), ..accepted })
        }
    }
}

/// A statement in an envelope. The signature is checked before anything of the payload is read.
fn stated(
    subject: Subject<'_>,
    envelope: &Envelope,
    hint: Option<&str>,
    keys: &[TrustedKey],
    accept: impl FnOnce(&TrustedKey) -> Accepted,
) -> Result<Accepted, Rejection> {
    let opened = envelope.open().map_err(Rejection::Malformed)?;
    let key = signer(keys, hint, |key| opened.is_signed_by(key))?;
    if opened.payload_type != PAYLOAD_TYPE {
        return Err(Rejection::Malformed(format!("its payload has the type `{}`", opened.payload_type)));
    }
    let statement = Statement::parse(&opened.payload).map_err(Rejection::Malformed)?;
    if !statement.is_about(subject.digest) {
        return Err(Rejection::OtherImage(statement.subjects()));
    }
    let kind = statement.predicate_type();
    let attests = kind != SIGNATURE;
    Ok(Accepted {
        predicate_type: attests.then(|| kind.to_owned()),
        annotations: statement.annotations(subject.digest),
        predicate: attests.then(|| statement.predicate().clone()),
        ..accept(key)
    })
}

/// The key that signed. What a bundle says of its key decides the message alone: every key is tried.
fn signer<'k>(
    keys: &'k [TrustedKey],
    hint: Option<&str>,
    is_signed_by: impl Fn(&PublicKey) -> bool,
) -> Result<&'k TrustedKey, Rejection> {
    if let Some(key) = keys.iter().find(|key| is_signed_by(&key.public_key)) {
        return Ok(key);
    }
    match keys.iter().find(|key| hint.is_some_and(|hint| key.public_key.hint() == hint)) {
        Some(key) => Err(Rejection::BadSignature { key: key.name.clone() }),
        None => Err(Rejection::UnknownKey(hint.filter(|hint| !hint.is_empty()).map(str::to_owned))),
    }
}
