//! Evidence, checked with keys and certificates: what counts, and why the rest does not.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;
use spectra_types::Digest;

use crate::{
    CertificateVerifier, Certified, Evidence, Material, Proof, Proven, PublicKey, SIGNATURE,
    SourceRepository, Statement, Tagged, TrustedIdentity, TrustedKey,
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

/// Whose signatures count.
#[derive(Clone, Copy, Default)]
pub struct Trust<'a> {
    /// These keys.
    pub keys: &'a [TrustedKey],
    /// These people and programs, with certificates.
    pub identities: &'a [TrustedIdentity],
    /// Who checks the certificates. Without one, none counts.
    pub certificates: Option<&'a dyn CertificateVerifier>,
}

impl<'a> Trust<'a> {
    /// Keys alone.
    #[must_use]
    pub const fn keys(keys: &'a [TrustedKey]) -> Self {
        Self { keys, identities: &[], certificates: None }
    }
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

/// A signature or attestation about the image, by a trusted key or identity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accepted {
    /// Where it was found.
    pub origin: String,
    /// What the policy calls the key or the identity.
    pub key: String,
    /// The key's fingerprint. The keys of certificates are used once, and have none that anybody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// Who signed, where it was with a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certified>,
    /// Its form.
    pub form: Form,
    /// What it says, if it is more than a signature of the image: a URI.
    pub predicate_type: Option<String>,
    /// When, by its own word or that of a log, RFC 3339. Nobody checked that, unless it is signed with a certificate.
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
    /// It is signed with a certificate, and only keys are trusted.
    Certificate,
    /// It is signed with a certificate, and nobody is there who checks those.
    CertificateUnchecked,
    /// The certificate, its entry in the log or the signature does not hold; the text says what.
    BadCertificate(String),
    /// It is signed with a certificate of somebody who is not trusted.
    UnknownIdentity {
        /// Who.
        subject: String,
        /// Who vouched for that.
        issuer: String,
    },
    /// It is signed by a trusted identity, for a repository that it is not trusted with.
    OtherRepository {
        /// What the policy calls the identity.
        identity: String,
        /// Which one it is trusted with.
        wanted: SourceRepository,
        /// Which one the certificate names.
        found: Option<String>,
    },
    /// No key that is trusted signed it; the text is what it says of its key.
    UnknownKey(Option<String>),
    /// It names a trusted key, and the signature is not that key's over what is there.
    BadSignature {
        /// The key's name in the policy.
        key: String,
    },
    /// It does not carry an annotation that has to be signed with it.
    OtherAnnotation {
        /// What the policy calls the key or the identity.
        signer: String,
        /// The annotation's name.
        name: String,
        /// Its value as it has to be.
        wanted: String,
        /// Its value, if it is there.
        found: Option<String>,
    },
    /// A trusted key signed it, but it is about something else.
    OtherImage(Vec<String>),
    /// The manifest does not have the digest that was asked about.
    OtherManifest,
}

/// How much is told of one text that is somebody else's, in characters.
pub(crate) const TOLD: usize = 200;
/// How many images are told.
const IMAGES: usize = 8;

impl Rejection {
    /// The same, with no more of the texts in it than anybody reads: whoever may push chose them.
    fn cut(self) -> Self {
        match self {
            Self::Malformed(reason) => Self::Malformed(cut(reason, 2 * TOLD)),
            // The words around what is quoted are long.
            Self::BadCertificate(reason) => Self::BadCertificate(cut(reason, 2 * TOLD)),
            Self::UnknownIdentity { subject, issuer } => {
                Self::UnknownIdentity { subject: cut(subject, TOLD), issuer: cut(issuer, TOLD) }
            }
            Self::OtherRepository { identity, wanted, found } => {
                Self::OtherRepository { identity, wanted, found: found.map(|found| cut(found, TOLD)) }
            }
            Self::UnknownKey(hint) => Self::UnknownKey(hint.map(|hint| cut(hint, TOLD))),
            Self::OtherImage(mut subjects) => {
                let more = subjects.len().saturating_sub(IMAGES);
                subjects.truncate(IMAGES);
                let mut subjects: Vec<_> = subjects.into_iter().map(|subject| cut(subject, TOLD)).collect();
                if more > 0 {
                    subjects.push(format!("and {more} more"));
                }
                Self::OtherImage(subjects)
            }
            same => same,
        }
    }
}

pub(crate) fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "it cannot be read: {reason}"),
            Self::Certificate => {
                f.write_str("it is signed with a keyless certificate, and no identity is trusted here, only keys")
            }
            Self::CertificateUnchecked => f.write_str(
                "it is signed with a keyless certificate; those are not verified by this build, so it does not count",
            ),
            Self::BadCertificate(reason) => {
                write!(f, "it is signed with a keyless certificate, and that does not hold: {reason}")
            }
            Self::UnknownIdentity { subject, issuer } => {
                write!(f, "it is signed by `{subject}` of `{issuer}`, which is none of the trusted identities")
            }
            Self::OtherRepository { identity, wanted, found: Some(found) } => write!(
                f,
                "it is signed by the identity `{identity}` for the source repository `{found}`, and that may sign for `{wanted}` alone"
            ),
            Self::OtherRepository { identity, wanted, found: None } => write!(
                f,
                "it is signed by the identity `{identity}`, and the certificate does not name a source repository, which has to be \
                 `{wanted}`"
            ),
            Self::UnknownKey(None) => f.write_str("none of the trusted keys signed it"),
            Self::UnknownKey(Some(hint)) => {
                write!(f, "none of the trusted keys signed it; it names the key `{hint}`")
            }
            Self::BadSignature { key } => {
                write!(f, "it names the key `{key}`, and the signature is not that key's; it was changed or forged")
            }
            Self::OtherAnnotation { signer, name, wanted, found: Some(found) } => write!(
                f,
                "it is signed by `{signer}` with the annotation `{name}={found}`, and `{name}={wanted}` is asked for"
            ),
            Self::OtherAnnotation { signer, name, wanted, found: None } => write!(
                f,
                "it is signed by `{signer}` without an annotation `{name}`, and `{name}={wanted}` is asked for"
            ),
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

/// Checks every piece of evidence with what is trusted.
#[must_use]
pub fn examine(subject: Subject<'_>, evidence: &[Evidence], trust: Trust<'_>) -> Examination {
    let mut found = Examination::default();
    for piece in evidence {
        match check(subject, piece, trust) {
            Ok(accepted) => found.accepted.push(accepted),
            Err(reason) => {
                found
                    .rejected
                    .push(Rejected { origin: cut(piece.origin.clone(), TOLD), reason: reason.cut() });
            }
        }
    }
    found
}

fn check(subject: Subject<'_>, evidence: &Evidence, trust: Trust<'_>) -> Result<Accepted, Rejection> {
    let keys = trust.keys;
    let accept = |key: &TrustedKey, form| Accepted {
        origin: evidence.origin.clone(),
        key: key.name.clone(),
        fingerprint: Some(key.public_key.fingerprint()),
        certificate: None,
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
        Material::Simple { payload, signature, certificate: Some(beside) } => {
            let signed = Tagged::Simple { payload, signature };
            certified(subject, &evidence.origin, trust, Form::Envelope, |verifier| {
                verifier.verify_tagged(signed, beside, subject)
            })
        }
        Material::Envelope { json, certificate: Some(beside) } => {
            certified(subject, &evidence.origin, trust, Form::Envelope, |verifier| {
                verifier.verify_tagged(Tagged::Envelope(json), beside, subject)
            })
        }
        Material::Simple { payload, signature, certificate: None } => {
            let signature = dsse::decode(signature)
                .ok_or_else(|| Rejection::Malformed("the signature is no base64".to_owned()))?;
            let key = signer(keys, None, |key| key.verifies(payload, &signature))?;
            let annotations = simple_about(subject, payload)?;
            Ok(Accepted { annotations, ..accept(key, Form::SimpleSigning) })
        }
        Material::Envelope { json, certificate: None } => {
            let envelope = serde_json::from_slice(json)
                .map_err(|error: serde_json::Error| Rejection::Malformed(error.to_string()))?;
            stated(subject, &envelope, None, keys, |key| accept(key, Form::Envelope))
        }
        Material::Bundle(json) => {
            let Keyed { hint, logged_at, content } = match bundle::parse(json) {
                Ok(keyed) => keyed,
                Err(NotKeyed::Malformed(reason)) => return Err(Rejection::Malformed(reason)),
                Err(NotKeyed::Certificate) => {
                    return certified(subject, &evidence.origin, trust, Form::Bundle, |verifier| {
                        verifier.verify(json, subject)
                    });
                }
            };
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
    let statement = statement_about(subject, &opened.payload_type, &opened.payload)?;
    Ok(saying(&statement, subject, accept(key)))
}

/// The statement in a payload whose signature was checked.
fn statement_about(subject: Subject<'_>, payload_type: &str, payload: &[u8]) -> Result<Statement, Rejection> {
    if payload_type != PAYLOAD_TYPE {
        return Err(Rejection::Malformed(format!("its payload has the type `{payload_type}`")));
    }
    let statement = Statement::parse(payload).map_err(Rejection::Malformed)?;
    if !statement.is_about(subject.digest) {
        return Err(Rejection::OtherImage(statement.subjects()));
    }
    Ok(statement)
}

/// What was signed with the image in a simple-signing document whose signature was checked.
fn simple_about(subject: Subject<'_>, payload: &[u8]) -> Result<BTreeMap<String, String>, Rejection> {
    let said = simple::parse(payload).map_err(Rejection::Malformed)?;
    if said.digest == subject.digest.to_string() {
        Ok(said.annotations)
    } else {
        Err(Rejection::OtherImage(vec![said.digest]))
    }
}

/// What counts, with what it says.
fn saying(statement: &Statement, subject: Subject<'_>, accepted: Accepted) -> Accepted {
    let kind = statement.predicate_type();
    let attests = kind != SIGNATURE;
    Accepted {
        predicate_type: attests.then(|| kind.to_owned()),
        annotations: statement.annotations(subject.digest),
        predicate: attests.then(|| statement.predicate().clone()),
        ..accepted
    }
}

/// Something with a certificate. Whose it is counts after everything else holds: before, it is anybody's word. `envelopes` is
/// the form in which envelopes were found.
fn certified(
    subject: Subject<'_>,
    origin: &str,
    trust: Trust<'_>,
    envelopes: Form,
    verify: impl FnOnce(&dyn CertificateVerifier) -> Result<Proof, String>,
) -> Result<Accepted, Rejection> {
    if trust.identities.is_empty() {
        return Err(Rejection::Certificate);
    }
    let verifier = trust.certificates.ok_or(Rejection::CertificateUnchecked)?;
    if digest_like(subject.digest, subject.manifest) != *subject.digest {
        return Err(Rejection::OtherManifest);
    }
    let Proof { certified, content } = verify(verifier).map_err(Rejection::BadCertificate)?;
    // Who is named more exactly goes before, wherever it is: otherwise nobody could ever sign as it.
    let known = || trust.identities.iter().filter(|known| known.is(&certified));
    let exactness = |known: &&TrustedIdentity| (known.subject.is_open(), known.source_repository.is_none());
    let Some(identity) = known().filter(|known| known.may_sign_for(&certified)).min_by_key(exactness) else {
        let nearest = known().min_by_key(exactness);
        return Err(match nearest.and_then(|known| Some((known, known.source_repository.clone()?))) {
            Some((known, wanted)) => Rejection::OtherRepository {
                identity: known.name.clone(),
                wanted,
                found: certified.source_repository,
            },
            None => Rejection::UnknownIdentity { subject: certified.subject, issuer: certified.issuer },
        });
    };
    let accepted = |form| Accepted {
        origin: origin.to_owned(),
        key: identity.name.clone(),
        fingerprint: None,
        stated_time: Some(certified.signed_at.clone()),
        certificate: Some(certified.clone()),
        form,
        predicate_type: None,
        annotations: BTreeMap::new(),
        predicate: None,
    };
    match content {
        Proven::Manifest => Ok(accepted(Form::MessageBundle)),
        Proven::Envelope { payload_type, payload } => {
            let statement = statement_about(subject, &payload_type, &payload)?;
            Ok(saying(&statement, subject, accepted(envelopes)))
        }
        Proven::Simple(payload) => {
            let annotations = simple_about(subject, &payload)?;
            Ok(Accepted { annotations, ..accepted(Form::SimpleSigning) })
        }
    }
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
