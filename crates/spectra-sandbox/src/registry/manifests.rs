//! Manifests: image manifests and indexes of OCI and Docker, by tag and by digest.

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use spectra_types::{Algorithm, Digest};

use super::{
    CONTENT_DIGEST, OCI_SUBJECT, Referrers, Registry, ViolationKind,
    error::{ApiError, Code},
    name::{Reference, RepositoryName},
    reply,
    store::{StoredManifest, digest_of},
    text_header, unsupported,
};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The parts of a manifest that a registry has to understand.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u64,
    media_type: Option<String>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    pub(crate) subject: Option<Descriptor>,
    pub(crate) annotations: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    urls: Vec<String>,
}

/// The shapes that the registry takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Index,
}

impl Registry {
    /// `GET`, `HEAD`, `PUT` and `DELETE` of a manifest.
    pub(super) async fn manifest(
        &self,
        parts: &Parts,
        method: &str,
        name: &RepositoryName,
        reference: &str,
        body: Body,
    ) -> Result<Response, ApiError> {
        let Some(reference) = Reference::parse(reference) else {
            let code = if reference.contains(':') { Code::DigestInvalid } else { Code::TagInvalid };
            return Err(ApiError::new(code, format!("`{reference}` is neither a tag nor a digest")));
        };
        match method {
            "GET" => self.get_manifest(parts, name, &reference).await,
            "PUT" => self.put_manifest(parts, name, &reference, body).await,
            "DELETE" => self.delete_manifest(name, &reference).await,
            _ => Err(unsupported(&parts.method)),
        }
    }

    async fn find(&self, name: &RepositoryName, reference: &Reference) -> Result<StoredManifest, ApiError> {
        let digest = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(tag) => self.0.store.tag(name, tag).await?,
        };
        let manifest = match digest {
            Some(digest) => self.0.store.manifest(name, &digest).await?,
            None => None,
        };
        manifest.ok_or_else(|| manifest_unknown(name, reference))
    }

    async fn get_manifest(
        &self,
        parts: &Parts,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Response, ApiError> {
        let manifest = self.find(name, reference).await?;
        let etag = format!("\"{}\"", manifest.digest);
        let mut headers = vec![(CONTENT_DIGEST, manifest.digest.to_string()), (header::ETAG, etag.clone())];
        let known = text_header(parts, &header::IF_NONE_MATCH)
            .is_some_and(|known| known.split(',').any(|known| known.trim() == etag));
        if known {
            return Ok(reply(StatusCode::NOT_MODIFIED, &headers, Body::empty()));
        }
        headers.push((header::CONTENT_TYPE, manifest.media_type));
        headers.push((header::CONTENT_LENGTH, manifest.body.len().to_string()));
        Ok(reply(StatusCode::OK, &headers, manifest.body.into()))
    }

    async fn put_manifest(
        &self,
        parts: &Parts,
        name: &RepositoryName,
        reference: &Reference,
        body: Body,
    ) -> Result<Response, ApiError> {
        let shared = &self.0;
        let body = read_manifest(body, shared.max_manifest).await?;
        let stated = text_header(parts, &header::CONTENT_TYPE);
        let (manifest, kind, media_type) = parse(&body, stated.as_deref())?;
        if stated.is_none() {
            let detail = format!("a `{media_type}` without `Content-Type`");
            shared.violations.record(ViolationKind::ContentTypeMissing, name, detail.as_str());
            return Err(ApiError::new(Code::ManifestInvalid, detail));
        }
        let referrers = self.quirks().referrers;
        if manifest.subject.is_some() && referrers == Referrers::Refused {
            return Err(ApiError::new(Code::Unsupported, "manifests with a subject are not taken here"));
        }
        let (digest, tag) = match reference {
            Reference::Digest(digest) => {
                let found = digest_of(digest.algorithm(), &body);
                if found != *digest {
                    let detail = format!("manifest stated as {digest} is {found}");
                    shared.violations.record(ViolationKind::DigestMismatch, name, detail);
                    return Err(ApiError::new(
                        Code::DigestInvalid,
                        format!("the manifest has the digest `{found}`, not `{digest}`"),
                    ));
                }
                (found, None)
            }
            Reference::Tag(tag) => (digest_of(Algorithm::Sha256, &body), Some(tag.as_str())),
        };
        let held = shared.store.hold_links().await;
        self.check_references(name, &digest, &manifest, kind).await?;
        let subject = manifest.subject.map(|subject| subject.digest);
        let stored = StoredManifest { digest, media_type, body: body.into() };
        shared.store.put_manifest(name, &stored, tag, subject.as_ref(), &held).await?;
        drop(held);
        let mut headers = vec![
            (header::LOCATION, format!("/v2/{name}/manifests/{}", stored.digest)),
            (CONTENT_DIGEST, stored.digest.to_string()),
        ];
        let shown = subject.filter(|_| referrers == Referrers::Offered);
        headers.extend(shown.map(|subject| (OCI_SUBJECT, subject.to_string())));
        Ok(reply(StatusCode::CREATED, &headers, Body::empty()))
    }

    /// Everything that the manifest references must be there, at the size that it states. The subject need not
    /// be: the specification lets a signature come before what it signs.
    async fn check_references(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: &Manifest,
        kind: Kind,
    ) -> Result<(), ApiError> {
        let store = &self.0.store;
        let mut missing = Vec::new();
        let blobs = manifest.config.iter().chain(manifest.layers.iter().flatten());
        let children = manifest.manifests.iter().flatten();
        let references = match kind {
            Kind::Image => blobs.collect::<Vec<_>>(),
            Kind::Index => children.collect(),
        };
        for reference in references {
            let size = match kind {
                Kind::Image => store.blob_size(name, &reference.digest).await?,
                // A manifest that was sent as a blob cannot be pulled as one.
                Kind::Index => store.manifest_size(name, &reference.digest).await?,
            };
            match size {
                Some(size) if size == reference.size => {}
                Some(size) => {
                    let detail = format!(
                        "`{}` has {size} bytes, the manifest says {}",
                        reference.digest, reference.size
                    );
                    self.0.violations.record(ViolationKind::SizeMismatch, name, detail.as_str());
                    return Err(ApiError::new(Code::ManifestInvalid, detail));
                }
                // Layers that may not be distributed live elsewhere.
                None if !reference.urls.is_empty() && is_foreign(&reference.media_type) => {}
                None => missing.push(reference.digest.to_string()),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.0.violations.record(
            ViolationKind::ManifestBeforeBlobs,
            name,
            format!("{digest} references {}", missing.join(", ")),
        );
        Err(ApiError::new(
            Code::ManifestBlobUnknown,
            format!("the manifest references what `{name}` does not have: {}", missing.join(", ")),
        )
        .detail(json!({ "digests": missing })))
    }

    async fn delete_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Response, ApiError> {
        let removed = match reference {
            Reference::Tag(tag) => self.0.store.delete_tag(name, tag).await?,
            Reference::Digest(digest) => {
                let stored = self.find(name, reference).await?;
                let manifest: Option<Manifest> = serde_json::from_slice(&stored.body).ok();
                let subject = manifest.and_then(|manifest| manifest.subject).map(|subject| subject.digest);
                self.0.store.delete_manifest(name, digest, subject.as_ref()).await?
            }
        };
        if removed {
            Ok(reply(StatusCode::ACCEPTED, &[], Body::empty()))
        } else {
            Err(manifest_unknown(name, reference))
        }
    }
}

/// Whether a layer of this type may be kept elsewhere.
fn is_foreign(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

fn manifest_unknown(name: &RepositoryName, reference: &Reference) -> ApiError {
    ApiError::new(Code::ManifestUnknown, format!("`{name}` has no manifest `{reference}`"))
        .detail(json!({ "name": name.as_str(), "reference": reference.to_string() }))
}

async fn read_manifest(body: Body, limit: u64) -> Result<Bytes, ApiError> {
    let limit_bytes = usize::try_from(limit).unwrap_or(usize::MAX);
    match Limited::new(body, limit_bytes).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::new(Code::SizeInvalid, format!("a manifest has at most {limit} bytes here"))
                .status(StatusCode::PAYLOAD_TOO_LARGE))
        }
        Err(error) => Err(ApiError::new(Code::ManifestInvalid, format!("the manifest broke off: {error}"))),
    }
}

/// Reads a manifest and decides what it is. The header and the manifest's own `mediaType` must agree.
fn parse(body: &[u8], stated: Option<&str>) -> Result<(Manifest, Kind, String), ApiError> {
    let invalid = |message: String| ApiError::new(Code::ManifestInvalid, message);
    let manifest: Manifest = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the manifest is malformed: {error}")))?;
    let stated = stated.map(|text| text.split(';').next().unwrap_or(text).trim().to_owned());
    let media_type = match (stated, &manifest.media_type) {
        (Some(stated), Some(own)) if stated != *own => {
            return Err(invalid(format!("Content-Type is `{stated}`, the manifest says `{own}`")));
        }
        (Some(stated), _) => stated,
        (None, Some(own)) => own.clone(),
        (None, None) => {
            return Err(invalid("neither Content-Type nor the manifest's mediaType is given".to_owned()));
        }
    };
    let kind = match media_type.as_str() {
        OCI_MANIFEST | DOCKER_MANIFEST => Kind::Image,
        OCI_INDEX | DOCKER_LIST => Kind::Index,
        other => return Err(invalid(format!("`{other}` is not a manifest type that this registry takes"))),
    };
    if HeaderValue::from_str(&media_type).is_err() {
        return Err(invalid("the media type is not a header value".to_owned()));
    }
    if manifest.schema_version != 2 {
        return Err(invalid(format!("schemaVersion is {}, expected 2", manifest.schema_version)));
    }
    let complete = match kind {
        Kind::Image => manifest.config.is_some() && manifest.layers.is_some() && manifest.manifests.is_none(),
        Kind::Index => manifest.manifests.is_some() && manifest.layers.is_none(),
    };
    if !complete {
        return Err(invalid(format!("the fields do not fit the type `{media_type}`")));
    }
    Ok((manifest, kind, media_type))
}
