//! What refers to an image: signatures, attestations, bills of material; attaching it and finding it.
//!
//! A registry of OCI 1.1 keeps the list itself. Where there is none, the list is an index under the tag `sha256-<hex>`, which
//! every client writes for itself. Two clients at once must not lose each other's entry: the index is written on condition
//! that it is still the one that was read, and looked at again afterwards, since many registries ignore conditions.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spectra_types::{Digest, ImageRef, PinnedImage};

use crate::{
    Client, Descriptor, Error, ImageIndex, NoProgress, auth::Scopes, builder::to_json, client::next_page,
    content::Blob, evidence::Budget, manifest::Put, media_type, session::Session, source::MAX_DOCUMENT,
};

/// The type of a configuration that is empty.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const FILTERS_APPLIED: &str = "oci-filters-applied";
const SUBJECT: &str = "oci-subject";
/// How often the fallback index is read and written before it is given up.
const ATTEMPTS: u32 = 10;
/// How often our entry has to be seen in the index after it was written, with a wait between.
const SIGHTINGS: u32 = 2;
/// No list is longer: what comes after it is an attack, or a mistake.
const MAX_REFERRERS: usize = 1000;
/// No list has more pages: a registry may send pages without entries, and lead from one to the other and back.
const MAX_PAGES: usize = MAX_REFERRERS;
const JOBS: usize = 8;

/// Something to attach to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is.
    pub artifact_type: String,
    /// Media type of its content.
    pub media_type: String,
    /// Its content.
    pub content: Vec<u8>,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Something that was attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its manifest, as a list of referrers shows it.
    pub manifest: Descriptor,
    /// The tag whose index lists it, if the registry keeps no list itself.
    pub fallback_tag: Option<String>,
}

/// What a manifest or index says that makes it a referrer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referring {
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    artifact_type: Option<String>,
    /// Missing in an index.
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The manifest of an attachment.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ArtifactManifest {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl ArtifactManifest {
    /// What it is; a manifest without a type of its own is typed by its configuration.
    pub(crate) fn artifact_type(&self) -> &str {
        self.artifact_type.as_deref().unwrap_or(&self.config.media_type)
    }
}

impl Client {
    /// What refers to an image, or only what has the type `artifact_type`. An entry whose type its list does not say is
    /// left in: cosign lists its bundles under the type of their empty configuration
    /// (<https://github.com/sigstore/cosign/issues/4641>).
    pub async fn referrers(
        &self,
        image: &PinnedImage,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let session = self.pull_session(&image.image_ref())?;
        let mut found = match session.referrers_api(image, artifact_type).await? {
            Some(found) => found,
            None => {
                session.fallback_index(image).await?.map(|(index, ..)| index.manifests).unwrap_or_default()
            }
        };
        if let Some(wanted) = artifact_type {
            found.retain(|entry| match entry.artifact_type.as_deref() {
                None | Some(EMPTY) => true,
                Some(stated) => stated == wanted,
            });
        }
        Ok(found)
    }

    /// Attaches something to an image of the registry. Doing it again with the same bytes changes nothing.
    pub async fn attach(&self, subject: &PinnedImage, attachment: &Attachment) -> Result<Attached, Error> {
        let registry = self.registry(subject.registry())?;
        let scopes = Scopes::none().repository(subject.repository(), "pull,push");
        let session = self.session(&registry, subject.repository(), scopes, Arc::new(NoProgress));
        let (found, _) = session.manifest(&subject.image_ref()).await?;
        let config = Blob::memory(EMPTY, &b"{}"[..]);
        let layer = Blob::memory(&attachment.media_type, attachment.content.clone());
        let attempt = |blob: &Blob| format!("attach to `{subject}`: blob `{}`", blob.descriptor.digest);
        session.push_blob(&attempt(&config), &config, &[]).await?;
        session.push_blob(&attempt(&layer), &layer, &[]).await?;
        let manifest = ArtifactManifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            artifact_type: Some(attachment.artifact_type.clone()),
            config: config.descriptor,
            layers: vec![layer.descriptor],
            subject: Some(Descriptor::new(found.media_type, found.digest, found.size)),
            annotations: attachment.annotations.clone(),
        };
        let document = Blob::memory(media_type::MANIFEST, to_json(&manifest)?);
        let digest = document.descriptor.digest.to_string();
        let answer = session.put_manifest(&document, &digest, HeaderMap::new()).await?;
        let mut descriptor = document.descriptor;
        descriptor.artifact_type = Some(attachment.artifact_type.clone());
        descriptor.annotations.clone_from(&attachment.annotations);
        let fallback_tag =
            if lists(&answer) { None } else { Some(session.list_by_hand(subject, &descriptor).await?) };
        Ok(Attached { manifest: descriptor, fallback_tag })
    }
}

impl Session {
    /// The registry's own list; `None` where it keeps none.
    async fn referrers_api(
        &self,
        image: &PinnedImage,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        let attempt = format!("list what refers to `{image}`");
        let mut url = self.url(&format!("referrers/{}", image.digest()))?;
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut found = Vec::new();
        let mut pages = 0;
        let mut next = Some(url);
        while let Some(url) = next.take() {
            if pages == MAX_PAGES {
                let reason = format!("its list has more than {MAX_PAGES} pages, and no more are read");
                return Err(self.protocol(&attempt, reason));
            }
            let (headers, bytes) =
                match self.document(&attempt, url.clone(), HeaderMap::new(), MAX_DOCUMENT).await {
                    Ok(answer) => answer,
                    Err(error) if pages == 0 && has_no_api(&error) => return Ok(None),
                    Err(error) => return Err(error),
                };
            pages += 1;
            let index = self.index(&attempt, &bytes)?;
            let applied = headers.get(FILTERS_APPLIED).and_then(|value| value.to_str().ok());
            let filtered =
                applied.is_some_and(|applied| applied.split(',').any(|one| one.trim() == "artifactType"));
            let wanted = |entry: &Descriptor| {
                filtered || artifact_type.is_none() || entry.artifact_type.as_deref() == artifact_type
            };
            found.extend(index.manifests.into_iter().filter(wanted));
            self.check_length(&attempt, found.len())?;
            next = next_page(&url, &headers).filter(|next| *next != url);
        }
        Ok(Some(found))
    }

    /// The list that clients keep, its document, and what it is known by to the registry.
    async fn fallback_index(
        &self,
        image: &PinnedImage,
    ) -> Result<Option<(ImageIndex, Value, Option<HeaderValue>)>, Error> {
        let tag = fallback_tag(image.digest());
        let attempt = format!("read what refers to `{image}` from the tag `{tag}`");
        let url = self.url(&format!("manifests/{tag}"))?;
        let mut accept = HeaderMap::new();
        accept.insert(reqwest::header::ACCEPT, HeaderValue::from_static(media_type::INDEX));
        match self.document(&attempt, url, accept, MAX_DOCUMENT).await {
            Ok((headers, bytes)) => {
                let index = self.index(&attempt, &bytes)?;
                self.check_length(&attempt, index.manifests.len())?;
                let document = serde_json::from_slice(&bytes)
                    .map_err(|error| self.protocol(&attempt, format!("malformed index: {error}")))?;
                Ok(Some((index, document, headers.get(ETAG).cloned())))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn index(&self, attempt: &str, bytes: &[u8]) -> Result<ImageIndex, Error> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.protocol(attempt, format!("malformed index: {error}")))
    }

    fn check_length(&self, attempt: &str, length: usize) -> Result<(), Error> {
        if length <= MAX_REFERRERS {
            return Ok(());
        }
        Err(self.protocol(attempt, format!("there are more than {MAX_REFERRERS}, and no more are read")))
    }

    /// Enters a manifest that was written, if it is about another one, into the list that clients keep, unless the registry's `answer`
    /// says that it lists it itself. `target` is any reference into the repository.
    pub(crate) async fn list_if_needed(
        &self,
        target: &ImageRef,
        document: &Blob,
        answer: &Put,
    ) -> Result<(), Error> {
        if lists(answer) {
            return Ok(());
        }
        let attempt = format!("list `{}` as a referrer", document.descriptor.digest);
        let bytes = document.content.read_all(Path::new(&attempt))?;
        // What cannot be read as one is no referrer to any registry.
        let Ok(Referring { subject: Some(subject), artifact_type, config, annotations }) =
            serde_json::from_slice(&bytes)
        else {
            return Ok(());
        };
        let mut entry = document.descriptor.clone();
        entry.artifact_type = artifact_type.or_else(|| config.map(|config| config.media_type));
        entry.annotations = annotations;
        entry.platform = None;
        self.list_by_hand(&target.pin(subject.digest), &entry).await.map(drop)
    }

    /// Enters a manifest into the list that clients keep. If we die before it is written, the manifest is in the registry, and
    /// attaching again finds its blobs and lists it.
    pub(crate) async fn list_by_hand(
        &self,
        subject: &PinnedImage,
        entry: &Descriptor,
    ) -> Result<String, Error> {
        let tag = fallback_tag(subject.digest());
        let mut sightings = 0;
        for attempt in 1..=ATTEMPTS {
            let found = self.fallback_index(subject).await?;
            let is_new = found.is_none();
            let empty = || (ImageIndex::new(Vec::new()), json!(ImageIndex::new(Vec::new())), None);
            let (index, mut document, etag) = found.unwrap_or_else(empty);
            if index.manifests.iter().any(|other| other.digest == entry.digest) {
                sightings += 1;
                if sightings >= SIGHTINGS {
                    return Ok(tag);
                }
                self.pause(attempt).await;
                continue;
            }
            sightings = 0;
            // The others' entries stay as they wrote them.
            match &mut document["manifests"] {
                Value::Array(entries) => entries.push(json!(entry)),
                none => *none = json!([entry]),
            }
            let document = Blob::memory(media_type::INDEX, to_json(&document)?);
            let mut condition = HeaderMap::new();
            if is_new {
                condition.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
            } else if let Some(etag) = etag {
                condition.insert(IF_MATCH, etag);
            }
            if let Put::Changed = self.put_manifest(&document, &tag, condition).await? {
                self.pause(attempt).await;
            }
        }
        let reason = format!(
            "others changed its tag `{tag}` again and again, and the entry was not seen to stay; attach it again"
        );
        Err(self.protocol(&format!("list `{}` as a referrer of `{subject}`", entry.digest), reason))
    }

    /// Long enough for another client that read the index before our entry was in it to have written its own.
    async fn pause(&self, attempt: u32) {
        let policy = self.client.retry_policy();
        let wait = policy.wait(attempt.min(policy.attempts.saturating_sub(1)), None);
        tokio::time::sleep(wait.unwrap_or(policy.base)).await;
    }

    /// The manifests of referrers whose type begins with `prefix`, or is not said by the list; in the list's order. The inner
    /// `Err` concerns that entry alone.
    pub(crate) async fn artifacts(
        &self,
        image: &ImageRef,
        entries: Vec<Descriptor>,
        prefix: &str,
        budget: &Budget,
    ) -> Result<Vec<(Digest, Result<ArtifactManifest, String>)>, Error> {
        let candidates = entries.into_iter().filter(|entry| match entry.artifact_type.as_deref() {
            None | Some(EMPTY) => true,
            Some(stated) => stated.starts_with(prefix),
        });
        stream::iter(candidates)
            .map(|entry| async move {
                let digest = entry.digest;
                let manifest = match self.manifest(&image.pin(digest.clone()).image_ref()).await {
                    Ok((_, bytes)) => budget
                        .take(bytes.len() as u64)
                        .and_then(|()| serde_json::from_slice(&bytes).map_err(|error| error.to_string())),
                    // It was removed since, or is not what the list says: that concerns this entry alone.
                    Err(
                        error @ (Error::NotFound { .. } | Error::DigestMismatch { .. } | Error::Input { .. }),
                    ) => Err(error.to_string()),
                    Err(error) => return Err(error),
                };
                Ok((digest, manifest))
            })
            .buffered(JOBS)
            .try_filter(|(_, manifest)| {
                let wanted = manifest
                    .as_ref()
                    .map_or(true, |manifest: &ArtifactManifest| manifest.artifact_type().starts_with(prefix));
                std::future::ready(wanted)
            })
            .try_collect()
            .await
    }
}

/// Where the list of referrers is kept by clients. The specification cuts the digest to 64 characters.
fn fallback_tag(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), &digest.hex()[..64])
}

/// Whether the registry lists a manifest itself. Without this header it did not understand that the manifest is about another one.
fn lists(answer: &Put) -> bool {
    matches!(answer, Put::Done(headers) if headers.contains_key(SUBJECT))
}

/// Registries without the list say so in different ways.
fn has_no_api(error: &Error) -> bool {
    error.is_not_found() || matches!(error, Error::Registry { status: 400 | 405 | 406 | 501, .. })
}
