//! Making a keyless signature: key, certificate, signature, entry, bundle, and the check of all of it.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spectra_sign::{
    Algorithm, BUNDLE_MEDIA_TYPE, Certified, KeyError, Proof, SigningKey, Statement, seal_statement,
};
use spectra_types::{Digest, Secret};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
};

use crate::{
    Error, IdentityToken, Keyless,
    check::bytes,
    service::{Url, client, read},
};

/// The public authority.
pub const FULCIO: &str = "https://fulcio.sigstore.dev";
/// The public log.
pub const REKOR: &str = "https://rekor.sigstore.dev";

/// Who is asked.
#[derive(Clone, Debug)]
pub struct Services {
    /// The authority that issues the certificate.
    pub fulcio: Url,
    /// The log that the signature is entered into.
    pub rekor: Url,
}

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The bundle, as JSON.
    pub bundle: Vec<u8>,
    /// What it will be known for.
    pub certified: Certified,
}

impl Services {
    /// Signs a statement about an image. What was made is checked before it is returned: what nobody could verify is of no use.
    pub async fn sign(
        &self,
        token: &IdentityToken,
        statement: &Statement,
        image: &Digest,
        root: &Keyless,
    ) -> Result<Made, Error> {
        let failed = |source: KeyError| {
            Error::Signing(spectra_sign::Error::Key { from: "of this signature".to_owned(), source })
        };
        // It lives as long as this call.
        let key = SigningKey::generate(Algorithm::EcdsaP256).map_err(failed)?;
        let proof = key.sign(token.challenge()).map_err(failed)?;
        let certificate = self.certificate(token, &key, &proof).await?;
        let envelope = seal_statement(&key, statement)?;
        drop(key);
        let entry = self.enter(&envelope, &certificate).await?;
        let bundle = json!({
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": { "rawBytes": body_of(&certificate) },
                "tlogEntries": [entry],
                "timestampVerificationData": {},
            },
            "dsseEnvelope": serde_json::from_str::<Value>(&envelope).map_err(spectra_sign::Error::Encode)?,
        });
        let bundle = serde_json::to_vec(&bundle).map_err(spectra_sign::Error::Encode)?;
        match root.prove_digest(&bundle, image) {
            Ok(Proof { certified, .. }) => Ok(Made { bundle, certified }),
            Err(reason) => Err(Error::DoesNotHold { from: root.root().to_owned(), reason }),
        }
    }

    /// A certificate for the key, in PEM.
    async fn certificate(
        &self,
        token: &IdentityToken,
        key: &SigningKey,
        proof: &[u8],
    ) -> Result<String, Error> {
        let url = &self.fulcio;
        let asked = CertificateRequest {
            credentials: Credentials { oidc_identity_token: token.raw().expose() },
            public_key_request: PublicKeyRequest {
                public_key: PublicKey { algorithm: "ECDSA", content: key.public().to_pem() },
                proof_of_possession: BASE64.encode(proof),
            },
        };
        // The token is in it.
        let body = Secret::new(serde_json::to_vec(&asked).map_err(spectra_sign::Error::Encode)?);
        let request = client(url)?.post(url.at("/api/v2/signingCert"));
        let request = request.header("content-type", "application/json").body(body.expose().clone());
        let answer = read(url, request).await?;
        let answer: CertificateAnswer = understood(url, &answer)?;
        let chain = answer.signed_certificate_embedded_sct.map(|signed| signed.chain.certificates);
        // A timestamp beside the certificate has no place in a bundle.
        let chain = chain.ok_or_else(|| nonsense(url, "there is no certificate with a timestamp in it"))?;
        let leaf = chain.into_iter().next().ok_or_else(|| nonsense(url, "there is no certificate in it"))?;
        // Before anything becomes public.
        match key_of(&leaf) {
            Some(certified) if certified == key.public().der() => Ok(leaf),
            Some(_) => Err(nonsense(url, "the certificate is for another key")),
            None => Err(nonsense(url, "the certificate is none")),
        }
    }

    /// Enters the signature into the log. The result is the entry as a bundle has it.
    async fn enter(&self, envelope: &str, certificate: &str) -> Result<Value, Error> {
        let url = &self.rekor;
        let proposed = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": { "proposedContent": { "envelope": envelope, "verifiers": [BASE64.encode(certificate)] } },
        });
        let request = client(url)?.post(url.at("/api/v1/log/entries")).json(&proposed);
        let answer = read(url, request).await?;
        let mut answer: std::collections::BTreeMap<String, Entered> = understood(url, &answer)?;
        let (Some((_, entered)), None) = (answer.pop_first(), answer.pop_first()) else {
            return Err(nonsense(url, "expected one entry"));
        };
        entered.in_bundle().ok_or_else(|| nonsense(url, "a hash in it is none"))
    }
}

fn nonsense(url: &Url, reason: &str) -> Error {
    Error::Answer { service: url.service(), url: url.to_string(), reason: reason.to_owned() }
}

fn understood<'a, T: Deserialize<'a>>(url: &Url, answer: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(answer).map_err(|error| nonsense(url, &error.to_string()))
}

/// What is between the lines of PEM.
fn body_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect()
}

/// The subject public key info of a certificate in PEM.
fn key_of(pem: &str) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(&BASE64.decode(body_of(pem)).ok()?).ok()?;
    certificate.tbs_certificate.subject_public_key_info.to_der().ok()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateRequest<'a> {
    credentials: Credentials<'a>,
    public_key_request: PublicKeyRequest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credentials<'a> {
    oidc_identity_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyRequest {
    public_key: PublicKey,
    proof_of_possession: String,
}

#[derive(Serialize)]
struct PublicKey {
    algorithm: &'static str,
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateAnswer {
    signed_certificate_embedded_sct: Option<SignedCertificate>,
}

#[derive(Deserialize)]
struct SignedCertificate {
    chain: Chain,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

/// An entry as Rekor answers with it: hashes are in hexadecimal digits there, and in base64 in bundles.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entered {
    body: String,
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: Verification,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    inclusion_proof: InclusionProof,
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionProof {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

impl Entered {
    fn in_bundle(&self) -> Option<Value> {
        let proof = &self.verification.inclusion_proof;
        let hashes = proof.hashes.iter().map(|hash| from_hex(hash)).collect::<Option<Vec<_>>>()?;
        Some(json!({
            "logIndex": self.log_index.to_string(),
            "logId": { "keyId": from_hex(&self.log_id)? },
            "kindVersion": { "kind": "dsse", "version": "0.0.1" },
            "integratedTime": self.integrated_time.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": self.verification.signed_entry_timestamp },
            "inclusionProof": {
                "logIndex": proof.log_index.to_string(),
                "rootHash": from_hex(&proof.root_hash)?,
                "treeSize": proof.tree_size.to_string(),
                "hashes": hashes,
                "checkpoint": { "envelope": proof.checkpoint },
            },
            "canonicalizedBody": self.body,
        }))
    }
}

/// A hash of hexadecimal digits, in base64.
fn from_hex(hex: &str) -> Option<String> {
    let digest: Digest = format!("sha256:{hex}").parse().ok()?;
    Some(BASE64.encode(bytes(&digest)))
}
