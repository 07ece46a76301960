//! Images in a registry as sources: their documents are read at once, their layers when somebody wants them.

use std::{
    io::{self, SeekFrom, Write as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, HeaderValue, RANGE},
};
use spectra_types::{Digest, ImageRef};
use std::io::Seek as _;

use crate::{
    Artifact, BlobOutcome, Client, Descriptor, Error, Image, ImageIndex, ImageManifest, Index, Layout,
    Packing, Platform, Progress,
    content::{Blob, Content, Hasher},
    document::check_same_type,
    limits::{Budget, OpenLimits, check_layers},
    media_type,
    session::{Call, Failed, Session},
    source::{LayerSource, MAX_DEPTH, MAX_DOCUMENT, list},
    spool,
};

/// A blob in a registry, with the session that may read it.
#[derive(Clone)]
pub(crate) struct RemoteBlob {
    session: Session,
    descriptor: Descriptor,
}

impl std::fmt::Debug for RemoteBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RemoteBlob").field(&self.to_string()).finish()
    }
}

impl std::fmt::Display for RemoteBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.name())
    }
}

impl RemoteBlob {
    pub(crate) const fn len(&self) -> u64 {
        self.descriptor.size
    }

    /// Repository of the blob if it is in the registry `host`, to link it from there.
    pub(crate) fn repository_in(&self, host: &str) -> Option<&str> {
        (self.session.registry.host == host).then_some(self.session.repository.as_str())
    }

    fn attempt(&self) -> String {
        format!("get blob {self}")
    }

    /// Where it is: `registry/repository@digest`.
    pub(crate) fn name(&self) -> String {
        format!("{}@{}", self.place(), self.descriptor.digest)
    }

    /// Registry and repository.
    fn place(&self) -> String {
        format!("{}/{}", self.session.registry.host, self.session.repository)
    }

    /// `length` bytes from `start`, which end with an error if there are fewer. If they are the whole blob, their digest is
    /// checked before the last of them is handed out. What goes wrong is in `trouble` then.
    pub(crate) async fn stream(
        &self,
        start: u64,
        length: u64,
        trouble: &Trouble,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, Failed> {
        let response = self.get(&self.attempt(), start).await?;
        let size = self.descriptor.size;
        let reading = Reading {
            blob: self.clone(),
            pieces: Box::pin(window(response, size, start, length)),
            at: start,
            end: start + length,
            hasher: (length == size).then(|| Hasher::new(self.descriptor.digest.algorithm())),
        };
        let trouble = trouble.clone();
        Ok(stream::try_unfold(reading, move |mut reading| {
            let trouble = trouble.clone();
            async move {
                match reading.next().await {
                    Ok(piece) => Ok(piece.map(|piece| (piece, reading))),
                    Err(error) => Err(trouble.leave(error)),
                }
            }
        }))
    }

    /// Reads the blob and compares it with its digest.
    pub(crate) async fn verify(&self) -> Result<(), Error> {
        let trouble = Trouble::default();
        let mut pieces = Box::pin(self.stream(0, self.descriptor.size, &trouble).await?);
        while let Some(piece) = pieces.next().await {
            if let Err(source) = piece {
                return Err(trouble.take().unwrap_or_else(|| self.broken(Box::new(source))));
            }
        }
        Ok(())
    }

    /// The connection to the registry that the blob is in broke.
    fn broken(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        let host = self.session.registry.host.clone();
        Error::Transport { attempt: self.attempt(), host, attempts: 0, source }
    }

    fn check(&self, found: Digest) -> Result<(), Error> {
        if found == self.descriptor.digest {
            return Ok(());
        }
        let expected = self.descriptor.digest.clone();
        Err(Error::DigestMismatch { what: format!("the blob {self} as received"), expected, found })
    }

    /// Asks for the bytes from `start`. A registry that ignores the range sends all of them, which [`window`] sees by the
    /// status.
    async fn get(&self, attempt: &str, start: u64) -> Result<Response, Failed> {
        let url = self.session.url(&format!("blobs/{}", self.descriptor.digest))?;
        let mut call = Call::new(attempt, Method::GET, url);
        if start > 0 {
            call.headers
                .extend(HeaderValue::from_str(&format!("bytes={start}-")).ok().map(|value| (RANGE, value)));
        }
        // Boxed, because sending a body may lead back to here.
        let response = Box::pin(self.session.send(&call)).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT if starts_at(&response, start) => Ok(response),
            StatusCode::PARTIAL_CONTENT => Err(self
                .session
                .protocol(attempt, format!("it sent another range than from byte {start}"))
                .into()),
            _ => Err(self.session.failed(attempt, response).await),
        }
    }

    /// Brings the blob into a temporary file. A cut connection is resumed where it broke; the digest is checked.
    async fn download(&self) -> Result<Blob, Error> {
        let (mut file, path) = spool::file(&spool::folder())?;
        let attempt = self.attempt();
        let (digest, size) = (&self.descriptor.digest, self.descriptor.size);
        let progress = &self.session.progress;
        progress.started(digest, size);
        let mut hasher = Hasher::new(digest.algorithm());
        let mut at = 0;
        let mut failures = 0;
        while at < size || failures == 0 && size == 0 {
            let before = at;
            let result = self.fetch(&attempt, &mut file, path.folder(), &mut hasher, &mut at).await;
            let Err(mut failed) = result else { break };
            failures = if at > before { 1 } else { failures + 1 };
            let wait = failed
                .error
                .may_be_repeated()
                .then(|| self.session.client.retry_policy().wait(failures, failed.retry_after));
            let Some(wait) = wait.flatten() else {
                failed.error.count(failures);
                return Err(failed.error);
            };
            progress.retrying(&attempt, &failed.error.to_string(), wait);
            tokio::time::sleep(wait).await;
            progress.restarted(digest, at);
        }
        self.check(hasher.finish())?;
        progress.finished(digest, BlobOutcome::Downloaded);
        let content = Content::Temporary { path: Arc::new(path), length: size };
        Ok(Blob { descriptor: self.descriptor.clone(), content })
    }

    /// One request; what arrives is written, hashed and counted at once, so that the next request goes on after it.
    async fn fetch(
        &self,
        attempt: &str,
        file: &mut std::fs::File,
        folder: &Path,
        hasher: &mut Hasher,
        at: &mut u64,
    ) -> Result<(), Failed> {
        let response = self.get(attempt, *at).await?;
        let stall = self.session.client.stall_timeout();
        let mut stream = Box::pin(window(response, self.descriptor.size, *at, self.descriptor.size - *at));
        file.seek(SeekFrom::Start(*at)).map_err(Error::io("write to", folder))?;
        loop {
            let next = tokio::time::timeout(stall, stream.next())
                .await
                .map_err(|_| self.broken(format!("nothing was received for {} s", stall.as_secs()).into()))?;
            let Some(piece) = next else { break };
            let piece = piece.map_err(|error| self.broken(Box::new(error)))?;
            // A write to the page cache; a thread for each of them costs more than it saves.
            file.write_all(&piece).map_err(|error| {
                Error::io("download a layer into", folder)(error).needs(self.descriptor.size)
            })?;
            hasher.update(&piece);
            *at += piece.len() as u64;
            self.session.progress.sent(&self.descriptor.digest, piece.len() as u64);
        }
        if *at < self.descriptor.size {
            let reason = format!("it ended after {} of {} bytes", *at, self.descriptor.size);
            return Err(self.broken(reason.into()).into());
        }
        Ok(())
    }
}

/// What went wrong with the registry that a body comes from, while the body was on its way to another. All that the other connection
/// shows of it is that it broke.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<Error>>>);

impl Trouble {
    /// Notes an error, and returns one that ends a body.
    pub(crate) fn leave(&self, error: Error) -> io::Error {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other("the source of the body broke")
    }

    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A part of a blob on its way.
struct Reading {
    blob: RemoteBlob,
    pieces: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    at: u64,
    end: u64,
    /// If it is the whole blob.
    hasher: Option<Hasher>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.at == self.end {
            return Ok(None);
        }
        // A little less than where the piece goes to is given, so that who is to blame is named.
        let stall = self.blob.session.client.stall_timeout() * 9 / 10;
        let next = tokio::time::timeout(stall, self.pieces.next()).await;
        let Some(piece) = next.map_err(|_| {
            self.blob.broken(format!("nothing was received for {} s", stall.as_secs()).into())
        })?
        else {
            let reason = format!("it ended after {} of {} bytes", self.at, self.blob.descriptor.size);
            return Err(self.blob.broken(reason.into()));
        };
        let piece = piece.map_err(|error| self.blob.broken(Box::new(error)))?;
        self.at += piece.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        if self.at == self.end
            && let Some(hasher) = self.hasher.take()
        {
            self.blob.check(hasher.finish())?;
        }
        Ok(Some(piece))
    }
}

fn starts_at(response: &Response, start: u64) -> bool {
    let stated = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    stated.and_then(|text| text.trim().strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()) == Some(start)
}

/// The part of a body that was asked for, whether the server honoured the range or not. One that sends more than the
/// descriptor promises is cut off with an error, so that nothing fills the disk.
fn window(
    response: Response,
    size: u64,
    start: u64,
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
    let mut skip = if partial { 0 } else { start };
    let mut left = length;
    let mut room = if partial { size - start } else { size };
    response
        .bytes_stream()
        .map_err(|error| io::Error::other(error.without_url()))
        .map(move |piece| {
            let mut piece = piece?;
            let count = piece.len() as u64;
            room = room
                .checked_sub(count)
                .ok_or_else(|| io::Error::other(format!("it has more than {size} bytes")))?;
            let dropped = skip.min(count);
            skip -= dropped;
            let dropped = usize::try_from(dropped).unwrap_or(piece.len());
            let mut rest = piece.split_off(dropped);
            rest.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= rest.len() as u64;
            Ok(rest)
        })
        .try_filter(|piece| std::future::ready(!piece.is_empty()))
}

impl Client {
    /// Opens an image of a registry as a source for a push, a layout or a look inside. Manifests and configurations are read
    /// and checked now, layers when they are needed.
    ///
    /// Of an index all images are taken, or with `platform` the one that satisfies it.
    pub async fn open(
        &self,
        image: &ImageRef,
        platform: Option<&Platform>,
        progress: Arc<dyn Progress>,
    ) -> Result<Artifact, Error> {
        let session = Session { progress, ..self.pull_session(image)? };
        let (root, bytes) = session.manifest(image).await?;
        let attempt = format!("open `{image}`");
        if let Some(wanted) = platform.filter(|_| media_type::is_index(&root.media_type)) {
            let index: ImageIndex = parse(&session, &attempt, &root, &bytes)?;
            let chosen = index.for_platform(wanted).ok_or_else(|| {
                let names: Vec<String> = index.platforms().iter().map(ToString::to_string).collect();
                session
                    .protocol(&attempt, format!("there is no image for `{wanted}`, but for {}", list(&names)))
            })?;
            let pinned = image.pin(chosen.digest.clone()).image_ref();
            let (child, bytes) = session.manifest(&pinned).await?;
            check_same_type(image.to_string().as_ref(), &bytes, chosen)?;
            return read(&session, image, child, bytes, 0, &mut Budget::default()).await;
        }
        let artifact = read(&session, image, root, bytes, 0, &mut Budget::default()).await?;
        if let (Some(wanted), Artifact::Image(image)) = (platform, &artifact) {
            let found = image.configuration()?.platform();
            if !found.satisfies(wanted) {
                return Err(session.protocol(&attempt, format!("it is for `{found}`, not for `{wanted}`")));
            }
        }
        Ok(artifact)
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    session: &Session,
    attempt: &str,
    descriptor: &Descriptor,
    bytes: &Bytes,
) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        session.protocol(attempt, format!("document `{}` is malformed: {error}", descriptor.digest))
    })
}

async fn read(
    session: &Session,
    image: &ImageRef,
    descriptor: Descriptor,
    bytes: Bytes,
    depth: usize,
    budget: &mut Budget,
) -> Result<Artifact, Error> {
    let origin = PathBuf::from(image.to_string());
    let origin = origin.as_path();
    budget.take(origin, descriptor.size)?;
    let attempt = format!("open `{image}`");
    let document = |descriptor, bytes| Blob { descriptor, content: Content::Memory(bytes) };
    if media_type::is_index(&descriptor.media_type) {
        if depth >= MAX_DEPTH {
            return Err(session.protocol(&attempt, format!("indices are nested more than {MAX_DEPTH} deep")));
        }
        let index: ImageIndex = parse(session, &attempt, &descriptor, &bytes)?;
        let mut children = Vec::new();
        for child in &index.manifests {
            let (found, bytes) = session.manifest(&image.pin(child.digest.clone()).image_ref()).await?;
            check_same_type(origin, &bytes, child)?;
            children.push(Box::pin(read(session, image, found, bytes, depth + 1, budget)).await?);
        }
        return Ok(Artifact::Index(Index { document: document(descriptor, bytes), children }));
    }
    if !media_type::is_manifest(&descriptor.media_type) {
        let reason = format!(
            "`{}` has the type `{}`, expected an image or index",
            descriptor.digest, descriptor.media_type
        );
        return Err(session.protocol(&attempt, reason));
    }
    let manifest: ImageManifest = parse(session, &attempt, &descriptor, &bytes)?;
    if manifest.config.size > MAX_DOCUMENT {
        return Err(
            session.protocol(&attempt, format!("its configuration has {} bytes", manifest.config.size))
        );
    }
    check_layers(origin, manifest.layers.len())?;
    budget.take(origin, manifest.config.size)?;
    let config = session.config(&attempt, &manifest.config).await?;
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        layers.push(remote_layer(session, &attempt, layer).await?);
    }
    Ok(Artifact::Image(Image {
        origin: PathBuf::from(image.to_string()),
        config: document(manifest.config.clone(), config),
        layers,
        manifest: Some(document(descriptor, bytes)),
        note: None,
    }))
}

/// A layer of a registry. Of one that may be elsewhere, the registry is asked whether it has it nevertheless.
async fn remote_layer(session: &Session, attempt: &str, layer: &Descriptor) -> Result<LayerSource, Error> {
    if layer.may_be_elsewhere()
        && !session.with_retries(attempt, || session.has_blob(attempt, &layer.digest)).await?
    {
        return Ok(LayerSource::Elsewhere(layer.clone()));
    }
    let remote = RemoteBlob { session: session.clone(), descriptor: layer.clone() };
    Ok(LayerSource::Ready(Blob { descriptor: layer.clone(), content: Content::Remote(Arc::new(remote)) }))
}

impl Artifact {
    /// Brings layers that are still in a registry to temporary files, `jobs` at a time, each once. What is local already
    /// stays where it is. The files go with the last clone of what is returned.
    ///
    /// Fetches nothing if all that is to be fetched is more than `limits` allow an archive to be.
    pub async fn download(&self, jobs: usize, limits: &OpenLimits) -> Result<Self, Error> {
        let mut wanted: Vec<Arc<RemoteBlob>> = Vec::new();
        for blob in self.images().iter().flat_map(|image| image.ready_layers()) {
            if let Content::Remote(remote) = &blob.content
                && !wanted.iter().any(|other| other.descriptor.digest == remote.descriptor.digest)
            {
                wanted.push(Arc::clone(remote));
            }
        }
        // All of them are there at once.
        let bytes = wanted.iter().fold(0, |sum: u64, remote| sum.saturating_add(remote.len()));
        if let Some(first) = wanted.first() {
            limits.check_layers(Path::new(&first.place()), bytes)?;
        }
        spool::ensure(&spool::folder(), bytes, || match wanted.as_slice() {
            [one] => format!("download {one}"),
            several => format!("download {} layers", several.len()),
        })?;
        let here: Mutex<Vec<(Digest, Content)>> = Mutex::default();
        stream::iter(wanted.into_iter().map(Ok::<_, Error>))
            .try_for_each_concurrent(jobs.max(1), |remote| {
                let here = &here;
                async move {
                    let blob = remote.download().await?;
                    let entry = (blob.descriptor.digest, blob.content);
                    here.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                    Ok(())
                }
            })
            .await?;
        let here = here.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut local = self.clone();
        local.replace(&here);
        Ok(local)
    }

    fn replace(&mut self, here: &[(Digest, Content)]) {
        match self {
            Self::Index(index) => index.children.iter_mut().for_each(|child| child.replace(here)),
            Self::Image(image) => {
                for layer in &mut image.layers {
                    let LayerSource::Ready(blob) = layer else { continue };
                    let found = here.iter().find(|(digest, _)| *digest == blob.descriptor.digest);
                    if let (Content::Remote(_), Some((_, content))) = (&blob.content, found) {
                        blob.content = content.clone();
                    }
                }
            }
        }
    }

    /// Stores a local artifact (see [`Artifact::download`]) in a layout and lists it there, under `name` if given. Raw layers
    /// are compressed on the way, unless the layout has them whole by what `packing` knows. Blocking.
    pub fn store(
        &self,
        layout: &Layout,
        name: Option<&str>,
        packing: &Packing,
        progress: &Arc<dyn Progress>,
    ) -> Result<Descriptor, Error> {
        let layout = &layout.clone().progress(Arc::clone(progress));
        let descriptor = self.store_blobs(layout, packing, progress)?;
        layout.tag(descriptor.clone(), name)?;
        Ok(descriptor)
    }

    fn store_blobs(
        &self,
        layout: &Layout,
        packing: &Packing,
        progress: &Arc<dyn Progress>,
    ) -> Result<Descriptor, Error> {
        match self {
            Self::Index(index) => {
                for child in &index.children {
                    child.store_blobs(layout, packing, progress)?;
                }
                layout.add(&index.document, packing.trust)?;
                Ok(index.document.descriptor.clone())
            }
            Self::Image(image) => {
                layout.add(&image.config, packing.trust)?;
                let manifest = image.store_layers(layout, packing, progress)?;
                layout.add(&manifest, packing.trust)?;
                let mut descriptor = manifest.descriptor;
                descriptor.platform =
                    image.configuration().ok().map(|config| config.platform()).filter(|p| !p.os.is_empty());
                Ok(descriptor)
            }
        }
    }
}
