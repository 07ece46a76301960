//! Approvals: signed statements in the journal, and how they are counted.
//!
//! An approval is a record `approval.given` of the service's subject, a refusal is `approval.denied`; the body of both is
//! [`Signed`]. It names the digest and the plan, so it is of no use for another digest or another plan: nothing has to be
//! taken back when the candidate changes.
//!
//! # What is signed
//!
//! Ed25519 (RFC 8032, without pre-hashing) over the bytes `spectra-approval-1`, and then, each as the number of its bytes (8
//! bytes, most significant first) and the bytes themselves: `given` or `denied`, the project, the environment, the service,
//! the digest (`sha256:…`), the plan hash (64 hexadecimal characters), the approver's name, and the time in RFC 3339 as
//! the record has it. A change of this list changes the number at the beginning of the text.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spectra_journal::{Draft, Journal, Query, Record};
use spectra_rollout::spec::{ApprovalRule, Problem};
use spectra_rollout::{Approval, Place, RolloutRequest};
use spectra_types::{Digest, Secret};

use crate::error::Error;
use crate::kinds;

/// The beginning of what is signed.
const CONTEXT: &[u8] = b"spectra-approval-1";
/// The DER of an Ed25519 public key up to the key itself (RFC 8410), as `openssl pkey -pubout` writes it.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The key of an approver. `Debug` shows its public half.
pub struct Key(Ed25519KeyPair);

/// A text is no Ed25519 key. It is not repeated: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No private key.
    #[error(
        "it is no Ed25519 private key: PKCS#8 (PEM or DER) or the 32 bytes of the seed in base64 are read; `openssl genpkey \
         -algorithm ed25519` makes one"
    )]
    Private,
    /// No public key.
    #[error(
        "it is no Ed25519 public key: its 32 bytes in base64 are read, or those of `openssl pkey -pubout -outform DER`"
    )]
    Public,
    /// The system has no randomness to make a key of.
    #[error("no key could be made")]
    Generate,
}

impl Key {
    /// Makes a new one.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| KeyError::Generate)
    }

    /// Reads a private key: PKCS#8 as PEM or DER (with or without the public half), or the seed in base64.
    pub fn parse(text: &Secret<Vec<u8>>) -> Result<Self, KeyError> {
        let bytes = text.expose();
        let Ok(text) = std::str::from_utf8(bytes) else { return from_der(bytes) };
        let text = text.trim();
        let body = match text.strip_prefix("-----BEGIN PRIVATE KEY-----") {
            Some(rest) => rest.strip_suffix("-----END PRIVATE KEY-----").ok_or(KeyError::Private)?,
            None => text,
        };
        // A secret, so that the redactor knows it without its frame too, and it is wiped.
        let body = Secret::new(body.split_ascii_whitespace().collect::<String>());
        let Ok(decoded) = BASE64.decode(body.expose()).map(Secret::new) else { return from_der(bytes) };
        if decoded.expose().len() == 32 {
            return Ed25519KeyPair::from_seed_unchecked(decoded.expose())
                .map(Self)
                .map_err(|_| KeyError::Private);
        }
        from_der(decoded.expose())
    }

    /// The public key, base64, as an approval rule names it.
    #[must_use]
    pub fn public_key(&self) -> String {
        BASE64.encode(self.0.public_key().as_ref())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public_key())
    }
}

fn from_der(der: &[u8]) -> Result<Key, KeyError> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Key).map_err(|_| KeyError::Private)
}

/// The bytes of a public key.
pub fn public_key(text: &str) -> Result<[u8; 32], KeyError> {
    let bytes = BASE64.decode(text.trim()).map_err(|_| KeyError::Public)?;
    let bytes = bytes.strip_prefix(&SPKI).unwrap_or(&bytes);
    bytes.try_into().map_err(|_| KeyError::Public)
}

/// The approvers of a rule whose keys are none; `at` is the path of the rule.
pub(crate) fn problems(rule: &ApprovalRule, at: &str) -> Vec<Problem> {
    let wrong = rule.approvers.iter().enumerate().filter_map(|(index, approver)| {
        let error = public_key(&approver.public_key).err()?;
        let path = format!("{at}.approvers[{index}].public_key");
        Some(Problem { path, message: error.to_string() })
    });
    wrong.collect()
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// `approval.given`
    Given,
    /// `approval.denied`
    Denied,
}

impl Decision {
    /// The kind of its record.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Given => kinds::APPROVAL_GIVEN,
            Self::Denied => kinds::APPROVAL_DENIED,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Denied => "denied",
        }
    }
}

/// What somebody says: about this digest at this place by this plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Yes or no.
    pub decision: Decision,
    /// Where the candidate is to run.
    pub place: Place,
    /// The candidate.
    pub digest: Digest,
    /// How it gets there: [`RolloutRequest::plan_hash`].
    pub plan_hash: String,
    /// Who says it.
    pub approver: String,
    /// When, by the approver's clock.
    pub at: Timestamp,
}

impl Statement {
    /// About a request.
    #[must_use]
    pub fn about(request: &RolloutRequest, decision: Decision, approver: &str, at: Timestamp) -> Self {
        Self {
            decision,
            place: request.place.clone(),
            digest: request.candidate.digest().clone(),
            plan_hash: request.plan_hash(),
            approver: approver.to_owned(),
            at,
        }
    }

    fn text(&self) -> Vec<u8> {
        let mut text = CONTEXT.to_vec();
        for field in [
            self.decision.word(),
            self.place.project.as_str(),
            self.place.environment.as_str(),
            self.place.service.as_str(),
            &self.digest.to_string(),
            &self.plan_hash,
            &self.approver,
            &self.at.to_string(),
        ] {
            // A length of more than 64 bits does not exist.
            text.extend((field.len() as u64).to_be_bytes());
            text.extend(field.bytes());
        }
        text
    }
}

/// A signed statement: the body of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The version of this form.
    pub version: u32,
    /// Yes or no; the record's kind says the same.
    pub decision: Decision,
    /// Where the candidate is to run.
    pub place: Place,
    /// The candidate.
    pub digest: Digest,
    /// How it gets there.
    pub plan_hash: String,
    /// Who says it.
    pub approver: String,
    /// When, by the approver's clock.
    pub at: Timestamp,
    /// The key that signed, base64.
    pub public_key: String,
    /// The signature, base64.
    pub signature: String,
}

impl Signed {
    /// The statement without its signature.
    #[must_use]
    pub fn statement(&self) -> Statement {
        Statement {
            decision: self.decision,
            place: self.place.clone(),
            digest: self.digest.clone(),
            plan_hash: self.plan_hash.clone(),
            approver: self.approver.clone(),
            at: self.at,
        }
    }

    /// Whether the signature is that of the key over the statement.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        let (Ok(key), Ok(signature)) = (public_key(&self.public_key), BASE64.decode(&self.signature)) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, key).verify(&self.statement().text(), &signature).is_ok()
    }
}

/// Signs a statement.
#[must_use]
pub fn sign(key: &Key, statement: Statement) -> Signed {
    let signature = BASE64.encode(key.0.sign(&statement.text()));
    let Statement { decision, place, digest, plan_hash, approver, at } = statement;
    let public_key = key.public_key();
    Signed { version: 1, decision, place, digest, plan_hash, approver, at, public_key, signature }
}

/// Writes a statement into the journal, if its signature is right.
///
/// Who may approve is not asked here: the rule of the rollout says so when approvals are counted.
pub async fn record(journal: &Journal, signed: &Signed) -> Result<Record, Error> {
    if !signed.is_genuine() {
        return Err(Error::Signature { approver: signed.approver.clone() });
    }
    let body =
        serde_json::to_value(signed).map_err(|source| Error::Encode { what: "an approval", source })?;
    let subject = signed.place.subject();
    Ok(journal
        .append(Draft { subject, rollout: None, kind: signed.decision.kind().to_owned(), body })
        .await?)
}

/// Why a statement does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// It cannot be read.
    Unreadable(String),
    /// It is about another place.
    OtherPlace,
    /// It is about another digest.
    OtherDigest(Digest),
    /// It is about the same digest, by another plan.
    OtherPlan(String),
    /// No approver has that key.
    UnknownKey,
    /// The signature is not that of the key over the statement.
    BadSignature,
    /// The same person said it already.
    SamePerson,
    /// The same record was there before.
    Repeated,
    /// A later refusal took it back.
    BeforeDenial(String),
    /// GitHub's review is of no use here.
    GitHub(String),
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "the record cannot be read: {error}"),
            Self::OtherPlace => f.write_str("it is about another project, environment or service"),
            Self::OtherDigest(digest) => write!(f, "it is about another digest, `{digest}`"),
            Self::OtherPlan(hash) => write!(f, "it is about another plan, `{hash}`"),
            Self::UnknownKey => f.write_str("its key is not that of an approver"),
            Self::BadSignature => f.write_str("its signature is not right"),
            Self::SamePerson => f.write_str("the same person counts once"),
            Self::Repeated => f.write_str("it is a copy of an earlier record"),
            Self::BeforeDenial(by) => write!(f, "{by} denied it afterwards"),
            Self::GitHub(why) => f.write_str(why),
        }
    }
}

/// Statements as they were counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Who approved, since the last refusal.
    pub given: Vec<String>,
    /// Who refused last.
    pub denied: Option<String>,
    /// Who does not count, and why.
    pub ignored: Vec<(String, Ignored)>,
}

impl Tally {
    /// Counts one more approval. A person counts once, whichever way they approve.
    pub(crate) fn give(&mut self, who: &str) {
        if self.given.iter().any(|other| person(other) == person(who)) {
            self.ignored.push((who.to_owned(), Ignored::SamePerson));
        } else {
            self.given.push(who.to_owned());
        }
    }

    /// A refusal: what was given before does not count any more.
    pub(crate) fn deny(&mut self, who: &str) {
        for before in self.given.drain(..) {
            self.ignored.push((before, Ignored::BeforeDenial(who.to_owned())));
        }
        self.denied = Some(who.to_owned());
    }

    /// What it means for the request: a refusal stands until as many as are required approve after it.
    #[must_use]
    pub fn approval(&self, request: &RolloutRequest) -> Approval {
        let Some(rule) = &request.approval else { return Approval::Given { by: Vec::new() } };
        if usize::try_from(rule.required).is_ok_and(|required| self.given.len() >= required) {
            return Approval::Given { by: self.given.clone() };
        }
        match &self.denied {
            Some(by) => Approval::Denied { by: by.clone() },
            None => Approval::Missing { message: self.missing(request, rule) },
        }
    }

    fn missing(&self, request: &RolloutRequest, rule: &ApprovalRule) -> String {
        let mut words = format!("{} of {} approval(s) are there", self.given.len(), rule.required);
        if !self.given.is_empty() {
            let _ = write!(words, " ({})", self.given.join(", "));
        }
        let mut may: Vec<String> = rule.approvers.iter().map(|approver| approver.name.clone()).collect();
        may.extend(
            rule.github_environment
                .iter()
                .map(|environment| format!("the reviewers of GitHub environment `{environment}`")),
        );
        // Writing to a string cannot fail.
        let _ = write!(
            words,
            "; these may approve: {}. What has to be approved is `{}` by plan `{}`: `railway-deployer rollout approve`",
            may.join(", "),
            request.candidate.digest(),
            request.plan_hash()
        );
        let ignored: Vec<_> = self.ignored.iter().map(|(who, why)| format!("{who}: {why}")).collect();
        if !ignored.is_empty() {
            let _ = write!(words, ". These do not count: {}", ignored.join("; "));
        }
        words
    }
}

/// One person, whether GitHub or a key says who it is.
fn person(name: &str) -> String {
    let name = name.trim().to_lowercase();
    name.strip_prefix("github:").map(str::to_owned).unwrap_or(name)
}

/// How far the approval of a request has come, by the journal.
pub async fn standing(journal: &Journal, request: &RolloutRequest) -> Result<Approval, Error> {
    Ok(tally(journal, request).await?.approval(request))
}

/// The journal's statements about a request, counted.
pub async fn tally(journal: &Journal, request: &RolloutRequest) -> Result<Tally, Error> {
    let Some(rule) = &request.approval else { return Ok(Tally::default()) };
    let query = Query {
        subject: Some(request.place.subject()),
        kinds: vec![kinds::APPROVAL_GIVEN.to_owned(), kinds::APPROVAL_DENIED.to_owned()],
        ..Query::default()
    };
    let records = journal.records(&query).await?;
    Ok(count(&records, request, rule))
}

fn count(records: &[Record], request: &RolloutRequest, rule: &ApprovalRule) -> Tally {
    let mut tally = Tally::default();
    let mut seen = HashSet::new();
    let plan_hash = request.plan_hash();
    for record in records {
        let signed: Signed = match serde_json::from_value(record.body.clone()) {
            Ok(signed) => signed,
            Err(error) => {
                tally
                    .ignored
                    .push((format!("record {}", record.seq), Ignored::Unreadable(error.to_string())));
                continue;
            }
        };
        match judge(record, &signed, request, &plan_hash, rule) {
            Err(why) => tally.ignored.push((signed.approver, why)),
            // Whoever writes an old record anew brings no refused approval back.
            Ok(_) if !seen.insert(signed.statement().text()) => {
                tally.ignored.push((signed.approver, Ignored::Repeated));
            }
            Ok(name) => match signed.decision {
                Decision::Given => tally.give(name),
                Decision::Denied => tally.deny(name),
            },
        }
    }
    tally
}

/// The name of the approver whose statement it is, as the rule has it.
fn judge<'r>(
    record: &Record,
    signed: &Signed,
    request: &RolloutRequest,
    plan_hash: &str,
    rule: &'r ApprovalRule,
) -> Result<&'r str, Ignored> {
    if signed.version != 1 {
        return Err(Ignored::Unreadable(format!("version {} is not known", signed.version)));
    }
    if signed.decision.kind() != record.kind {
        return Err(Ignored::Unreadable(format!("its kind is `{}`", record.kind)));
    }
    if signed.place != request.place {
        return Err(Ignored::OtherPlace);
    }
    if signed.digest != *request.candidate.digest() {
        return Err(Ignored::OtherDigest(signed.digest.clone()));
    }
    if signed.plan_hash != plan_hash {
        return Err(Ignored::OtherPlan(signed.plan_hash.clone()));
    }
    let key = public_key(&signed.public_key).map_err(|_| Ignored::UnknownKey)?;
    let known = rule.approvers.iter().find(|approver| public_key(&approver.public_key) == Ok(key));
    let known = known.ok_or(Ignored::UnknownKey)?;
    if !signed.is_genuine() {
        return Err(Ignored::BadSignature);
    }
    Ok(&known.name)
}

#[cfg(test)]
#[path = "approval_tests.rs"]
mod tests;
