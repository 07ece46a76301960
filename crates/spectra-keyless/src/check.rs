//! Checking a bundle with a certificate.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use sigstore_verify::{
    VerificationPolicy, Verifier,
    trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot},
    types::{
        Artifact, Bundle, DerCertificate, KindVersion, SignatureContent, TransparencyLogEntry,
        VerificationMaterialContent,
    },
};
use spectra_sign::{CertificateVerifier, Certified, Proof, Proven, Subject, Tagged, TaggedCertificate};
#[cfg(feature = "sign")]
use spectra_types::Digest;
use x509_cert::{Certificate, der::Decode as _, ext::pkix::SubjectAltName};

use crate::{Error, tagged};

/// The most entries and time stamps of a bundle that are looked at. There is one of each in what anybody makes.
const MOST: usize = 8;
/// The most signatures of a checkpoint: the log's, and those of its witnesses.
const WITNESSES: usize = 16;
/// The longest chain of certificates.
const CHAIN: usize = 8;

/// Checks keyless signatures against one root of trust: `trusted_root.json`, as every Sigstore instance publishes it.
///
/// | what | how |
/// |---|---|
/// | when it was signed | the log's promise over the entry's time (Rekor 1), or a time stamp (RFC 3161) of a trusted authority; the certificate has to be valid at each of them, and without any it does not hold |
/// | the certificate | a chain to a trusted authority that was valid at that time, for signing code, for one identity |
/// | that it is public | a certificate timestamp of a trusted log in it |
/// | that the use of it is public | each entry is proved to be in a tree whose root a trusted log signed |
/// | that the entry is this one | its body names the bundle's certificate, signature and payload |
/// | the signature | over the envelope or the manifest, by the certificate's key |
///
/// A statement has to be about the image besides. All of that is the library's work, except that *each* entry needs its proof, in
/// every version of bundles (the library is content with one, and in version 0.1 with a promise), that there is one identity, and
/// that an entry of the kind `intoto` has the whole certificate (the library compares its key).
///
/// One form has no proof: the certificate in the annotations of a tag, which cosign wrote before version 3. There the log's
/// promise has to do, as it does for cosign. Where something was found decides that; nothing that it says of itself does.
pub struct Keyless {
    verifier: Verifier,
    from: String,
}

impl Keyless {
    /// With the root of Sigstore's public instance as the library has it. It is as old as the library.
    pub fn public() -> Result<Self, Error> {
        Self::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT, "of the public Sigstore instance".to_owned())
    }

    /// With another root. `from` says where the text is from.
    pub fn parse(json: &str, from: String) -> Result<Self, Error> {
        let failed = |reason: String| Error::Root { from: from.clone(), reason };
        let root = TrustedRoot::from_json(json).map_err(|error| failed(error.to_string()))?;
        // The library takes empty lists, and then nothing holds, for reasons that nobody would look for here.
        for (empty, what) in [
            (root.certificate_authorities.is_empty(), "certificate authority"),
            (root.tlogs.is_empty(), "transparency log"),
            (root.ctlogs.is_empty(), "log of certificates"),
        ] {
            if empty {
                return Err(failed(format!("it has no {what}")));
            }
        }
        let verifier = Verifier::new(&root).map_err(|error| failed(error.to_string()))?;
        Ok(Self { verifier, from })
    }

    /// Where the root is from, for messages.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.from
    }

    /// Checks what was made for an image of which only the digest is known.
    #[cfg(feature = "sign")]
    pub(crate) fn prove_digest(&self, bundle: &[u8], image: &Digest) -> Result<Proof, String> {
        self.prove(&parse(bundle)?, digest(image)?, Logged::Proved)
    }

    fn prove(&self, bundle: &Bundle, artifact: Artifact<'_>, logged: Logged) -> Result<Proof, String> {
        let entries = &bundle.verification_material.tlog_entries;
        complete(bundle, entries, logged)?;
        single(bundle.signing_certificate().ok_or("it has no certificate")?.as_bytes())?;
        let found = self
            .verifier
            .verify(artifact, bundle, &VerificationPolicy::any_identity())
            .map_err(|error| error.to_string())?;
        // The policy asks for all of it; if the library should ever understand it otherwise, nothing holds.
        if !(found.certificate_verified() && found.sct_verified() && found.tlog_verified()) {
            return Err("not everything of it was checked".to_owned());
        }
        for entry in entries {
            names_certificate(entry, bundle)?;
        }
        let named = found.identity().map(|identity| identity.as_str().to_owned());
        let subject = named.filter(|name| !name.is_empty()).ok_or("the certificate names nobody")?;
        let issuer = found.issuer().filter(|issuer| !issuer.is_empty());
        let issuer = issuer.ok_or("the certificate does not say who vouched for its identity")?;
        let signed_at = found.verified_timestamps().iter().min().ok_or("nobody says when it was signed")?;
        let certified = Certified {
            subject,
            issuer: issuer.to_owned(),
            // As a DER text; the older extension has no host, and what cannot be read names none.
            source_repository: found
                .certificate()
                .and_then(|certificate| certificate.ci_claims.source_repository_uri.clone()),
            signed_at: signed_at.to_string(),
            log_index: entries.iter().find_map(answered_for),
        };
        let content = match &bundle.content {
            SignatureContent::DsseEnvelope(envelope) => Proven::Envelope {
                payload: envelope.payload.as_bytes().to_vec(),
                payload_type: envelope.payload_type.clone(),
            },
            SignatureContent::MessageSignature(_) => Proven::Manifest,
            _ => return Err("what it signs is neither an envelope nor a message".to_owned()),
        };
        Ok(Proof { certified, content })
    }
}

impl CertificateVerifier for Keyless {
    fn verify(&self, bundle: &[u8], subject: Subject<'_>) -> Result<Proof, String> {
        self.prove(&parse(bundle)?, Artifact::Blob(subject.manifest), Logged::Proved)
    }

    fn verify_tagged(
        &self,
        signed: Tagged<'_>,
        beside: &TaggedCertificate,
        subject: Subject<'_>,
    ) -> Result<Proof, String> {
        let bundle = tagged::bundle(signed, beside)?;
        match signed {
            Tagged::Envelope(_) => self.prove(&bundle, Artifact::Blob(subject.manifest), Logged::Promised),
            Tagged::Simple { payload, .. } => {
                let proof = self.prove(&bundle, Artifact::Blob(payload), Logged::Promised)?;
                // What is signed is the document, and not the manifest that the library took it for.
                Ok(Proof { content: Proven::Simple(payload.to_vec()), ..proof })
            }
        }
    }
}

/// What has to show that an entry is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logged {
    /// A proof of inclusion: for everything that was found as a bundle.
    Proved,
    /// The log's promise: for what was found under a tag, and is made into a bundle here.
    Promised,
}

fn parse(bundle: &[u8]) -> Result<Bundle, String> {
    let text = std::str::from_utf8(bundle).map_err(|error| error.to_string())?;
    Bundle::from_json(text).map_err(|error| error.to_string())
}

/// Whether everything is there that the library would do without.
fn complete(bundle: &Bundle, entries: &[TransparencyLogEntry], logged: Logged) -> Result<(), String> {
    let stamps = &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
    if entries.len() > MOST || stamps.len() > MOST {
        return Err(format!("it has more than {MOST} log entries or time stamps"));
    }
    if entries.is_empty() {
        return Err("it is in no transparency log".to_owned());
    }
    let shown = |entry: &TransparencyLogEntry| match logged {
        Logged::Proved => entry.inclusion_proof.is_some(),
        Logged::Promised => entry.inclusion_promise.is_some(),
    };
    if !entries.iter().all(shown) {
        return Err(match logged {
            Logged::Proved => "there is no proof that it is in the transparency log, only a promise at best",
            Logged::Promised => "the transparency log did not promise to enter it",
        }
        .to_owned());
    }
    // Whatever there is of these, the library may look at before it knows that anything holds.
    let signatures = |entry: &TransparencyLogEntry| {
        let lines = entry.inclusion_proof.iter().flat_map(|proof| proof.checkpoint.envelope().lines());
        lines.filter(|line| line.starts_with('\u{2014}')).count()
    };
    if entries.iter().any(|entry| signatures(entry) > WITNESSES) {
        return Err(format!("a checkpoint of it has more than {WITNESSES} signatures"));
    }
    if let VerificationMaterialContent::X509CertificateChain { certificates } =
        &bundle.verification_material.content
        && certificates.len() > CHAIN
    {
        return Err(format!("its chain has more than {CHAIN} certificates"));
    }
    Ok(())
}

/// Whether an entry of the kind `intoto` has the bundle's certificate, and not another one for the same key.
fn names_certificate(entry: &TransparencyLogEntry, bundle: &Bundle) -> Result<(), String> {
    if entry.kind_version != KindVersion::IntotoV002 {
        return Ok(());
    }
    let body: Value =
        serde_json::from_slice(entry.canonicalized_body.as_bytes()).map_err(|error| error.to_string())?;
    let text = body["spec"]["content"]["envelope"]["signatures"][0]["publicKey"].as_str();
    let pem = text.and_then(|text| BASE64.decode(text).ok()).and_then(|pem| String::from_utf8(pem).ok());
    let logged = pem.and_then(|pem| DerCertificate::from_pem(&pem).ok());
    let ours = bundle.signing_certificate().map(DerCertificate::as_bytes);
    if logged.as_ref().map(DerCertificate::as_bytes) == ours {
        Ok(())
    } else {
        Err("the entry of the log is about another certificate".to_owned())
    }
}

/// The number of an entry, where it is protected: by the promise, or by the proof where the log is one tree (Rekor 2).
fn answered_for(entry: &TransparencyLogEntry) -> Option<u64> {
    let protected = entry.inclusion_promise.is_some() || entry.kind_version == KindVersion::HashedRekordV002;
    protected.then(|| entry.log_index.get())
}

/// Whether a certificate says everything once. The library takes the first of several names, and somebody else may take the last.
fn single(certificate: &[u8]) -> Result<(), String> {
    let certificate = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let tbs = &certificate.tbs_certificate;
    // An extension that is there twice is an error here.
    let names = tbs.get::<SubjectAltName>().map_err(|error| error.to_string())?;
    let count = names.map_or(0, |(_, names)| names.0.len());
    if count != 1 {
        return Err(format!("the certificate has {count} names, expected 1"));
    }
    let mut extensions: Vec<_> = tbs.extensions.iter().flatten().map(|extension| extension.extn_id).collect();
    let all = extensions.len();
    extensions.sort_unstable();
    extensions.dedup();
    if extensions.len() == all { Ok(()) } else { Err("the certificate has an extension twice".to_owned()) }
}

#[cfg(feature = "sign")]
fn digest(image: &Digest) -> Result<Artifact<'static>, String> {
    use sigstore_verify::types::{ArtifactDigest, HashAlgorithm};
    let algorithm = match image.algorithm() {
        spectra_types::Algorithm::Sha256 => HashAlgorithm::Sha2256,
        spectra_types::Algorithm::Sha512 => HashAlgorithm::Sha2512,
    };
    let digest = ArtifactDigest::new(algorithm, bytes(image)).map_err(|error| error.to_string())?;
    Ok(digest.into())
}

/// What a digest's digits stand for.
#[cfg(feature = "sign")]
pub(crate) fn bytes(digest: &Digest) -> Vec<u8> {
    let digit = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
    // A digest has an even number of small digits.
    digest.hex().as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
