//! What cosign attached before version 3: a layer of the image under the tag `sha256-….sig` or `….att`, with the certificate, its
//! chain and the log's promise in annotations. It is made into a bundle of version 0.1, which is the one that a promise does for,
//! so that the library checks it as it checks every other one. Nothing is believed here.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Value, json};
use sigstore_verify::types::{Bundle, DerCertificate, Sha256Hash};
use spectra_sign::{Tagged, TaggedCertificate};

const END: &str = "-----END CERTIFICATE-----";

/// The annotation with the entry of the log.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Annotation {
    signed_entry_timestamp: String,
    payload: Payload,
}

/// What the promise is over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// What an entry is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    kind: String,
    api_version: String,
}

/// The bundle that says the same.
pub(crate) fn bundle(signed: Tagged<'_>, beside: &TaggedCertificate) -> Result<Bundle, String> {
    let [certificate] = certificates(&beside.certificate)?.try_into().map_err(|found: Vec<_>| {
        format!("there are {} certificates where the one that signed is, expected 1", found.len())
    })?;
    let chain = [vec![certificate], certificates(&beside.chain)?].concat();
    if beside.bundle.is_empty() {
        return Err("it is in no transparency log".to_owned());
    }
    let wrong = |error: serde_json::Error| format!("the entry of the log cannot be read: {error}");
    let Annotation { signed_entry_timestamp, payload } =
        serde_json::from_str(&beside.bundle).map_err(wrong)?;
    let body = BASE64.decode(&payload.body).map_err(|error| format!("the entry of the log: {error}"))?;
    let Kind { kind, api_version } = serde_json::from_slice(&body).map_err(wrong)?;
    if ![("hashedrekord", "0.0.1"), ("dsse", "0.0.1"), ("intoto", "0.0.2")]
        .contains(&(kind.as_str(), api_version.as_str()))
    {
        return Err(format!("entries of the kind `{kind}` {api_version} are not read"));
    }
    let log = Sha256Hash::from_hex(&payload.log_id).map_err(|error| format!("the log's number: {error}"))?;
    let (part, content) = match signed {
        Tagged::Simple { signature, .. } => ("messageSignature", json!({ "signature": signature })),
        Tagged::Envelope(envelope) => {
            let envelope: Value = serde_json::from_slice(envelope)
                .map_err(|error| format!("the envelope cannot be read: {error}"))?;
            ("dsseEnvelope", envelope)
        }
    };
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "verificationMaterial": {
            "x509CertificateChain": { "certificates": chain },
            "tlogEntries": [{
                "logIndex": payload.log_index.to_string(),
                "logId": { "keyId": log.to_base64() },
                "kindVersion": { "kind": kind, "version": api_version },
                "integratedTime": payload.integrated_time.to_string(),
                "inclusionPromise": { "signedEntryTimestamp": signed_entry_timestamp },
                "canonicalizedBody": payload.body,
            }],
        },
        part: content,
    });
    Bundle::from_json(&bundle.to_string()).map_err(|error| error.to_string())
}

/// The certificates of a text, as a bundle has them.
fn certificates(pem: &str) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some((one, behind)) = rest.split_once(END) {
        let certificate = DerCertificate::from_pem(&format!("{one}{END}\n"))
            .map_err(|error| format!("a certificate beside it cannot be read: {error}"))?;
        found.push(json!({ "rawBytes": certificate.to_base64() }));
        rest = behind;
    }
    if rest.trim().is_empty() {
        Ok(found)
    } else {
        Err("there is more beside it than certificates".to_owned())
    }
}
