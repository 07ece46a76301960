//! A certificate authority with its log of certificates, and the file that trusts them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Key, Log, base64,
    der::{self, extension, oid, sequence, utf8, value},
    sha256,
};

const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
const ORGANISATION: &str = "spectra.test";

/// What a certificate is asked for.
pub struct Issue<'a> {
    /// Who: an address or a URI.
    pub identity: &'a str,
    /// Who vouches for that.
    pub issuer: &'a str,
    /// For whose code: the URI of a repository on GitHub.
    pub source_repository: Option<&'a str>,
    /// The key, a subject public key info.
    pub key: &'a [u8],
    /// From when, for ten minutes.
    pub from: Timestamp,
    /// What is wrong with it.
    pub oddity: Oddity,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oddity {
    /// Nothing.
    #[default]
    None,
    /// No log of certificates has seen it.
    NoSct,
    /// A log that nobody knows has seen it.
    ForeignSct,
    /// The log has seen another certificate.
    SctOfAnother,
    /// It is for servers.
    ForServers,
    /// It is of two.
    TwoIdentities,
    /// It says nothing of an issuer.
    NoIssuer,
    /// It names its repository as certificates did before 2023, and only so.
    OldRepository,
    /// It names its repository without the DER around it.
    RawRepository,
    /// It names its repository, and another one in the same extension before.
    TwoRepositories,
}

/// The authority.
pub struct Authority {
    intermediate: Key,
    certificates: Key,
    foreign: Key,
    intermediate_der: Vec<u8>,
    root_der: Vec<u8>,
    since: Timestamp,
    /// The transparency log.
    pub log: Log,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, for a day before and after now.
    #[must_use]
    pub fn new() -> Self {
        let [root, intermediate, certificates, foreign] = [(); 4].map(|()| Key::generate());
        let since = Timestamp::now() - Duration::from_hours(24);
        let until = Timestamp::now() + Duration::from_hours(24);
        let authority = |name: &str, key: &Key, length: &[u8]| {
            [
                extension("2.5.29.15", true, &[0x03, 0x02, 0x01, 0x06]),
                extension("2.5.29.19", true, &sequence(&[&[0x01, 0x01, 0xff], length])),
                extension("2.5.29.14", false, &value(0x04, &sha256(name.as_bytes())[..20])),
                extension("2.5.29.37", false, &sequence(&[&oid(CODE_SIGNING)])),
                key.spki(),
            ]
        };
        let certificate = |name: &str, key: &Key, length: &[u8]| {
            let [usage, constraints, id, purpose, spki] = authority(name, key, length);
            let whole = [usage, constraints, id, purpose].concat();
            let tbs =
                to_be_signed(&distinguished("root"), &distinguished(name), (since, until), &spki, &whole);
            signed(&tbs, &root)
        };
        let root_der = certificate("root", &root, &[]);
        let intermediate_der = certificate("intermediate", &intermediate, &[0x02, 0x01, 0x00]);
        Self { intermediate, certificates, foreign, intermediate_der, root_der, since, log: Log::new() }
    }

    /// A certificate in DER.
    #[must_use]
    pub fn issue(&self, ask: &Issue<'_>) -> Vec<u8> {
        let general = |name: &str| value(if name.contains("://") { 0x86 } else { 0x81 }, name.as_bytes());
        let mut names = general(ask.identity);
        if ask.oddity == Oddity::TwoIdentities {
            names.extend(general("somebody@else.test"));
        }
        let purpose = if ask.oddity == Oddity::ForServers { SERVER_AUTH } else { CODE_SIGNING };
        let mut extensions = [
            extension("2.5.29.15", true, &[0x03, 0x02, 0x07, 0x80]),
            extension("2.5.29.37", false, &sequence(&[&oid(purpose)])),
            extension("2.5.29.17", true, &sequence(&[&names])),
        ]
        .concat();
        if ask.oddity != Oddity::NoIssuer {
            extensions.extend(extension("1.3.6.1.4.1.57264.1.1", false, ask.issuer.as_bytes()));
            extensions.extend(extension("1.3.6.1.4.1.57264.1.8", false, &utf8(ask.issuer)));
        }
        if let Some(repository) = ask.source_repository {
            let old = repository.strip_prefix("https://github.com/").expect("a repository on GitHub");
            let uri = |content: &[u8]| extension("1.3.6.1.4.1.57264.1.12", false, content);
            extensions.extend(extension("1.3.6.1.4.1.57264.1.5", false, old.as_bytes()));
            extensions.extend(match ask.oddity {
                Oddity::OldRepository => Vec::new(),
                Oddity::RawRepository => uri(repository.as_bytes()),
                Oddity::TwoRepositories => {
                    [uri(&utf8("https://github.com/somebody/else")), uri(&utf8(repository))].concat()
                }
                _ => uri(&utf8(repository)),
            });
        }
        let times = (ask.from, ask.from + Duration::from_mins(10));
        let tbs = |extensions: &[u8]| {
            to_be_signed(&distinguished("intermediate"), &sequence(&[]), times, ask.key, extensions)
        };
        if ask.oddity != Oddity::NoSct {
            let seen =
                if ask.oddity == Oddity::SctOfAnother { b"another".to_vec() } else { tbs(&extensions) };
            let log = if ask.oddity == Oddity::ForeignSct { &self.foreign } else { &self.certificates };
            extensions.extend(extension("1.3.6.1.4.1.11129.2.4.2", false, &self.sct(log, &seen, ask.from)));
        }
        signed(&tbs(&extensions), &self.intermediate)
    }

    /// The chain above a certificate, in DER: the intermediate authority and the root.
    #[must_use]
    pub fn chain(&self) -> [&[u8]; 2] {
        [&self.intermediate_der, &self.root_der]
    }

    /// A list of one signed certificate timestamp (RFC 6962 §3.3), in its octet string.
    fn sct(&self, log: &Key, tbs: &[u8], at: Timestamp) -> Vec<u8> {
        let time = u64::try_from(at.as_millisecond()).unwrap().to_be_bytes();
        let issuer = sha256(&self.intermediate.spki());
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let message = [&[0, 0], time.as_slice(), &[0, 1], &issuer, &length[1..], tbs, &[0, 0]].concat();
        let signature = log.sign(&message);
        let of = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
        let id = sha256(&log.spki());
        let sct = [&[0], id.as_slice(), &time, &[0, 0], &[4, 3], &of(&signature), &signature].concat();
        let entry = [of(&sct).as_slice(), &sct].concat();
        value(0x04, &[of(&entry).as_slice(), &entry].concat())
    }

    /// The text of `trusted_root.json`.
    #[must_use]
    pub fn trusted_root(&self) -> Value {
        let since = json!({ "start": self.since.to_string() });
        let log = |url: &str, spki: Vec<u8>| {
            json!({
                "baseUrl": url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64(&spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since,
                },
                "logId": { "keyId": base64(&sha256(&spki)) },
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log("https://rekor.spectra.test", self.log.key.spki())],
            "certificateAuthorities": [{
                "subject": { "organization": ORGANISATION, "commonName": "root" },
                "uri": "https://fulcio.spectra.test",
                "certChain": { "certificates":
                    self.chain().map(|certificate| json!({ "rawBytes": base64(certificate) })) },
                "validFor": since,
            }],
            "ctlogs": [log("https://ctfe.spectra.test", self.certificates.spki())],
            "timestampAuthorities": [],
        })
    }
}

fn distinguished(name: &str) -> Vec<u8> {
    let part = |id: &str, text: &str| value(0x31, &sequence(&[&oid(id), &utf8(text)]));
    sequence(&[&part("2.5.4.10", ORGANISATION), &part("2.5.4.3", name)])
}

fn to_be_signed(
    issuer: &[u8],
    subject: &[u8],
    (from, until): (Timestamp, Timestamp),
    spki: &[u8],
    extensions: &[u8],
) -> Vec<u8> {
    // Positive, and different for each key and time.
    let mut serial = sha256(&[spki, &from.as_second().to_be_bytes()].concat())[..16].to_vec();
    serial[0] = 0x11;
    sequence(&[
        &value(0xa0, &[0x02, 0x01, 0x02]),
        &value(0x02, &serial),
        &sequence(&[&oid(ECDSA_WITH_SHA256)]),
        issuer,
        &sequence(&[&der::time(from), &der::time(until)]),
        subject,
        spki,
        &value(0xa3, &sequence(&[extensions])),
    ])
}

fn signed(tbs: &[u8], key: &Key) -> Vec<u8> {
    let signature = [&[0], key.sign(tbs).as_slice()].concat();
    sequence(&[tbs, &sequence(&[&oid(ECDSA_WITH_SHA256)]), &value(0x03, &signature)])
}
