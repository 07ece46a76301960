//! Pushing a whole image: blobs first, largest first and several at a time, then manifests from the leaves up.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Method, StatusCode, header::HeaderMap};
use spectra_types::{Digest, ImageRef, PinnedImage};
use tokio::sync::Semaphore;

use crate::{
    Artifact, BlobOutcome, Client, Descriptor, Error, Image, Packing, Progress,
    auth::Scopes,
    builder::oci_manifest,
    content::{Blob, Content},
    pack::Raw,
    session::{Call, Session},
    source::{LayerSource, MAX_DOCUMENT, check_target},
    spool::{self, Spool},
};

/// Layers that are read at the same time: while the last blocks of one are compressed, the next one begins.
const LAYERS_AT_ONCE: usize = 2;

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
    /// How raw layers are compressed, and what earlier commands noted of them and of uploads.
    pub packing: Packing,
    /// How many bytes of compressed layers may lie in the folder for temporary files at once. A larger layer lies there alone.
    pub spool_limit: u64,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            jobs: 8,
            mount_from: Vec::new(),
            tags: Vec::new(),
            chunk_size: None,
            packing: Packing::default(),
            spool_limit: 4 << 30,
        }
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
    /// The name is for messages: `layer 2`, `the configuration`.
    Ready {
        blob: Blob,
        name: String,
    },
    Raw(Raw),
}

/// What the items of a push share.
struct Lanes<'a> {
    target: &'a ImageRef,
    options: &'a PushOptions,
    mount_from: &'a [String],
    /// Room for compressed layers that the registry does not have yet.
    spool: Spool,
    /// Layers that are read and compressed at the same time; each uses all cores.
    compress: Semaphore,
    /// Blobs on their way at the same time.
    upload: Semaphore,
}

impl Item {
    fn size(&self) -> u64 {
        match self {
            Self::Ready { blob, .. } => blob.descriptor.size,
            Self::Raw(raw) => raw.content.len(),
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
    /// skips what has arrived. What is [elsewhere](Artifact::elsewhere) stays there. A manifest that is about another image is then listed under the fallback tag, unless the registry lists it itself. Raw layers are compressed, always to the same bytes, while others are being sent; the temporary file of each
    /// goes when the registry has it.
    pub async fn push(
        &self,
        target: &ImageRef,
        artifact: &Artifact,
        options: &PushOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Pushed, Error> {
        // Before any request; the digest of raw layers' image is compared once it is known.
        artifact.check_target(target)?;
        let registry = self.registry(target.registry())?;
        let mut scopes = Scopes::none().repository(target.repository(), "pull,push");
        let mount_from = mount_sources(target, artifact, options);
        for source in &mount_from {
            scopes = scopes.wish(source);
        }
        let mut session = self.session(&registry, target.repository(), scopes, progress);
        session.cache.clone_from(&options.packing.cache);
        if let Some(size) = options.chunk_size {
            *registry.chunk_size.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(size.max(1));
        }

        let mut items = collect(artifact);
        items.sort_by_key(|item| std::cmp::Reverse(item.size()));
        session.progress.blobs(items.len());
        let jobs = options.jobs.clamp(1, items.len().max(1));
        // Where there are fewer blobs than lanes, asking for each at once takes no longer than this question.
        if items.len() > jobs {
            session.new_repository = session.is_new_repository().await;
        }
        let lanes = Lanes {
            target,
            options,
            mount_from: &mount_from,
            spool: Spool::new(&spool::folder(), options.spool_limit),
            compress: Semaphore::new(LAYERS_AT_ONCE),
            upload: Semaphore::new(jobs),
        };
        let count = items.len().max(1);
        let done: Vec<Done> = stream::iter(items)
            .map(|item| session.push_item(item, &lanes))
            .buffer_unordered(count)
            .try_collect()
            .await?;

        let compressed: HashMap<&Digest, &Descriptor> =
            done.iter().filter_map(|done| Some((done.diff_id.as_ref()?, &done.descriptor))).collect();
        let root = assemble(artifact, &compressed)?;
        let sent = || done.iter().filter(|done| done.outcome == BlobOutcome::Uploaded);
        check_target(target, &root.descriptor.digest).map_err(|error| match error {
            Error::OtherDigest { target, found, .. } => {
                Error::OtherDigest { target, found, sent: sent().count() }
            }
            error => error,
        })?;
        let mut written = HashSet::new();
        session.push_children(target, artifact, &compressed, &mut written).await?;
        let mut tags: Vec<String> = match (target.tag(), target.digest()) {
            (Some(tag), _) => vec![tag.to_owned()],
            (None, None) => vec!["latest".to_owned()],
            (None, Some(_)) => Vec::new(),
        };
        tags.extend(options.tags.iter().cloned());
        let by_digest = root.descriptor.digest.to_string();
        let (first, others) = tags.split_first().map_or((&by_digest, &[][..]), |(tag, others)| (tag, others));
        let answer = session.put_manifest(&root, first, HeaderMap::new()).await?;
        for tag in others {
            session.put_manifest(&root, tag, HeaderMap::new()).await?;
        }
        session.list_if_needed(target, &root, &answer).await?;
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
    /// Whether the registry says that it does not know the repository. Blobs may be in it nevertheless, of a push that did not come
    /// to its end.
    async fn is_new_repository(&self) -> bool {
        let ask = async || -> Result<bool, Error> {
            let call = Call::new("look for the repository", Method::GET, self.url("tags/list?n=1")?);
            let response = self.send(&call).await?;
            if response.status() != StatusCode::NOT_FOUND {
                return Ok(false);
            }
            let (bytes, _) = self.read(call.attempt, response, MAX_DOCUMENT).await?;
            Ok(String::from_utf8_lossy(&bytes).contains("NAME_UNKNOWN"))
        };
        // Whatever goes wrong here goes wrong again where it matters.
        ask().await.unwrap_or(false)
    }

    async fn push_item(&self, item: Item, lanes: &Lanes<'_>) -> Result<Done, Error> {
        let (blob, name, diff_id, room) = match item {
            Item::Ready { blob, name } => (blob, name, None, None),
            Item::Raw(raw) => {
                if let Some(descriptor) = self.known_layer(&raw, lanes).await? {
                    let outcome = BlobOutcome::Present;
                    return Ok(Done { diff_id: Some(raw.diff_id), descriptor, outcome });
                }
                let mut room = lanes.spool.reserve(raw.content.len()).await;
                let blob = self.compress(&raw, lanes).await?;
                room.shrink(blob.descriptor.size);
                (blob, layer_name(raw.number), Some(raw.diff_id), Some(room))
            }
        };
        // The semaphore is never closed; if it were, sending without a permit is still correct.
        let permit = lanes.upload.acquire().await.ok();
        let attempt = format!("push `{}`: {name} `{}`", lanes.target, blob.descriptor.digest);
        let mount_from = sources_of(&blob, lanes);
        let outcome = match self.push_blob(&attempt, &blob, &mount_from).await {
            // The registry computed another digest: either the file is damaged, or the way there is.
            Err(Error::Registry { status: 400, message, .. }) if message.contains("DIGEST_INVALID") => {
                verify(blob.clone()).await?;
                self.push_blob(&attempt, &blob, &mount_from).await?
            }
            result => result?,
        };
        drop(permit);
        let Blob { descriptor, content } = blob;
        // First the file, then the room that it took.
        drop(content);
        drop(room);
        Ok(Done { diff_id, descriptor, outcome })
    }

    /// What a raw layer becomes, if the notes know it, the registry has it, and the layer is what it was then.
    async fn known_layer(&self, raw: &Raw, lanes: &Lanes<'_>) -> Result<Option<Descriptor>, Error> {
        let packing = &lanes.options.packing;
        let Some(descriptor) = packing.known(&raw.diff_id) else { return Ok(None) };
        let digest = &descriptor.digest;
        let attempt = format!("push `{}`: {} `{digest}`", lanes.target, layer_name(raw.number));
        let permit = lanes.upload.acquire().await.ok();
        let here = self.with_retries(&attempt, || self.has_blob(&attempt, digest)).await?;
        drop(permit);
        if !here {
            return Ok(None);
        }
        if !packing.trusts(raw) {
            let permit = lanes.compress.acquire().await.ok();
            let (packing, raw) = (packing.clone(), raw.clone());
            blocking("hash a layer", move || packing.verify(&raw)).await?;
            drop(permit);
        }
        self.progress.started(digest, descriptor.size);
        self.progress.finished(digest, BlobOutcome::Present);
        Ok(Some(descriptor))
    }

    async fn compress(&self, raw: &Raw, lanes: &Lanes<'_>) -> Result<Blob, Error> {
        let permit = lanes.compress.acquire().await.ok();
        self.progress.compressing(raw.number, raw.content.len());
        let (packing, raw) = (lanes.options.packing.clone(), raw.clone());
        let blob = blocking("compress a layer", move || {
            packing.compress(&raw, &spool::folder()).map_err(Error::of_spool)
        })
        .await?;
        drop(permit);
        Ok(blob)
    }

    /// Writes the manifests below an index, each before whatever names it.
    async fn push_children(
        &self,
        target: &ImageRef,
        artifact: &Artifact,
        compressed: &HashMap<&Digest, &Descriptor>,
        written: &mut HashSet<Digest>,
    ) -> Result<(), Error> {
        let Artifact::Index(index) = artifact else { return Ok(()) };
        for child in &index.children {
            Box::pin(self.push_children(target, child, compressed, written)).await?;
            let document = assemble(child, compressed)?;
            if written.insert(document.descriptor.digest.clone()) {
                let reference = document.descriptor.digest.to_string();
                let answer = self.put_manifest(&document, &reference, HeaderMap::new()).await?;
                self.list_if_needed(target, &document, &answer).await?;
            }
        }
        Ok(())
    }
}

/// A layer as people count them.
fn layer_name(number: usize) -> String {
    format!("layer {}", number + 1)
}

/// Runs what blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    attempt: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::Worker { attempt: attempt.to_owned(), source })?
}

/// Reads a blob again and compares it with its digest.
async fn verify(blob: Blob) -> Result<(), Error> {
    if let Content::Remote(remote) = &blob.content {
        return remote.verify().await;
    }
    blocking("check a blob", move || {
        let expected = blob.descriptor.digest;
        let found = blob.content.digest(&expected)?;
        if found == expected {
            return Ok(());
        }
        Err(Error::DigestMismatch { what: format!("the blob in {}", blob.content), expected, found })
    })
    .await
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

/// The repositories to link a blob from, the one that it certainly is in first.
fn sources_of<'a>(blob: &'a Blob, lanes: &'a Lanes<'_>) -> Vec<&'a str> {
    let own = match &blob.content {
        Content::Remote(remote) => remote.repository_in(lanes.target.registry()),
        _ => None,
    };
    let own = own.filter(|own| *own != lanes.target.repository());
    let others = lanes.mount_from.iter().map(String::as_str).filter(|other| Some(*other) != own);
    own.into_iter().chain(others).collect()
}

/// Every blob once.
fn collect(artifact: &Artifact) -> Vec<Item> {
    let mut seen = HashSet::new();
    let mut items = Vec::new();
    for image in artifact.images() {
        if seen.insert(image.config.descriptor.digest.clone()) {
            items.push(Item::Ready { blob: image.config.clone(), name: "the configuration".to_owned() });
        }
        for (number, layer) in image.layers.iter().enumerate() {
            match layer {
                LayerSource::Ready(blob) if seen.insert(blob.descriptor.digest.clone()) => {
                    items.push(Item::Ready { blob: blob.clone(), name: layer_name(number) });
                }
                LayerSource::Raw { content, diff_id } if seen.insert(diff_id.clone()) => {
                    items.push(Item::Raw(Raw {
                        number,
                        origin: image.origin.clone(),
                        content: content.clone(),
                        diff_id: diff_id.clone(),
                    }));
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
        LayerSource::Elsewhere(descriptor) => Ok(descriptor.clone()),
        LayerSource::Raw { diff_id, .. } => compressed
            .get(diff_id)
            .map(|descriptor| (*descriptor).clone())
            .ok_or_else(|| Error::input(origin, format!("layer `{diff_id}` was not compressed"))),
    });
    oci_manifest(config.descriptor.clone(), layers.collect::<Result<_, _>>()?)
}
