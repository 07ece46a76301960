//! The registry on the file system.
//!
//! ```text
//! blobs/<algorithm>/<first two>/<hex>                       content, immutable, shared by all repositories
//! repositories/<name>/_blobs/<algorithm>/<hex>              the moment since which the repository has the blob
//! repositories/<name>/_manifests/<algorithm>/<hex>          the manifest's media type
//! repositories/<name>/_tags/<tag>                           the digest that the tag names
//! repositories/<name>/_referrers/<algorithm>/<hex>/<digest> empty: <digest> has the folder's digest as subject
//! uploads/<id>/{repository,data,began,part}                 an upload under way
//! tmp/                                                      half-written files; emptied on opening
//! ```
//!
//! Invariants, also after a crash at any line: a file under `blobs/` has the digest that its name says (it is
//! moved there whole, after fsync), and a link or tag is written only after what it points at. Whatever a crash
//! leaves is at worst content that nothing links.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256, Sha512};
use spectra_types::{Algorithm, Digest};
use tokio::{fs, io::AsyncReadExt, sync::Mutex};
use uuid::Uuid;

use super::name::RepositoryName;

/// A manifest as it is stored.
#[derive(Debug)]
pub(crate) struct StoredManifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    /// Held while links and tags change, so that "is it linked anywhere?" and "does it exist?" stay true until
    /// the change that depends on them is done. Content is streamed outside of it.
    links: Mutex<()>,
    /// The last moment that was given out.
    moment: AtomicU64,
}

impl Store {
    /// Opens or creates the store and throws half-written files away.
    pub(crate) async fn open(root: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(root.join("tmp")).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in ["blobs", "repositories", "uploads", "tmp"] {
            fs::create_dir_all(root.join(folder)).await?;
        }
        Ok(Self { root, links: Mutex::new(()), moment: AtomicU64::new(0) })
    }

    /// A moment later than every one before it: nanoseconds since the Unix epoch, moved on where the clock stands
    /// still. The times of files cannot order events, since a file system's clock ticks only every few
    /// milliseconds.
    pub(crate) fn moment(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let next = |last: u64| now.max(last.saturating_add(1));
        let last = self.moment.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }

    /// Where an upload keeps its files.
    pub(crate) fn upload_folder(&self, id: Uuid) -> PathBuf {
        self.uploads().join(id.to_string())
    }

    /// Where the uploads under way are.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Where the content with this digest is, if it is.
    pub(crate) fn content_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join("blobs").join(digest.algorithm().as_str()).join(&hex[..2]).join(hex)
    }

    fn repository(&self, name: &RepositoryName) -> PathBuf {
        self.root.join("repositories").join(name.as_str())
    }

    fn link(&self, name: &RepositoryName, kind: &str, digest: &Digest) -> PathBuf {
        self.repository(name).join(kind).join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// The size of a blob that the repository has.
    pub(crate) async fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<u64>> {
        if !fs::try_exists(self.link(name, "_blobs", digest)).await? {
            return Ok(None);
        }
        found(fs::metadata(self.content_path(digest)).await).map(|data| data.map(|data| data.len()))
    }

    /// Since which moment the repository has the blob.
    pub(crate) async fn blob_since(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<u64>> {
        let link = found(fs::read_to_string(self.link(name, "_blobs", digest)).await)?;
        // A link without a moment is older than any upload that can still go on.
        Ok(link.map(|moment| moment.parse().unwrap_or(0)))
    }

    /// Links a blob whose content is there. A link that is present stays, and with it its moment.
    async fn link_blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<()> {
        let link = self.link(name, "_blobs", digest);
        if fs::try_exists(&link).await? {
            return Ok(());
        }
        self.write_atomic(&link, self.moment().to_string().as_bytes()).await
    }

    /// Takes a complete, verified, synced file as the content of `digest` and links it into the repository.
    pub(crate) async fn commit_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        data: &Path,
    ) -> io::Result<()> {
        let _links = self.links.lock().await;
        let target = self.content_path(digest);
        if fs::try_exists(&target).await? {
            fs::remove_file(data).await?;
        } else {
            let folder = create_parent(&target).await?;
            fs::rename(data, &target).await?;
            sync_folder(&folder).await?;
        }
        self.link_blob(name, digest).await
    }

    /// Links a blob of `from` into `to` without moving a byte. `false` if `from` does not have it.
    pub(crate) async fn mount_blob(
        &self,
        from: &RepositoryName,
        to: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<bool> {
        let _links = self.links.lock().await;
        if self.blob_size(from, digest).await?.is_none() {
            return Ok(false);
        }
        self.link_blob(to, digest).await?;
        Ok(true)
    }

    /// Unlinks a blob; its content goes when no repository links it. `false` if the repository did not have it.
    pub(crate) async fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<bool> {
        let _links = self.links.lock().await;
        let removed = remove_file(&self.link(name, "_blobs", digest)).await?;
        if removed {
            self.drop_unlinked(digest).await?;
        }
        Ok(removed)
    }

    /// Holds links and tags still. A manifest is checked and stored under one such guard.
    pub(crate) async fn hold_links(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.links.lock().await
    }

    /// Stores a checked manifest. `_held` proves that nothing was deleted since the check.
    pub(crate) async fn put_manifest(
        &self,
        name: &RepositoryName,
        manifest: &StoredManifest,
        tag: Option<&str>,
        subject: Option<&Digest>,
        _held: &tokio::sync::MutexGuard<'_, ()>,
    ) -> io::Result<()> {
        let content = self.content_path(&manifest.digest);
        if !fs::try_exists(&content).await? {
            self.write_atomic(&content, &manifest.body).await?;
        }
        let link = self.link(name, "_manifests", &manifest.digest);
        self.write_atomic(&link, manifest.media_type.as_bytes()).await?;
        if let Some(subject) = subject {
            let referrer = self.link(name, "_referrers", subject).join(manifest.digest.to_string());
            self.write_atomic(&referrer, b"").await?;
        }
        if let Some(tag) = tag {
            let path = self.repository(name).join("_tags").join(tag);
            self.write_atomic(&path, manifest.digest.to_string().as_bytes()).await?;
        }
        Ok(())
    }

    /// Reads a manifest of the repository.
    pub(crate) async fn manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<StoredManifest>> {
        let Some(media_type) = found(fs::read_to_string(self.link(name, "_manifests", digest)).await)? else {
            return Ok(None);
        };
        let body = found(fs::read(self.content_path(digest)).await)?;
        Ok(body.map(|body| StoredManifest { digest: digest.clone(), media_type, body }))
    }

    /// The size of a manifest that the repository has.
    pub(crate) async fn manifest_size(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<u64>> {
        if !fs::try_exists(self.link(name, "_manifests", digest)).await? {
            return Ok(None);
        }
        found(fs::metadata(self.content_path(digest)).await).map(|data| data.map(|data| data.len()))
    }

    /// The digest that a tag names.
    pub(crate) async fn tag(&self, name: &RepositoryName, tag: &str) -> io::Result<Option<Digest>> {
        let Some(text) = found(fs::read_to_string(self.repository(name).join("_tags").join(tag)).await)?
        else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Removes a tag and leaves what it named. `false` if there was none.
    pub(crate) async fn delete_tag(&self, name: &RepositoryName, tag: &str) -> io::Result<bool> {
        let _links = self.links.lock().await;
        remove_file(&self.repository(name).join("_tags").join(tag)).await
    }

    /// Removes a manifest, every tag that names it, and its entry as a referrer. `false` if there was none.
    pub(crate) async fn delete_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        subject: Option<&Digest>,
    ) -> io::Result<bool> {
        let _links = self.links.lock().await;
        // Tags first: a tag must never name a manifest that is gone.
        for tag in self.tags(name).await?.unwrap_or_default() {
            if self.tag(name, &tag).await?.as_ref() == Some(digest) {
                remove_file(&self.repository(name).join("_tags").join(tag)).await?;
            }
        }
        if let Some(subject) = subject {
            remove_file(&self.link(name, "_referrers", subject).join(digest.to_string())).await?;
        }
        let removed = remove_file(&self.link(name, "_manifests", digest)).await?;
        if removed {
            self.drop_unlinked(digest).await?;
        }
        Ok(removed)
    }

    /// The repository's tags in byte order. `None` if there is no such repository.
    pub(crate) async fn tags(&self, name: &RepositoryName) -> io::Result<Option<Vec<String>>> {
        let folder = self.repository(name);
        if !fs::try_exists(folder.join("_manifests")).await? && !fs::try_exists(folder.join("_blobs")).await?
        {
            return Ok(None);
        }
        list(&folder.join("_tags")).await.map(Some)
    }

    /// The manifests whose subject is `subject`, in byte order.
    pub(crate) async fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> io::Result<Vec<StoredManifest>> {
        let mut manifests = Vec::new();
        for entry in list(&self.link(name, "_referrers", subject)).await? {
            let digest = entry.parse().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            manifests.extend(self.manifest(name, &digest).await?);
        }
        Ok(manifests)
    }

    /// Every repository that ever took a manifest, in byte order.
    pub(crate) async fn repositories(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for folder in self.repository_folders().await? {
            if fs::try_exists(folder.join("_manifests")).await?
                && let Ok(name) = folder.strip_prefix(self.root.join("repositories"))
            {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Every folder below `repositories/` that is part of a name.
    async fn repository_folders(&self) -> io::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        let mut open = vec![self.root.join("repositories")];
        while let Some(folder) = open.pop() {
            for entry in list(&folder).await? {
                if !entry.starts_with('_') {
                    open.push(folder.join(&entry));
                    folders.push(folder.join(entry));
                }
            }
        }
        Ok(folders)
    }

    /// Deletes content that no repository links. The caller holds `links`.
    async fn drop_unlinked(&self, digest: &Digest) -> io::Result<()> {
        for folder in self.repository_folders().await? {
            for kind in ["_blobs", "_manifests"] {
                let link = folder.join(kind).join(digest.algorithm().as_str()).join(digest.hex());
                if fs::try_exists(link).await? {
                    return Ok(());
                }
            }
        }
        remove_file(&self.content_path(digest)).await.map(drop)
    }

    /// Writes a file so that it is there whole or not at all, also after power loss.
    async fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = create_parent(path).await?;
        let temporary = self.root.join("tmp").join(Uuid::new_v4().to_string());
        let written = async {
            let mut file = fs::File::create(&temporary).await?;
            tokio::io::AsyncWriteExt::write_all(&mut file, content).await?;
            file.sync_all().await?;
            fs::rename(&temporary, path).await?;
            sync_folder(&folder).await
        };
        match written.await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Best effort: the folder is emptied on the next start anyway.
                let _ = fs::remove_file(&temporary).await;
                Err(error)
            }
        }
    }
}

/// Hashes bytes.
pub(crate) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// Hashes a file as it is on disk.
pub(crate) async fn digest_of_file(algorithm: Algorithm, path: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut file = fs::File::open(path).await?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// One of the registered hash functions, fed piece by piece.
#[derive(Debug, Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    #[expect(clippy::expect_used, reason = "each hash function returns the length that its algorithm has")]
    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_bytes(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::from_bytes(Algorithm::Sha512, &hasher.finalize()),
        }
        .expect("hash length")
    }
}

/// Turns "no such file" into `None`.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn remove_file(path: &Path) -> io::Result<bool> {
    found(fs::remove_file(path).await).map(|removed| removed.is_some())
}

/// The names in a folder in byte order; none if there is no folder.
async fn list(folder: &Path) -> io::Result<Vec<String>> {
    let Some(mut entries) = found(fs::read_dir(folder).await)? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

async fn create_parent(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().unwrap_or(path).to_owned();
    fs::create_dir_all(&folder).await?;
    Ok(folder)
}

/// Makes a rename into the folder durable.
async fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder).await?.sync_all().await
}
