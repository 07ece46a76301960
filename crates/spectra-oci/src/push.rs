//! Pushing a whole image: blobs first, largest first and several at a time, then manifests from the leaves up.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use spectra_types::{Digest, ImageRef, PinnedImage};
use tokio::sync::Semaphore;

use crate::{
    Artifact, BlobOutcome, Client, Descriptor, Error, Image, Progress,
    auth::Scopes,
    builder::oci_manifest,
    content::{Blob, Content},
    gzip,
    session::{Body, Call, Session},
    source::LayerSource,
};

/// How to push.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// Blobs on their way at the same time.
    pub jobs: usize,
    /// Repositories of the same registry to link blobs from, such as that of the base image.
    pub mount_from: Vec<String>,
    /// More tags for the same manifest.
    pub tags: Vec<String>,
    /// Cut blobs into chunks of this many bytes from the start, for registries behind a limit that they do not
    /// announce. Usually `None`.
    pub chunk_size: Option<u64>,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { jobs: 8, mount_from: Vec::new(), tags: Vec::new(), chunk_size: None }
    }
}

/// What a push did.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The image, pinned.
    pub image: PinnedImage,
    /// What the registry holds under that digest.
    pub manifest: Descriptor,
    /// Tags that were set.
    pub tags: Vec<String>,
    /// Blobs that were sent.
    pub uploaded: usize,
    /// Blobs that were there already or were linked.
    pub skipped: usize,
    /// Bytes of the blobs that were sent.
    pub bytes: u64,
}

/// A blob to take to the registry.
enum Item {
    Ready(Blob),
    Raw { number: usize, origin: PathBuf, content: Content, diff_id: Digest },
}

impl Item {
    fn size(&self) -> u64 {
        match self {
            Self::Ready(blob) => blob.descriptor.size,
            Self::Raw { content, .. } => content.len(),
        }
    }
}

struct Done {
    diff_id: Option<Digest>,
    descriptor: Descriptor,
    outcome: BlobOutcome,
}

impl Client {
    /// Pushes an artifact as `target`: under its tag (`latest` if it has neither tag nor digest), or by digest alone.
    ///
    /// The manifest is written last, so that a push that fails leaves the registry with at most unused blobs; pushing again
    /// skips what has arrived. Raw layers are compressed, always to the same bytes, while others are being sent.
    pub async fn push(
        &self,
        target: &ImageRef,
        artifact: &Artifact,
        options: &PushOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Pushed, Error> {
        let registry = self.registry(target.registry())?;
        let mut scopes = Scopes::none().repository(target.repository(), "pull,push");
        let mount_from = mount_sources(target, artifact, options);
        for source in &mount_from {
            scopes = scopes.repository(source, "pull");
        }
        let session = self.session(&registry, target.repository(), scopes, progress);
        if let Some(size) = options.chunk_size {
            *registry.chunk_size.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(size.max(1));
        }

        let mut items = collect(artifact);
        items.sort_by_key(|item| std::cmp::Reverse(item.size()));
        session.progress.blobs(items.len());
        let jobs = options.jobs.clamp(1, items.len().max(1));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let compressors = Semaphore::new(cores);
        let done: Vec<Done> = stream::iter(items)
            .map(|item| session.push_item(item, &mount_from, &compressors))
            .buffer_unordered(jobs)
            .try_collect()
            .await?;

        let compressed: HashMap<&Digest, &Descriptor> =
            done.iter().filter_map(|done| Some((done.diff_id.as_ref()?, &done.descriptor))).collect();
        let root = assemble(artifact, &compressed)?;
        if let Some(digest) = target.digest().filter(|digest| **digest != root.descriptor.digest) {
            return Err(Error::DigestMismatch {
                what: format!("the image to be pushed as `{target}`"),
                expected: digest.clone(),
                found: root.descriptor.digest,
            });
        }
        let mut written = HashSet::new();
        session.push_children(artifact, &compressed, &mut written).await?;
        let mut tags: Vec<String> = match (target.tag(), target.digest()) {
            (Some(tag), _) => vec![tag.to_owned()],
            (None, None) => vec!["latest".to_owned()],
            (None, Some(_)) => Vec::new(),
        };
        tags.extend(options.tags.iter().cloned());
        if tags.is_empty() {
            session.push_manifest(&root, &root.descriptor.digest.to_string()).await?;
        }
        for tag in &tags {
            session.push_manifest(&root, tag).await?;
        }
        let sent = || done.iter().filter(|done| done.outcome == BlobOutcome::Uploaded);
        Ok(Pushed {
            image: target.pin(root.descriptor.digest.clone()),
            manifest: root.descriptor.clone(),
            tags,
            uploaded: sent().count(),
            skipped: done.len() - sent().count(),
            bytes: sent().map(|done| done.descriptor.size).sum(),
        })
    }
}

impl Session {
    async fn push_item(
        &self,
        item: Item,
        mount_from: &[String],
        compressors: &Semaphore,
    ) -> Result<Done, Error> {
        let (blob, diff_id) = match item {
            Item::Ready(blob) => (blob, None),
            Item::Raw { number, origin, content, diff_id } => {
                // The semaphore is never closed; if it were, compressing without a permit is still correct.
                let permit = compressors.acquire().await.ok();
                self.progress.compressing(number, content.len());
                let path = origin.clone();
                let (blob, found) = tokio::task::spawn_blocking(move || gzip::compress(&content, &path))
                    .await
                    .map_err(|source| Error::Worker { attempt: "compress a layer".to_owned(), source })??;
                drop(permit);
                if found != diff_id {
                    return Err(Error::DigestMismatch {
                        what: format!("layer {} of `{}`", number + 1, origin.display()),
                        expected: diff_id,
                        found,
                    });
                }
                (blob, Some(diff_id))
            }
        };
        let outcome = match self.push_blob(&blob, mount_from).await {
            // The registry computed another digest: either the file is damaged, or the way there is.
            Err(Error::Registry { status: 400, message, .. }) if message.contains("DIGEST_INVALID") => {
                verify(blob.clone()).await?;
                self.push_blob(&blob, mount_from).await?
            }
            result => result?,
        };
        Ok(Done { diff_id, descriptor: blob.descriptor, outcome })
    }

    /// Writes the manifests below an index, each before whatever names it.
    async fn push_children(
        &self,
        artifact: &Artifact,
        compressed: &HashMap<&Digest, &Descriptor>,
        written: &mut HashSet<Digest>,
    ) -> Result<(), Error> {
        let Artifact::Index(index) = artifact else { return Ok(()) };
        for child in &index.children {
            Box::pin(self.push_children(child, compressed, written)).await?;
            let document = assemble(child, compressed)?;
            if written.insert(document.descriptor.digest.clone()) {
                self.push_manifest(&document, &document.descriptor.digest.to_string()).await?;
            }
        }
        Ok(())
    }

    async fn push_manifest(&self, document: &Blob, reference: &str) -> Result<(), Error> {
        let separator = if reference.contains(':') { '@' } else { ':' };
        let attempt = format!(
            "push the manifest of `{}/{}{separator}{reference}`",
            self.registry.host, self.repository
        );
        let url = self.url(&format!("manifests/{reference}"))?;
        let digest = &document.descriptor.digest;
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_str(&document.descriptor.media_type);
        headers.extend(media_type.ok().map(|value| (CONTENT_TYPE, value)));
        let answer = self
            .with_retries(&attempt, || async {
                let body = Body {
                    content: &document.content,
                    start: 0,
                    length: document.descriptor.size,
                    digest: None,
                };
                let call = Call {
                    headers: headers.clone(),
                    body: Some(body),
                    ..Call::new(&attempt, Method::PUT, url.clone())
                };
                let response = self.send(&call).await?;
                if response.status().is_success() {
                    return Ok(response.headers().clone());
                }
                Err(self.failed(&attempt, response).await)
            })
            .await?;
        let stated: Option<Digest> =
            answer.get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(found) = stated.filter(|found| found != digest && found.algorithm() == digest.algorithm())
        {
            return Err(Error::DigestMismatch {
                what: format!("the manifest that `{}` stored for `{reference}`", self.registry.host),
                expected: digest.clone(),
                found,
            });
        }
        self.progress.manifest(digest);
        Ok(())
    }
}

/// Reads a blob again and compares it with its digest.
async fn verify(blob: Blob) -> Result<(), Error> {
    let check = move || {
        let expected = blob.descriptor.digest;
        let found = blob.content.digest(&expected)?;
        if found == expected {
            return Ok(());
        }
        Err(Error::DigestMismatch { what: format!("the blob in {}", blob.content), expected, found })
    };
    tokio::task::spawn_blocking(check)
        .await
        .map_err(|source| Error::Worker { attempt: "check a blob".to_owned(), source })?
}

/// The repositories to link blobs from: those asked for, and those of the same registry that the image comes from or was
/// built on.
fn mount_sources(target: &ImageRef, artifact: &Artifact, options: &PushOptions) -> Vec<String> {
    let mut sources = options.mount_from.clone();
    for repository in artifact.base_repositories(target.registry()) {
        if repository != target.repository() && !sources.contains(&repository) {
            sources.push(repository);
        }
    }
    for blob in artifact.images().iter().flat_map(|image| image.ready_layers()) {
        if let Content::Remote(remote) = &blob.content
            && let Some(repository) = remote.repository_in(target.registry())
            && repository != target.repository()
            && !sources.iter().any(|source| source == repository)
        {
            sources.push(repository.to_owned());
        }
    }
    sources
}

/// Every blob once.
fn collect(artifact: &Artifact) -> Vec<Item> {
    let mut seen = HashSet::new();
    let mut items = Vec::new();
    for image in artifact.images() {
        if seen.insert(image.config.descriptor.digest.clone()) {
            items.push(Item::Ready(image.config.clone()));
        }
        for (number, layer) in image.layers.iter().enumerate() {
            match layer {
                LayerSource::Ready(blob) if seen.insert(blob.descriptor.digest.clone()) => {
                    items.push(Item::Ready(blob.clone()));
                }
                LayerSource::Raw { content, diff_id } if seen.insert(diff_id.clone()) => {
                    items.push(Item::Raw {
                        number,
                        origin: image.origin.clone(),
                        content: content.clone(),
                        diff_id: diff_id.clone(),
                    });
                }
                _ => {}
            }
        }
    }
    items
}

/// The artifact's own document; made now if its layers were compressed on the way.
fn assemble(artifact: &Artifact, compressed: &HashMap<&Digest, &Descriptor>) -> Result<Blob, Error> {
    if let Some(document) = artifact.document() {
        return Ok(document.clone());
    }
    let images = artifact.images();
    let [Image { config, layers, origin, .. }] = images.as_slice() else {
        return Err(Error::Build { reason: "an index has its own document".to_owned() });
    };
    let layers = layers.iter().map(|layer| match layer {
        LayerSource::Ready(blob) => Ok(blob.descriptor.clone()),
        LayerSource::Raw { diff_id, .. } => compressed
            .get(diff_id)
            .map(|descriptor| (*descriptor).clone())
            .ok_or_else(|| Error::input(origin, format!("layer `{diff_id}` was not compressed"))),
    });
    oci_manifest(config.descriptor.clone(), layers.collect::<Result<_, _>>()?)
}
