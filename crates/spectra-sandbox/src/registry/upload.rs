//! Uploads under way: one file each, its length is the offset.
//!
//! The file is the truth. The running hash beside it in memory is only a saving: when it does not cover exactly
//! the bytes of the file (after a restart, or a connection that broke in the middle), the file is read again.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Body;
use futures::StreamExt;
use spectra_types::{Algorithm, Digest};
use tokio::{
    fs,
    io::AsyncWriteExt,
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
};
use uuid::Uuid;

use super::{
    name::RepositoryName,
    store::{Hasher, Store, digest_of_file},
};

/// The uploads of one registry.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    /// One lock an upload: two requests for the same upload take turns.
    open: Mutex<HashMap<Uuid, Arc<AsyncMutex<RunningHash>>>>,
    /// The last uploads that ended, to tell a late client from one that makes ids up.
    ended: Mutex<VecDeque<Uuid>>,
}

/// The length of a running hash that is of no use any more: no file is that long.
const STALE: u64 = u64::MAX;

/// How many ended uploads are remembered.
const KEPT: usize = 1_000;

/// The hash of the first `length` bytes.
#[derive(Debug)]
struct RunningHash {
    hasher: Hasher,
    length: u64,
    /// Bytes of the last part.
    last_part: Option<u64>,
}

impl Default for RunningHash {
    fn default() -> Self {
        Self { hasher: Hasher::new(Algorithm::Sha256), length: 0, last_part: None }
    }
}

/// One upload, held by one request.
pub(crate) struct Upload {
    pub(crate) id: Uuid,
    folder: PathBuf,
    hash: OwnedMutexGuard<RunningHash>,
    /// Bytes in the file.
    pub(crate) offset: u64,
    /// The moment ([`Store::moment`]) at which the upload began.
    pub(crate) since: u64,
}

/// Why bytes were not taken.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The client went away or sent a broken body; what came before stays and can be resumed.
    Body(String),
    /// The upload would grow over the limit.
    TooLarge,
    /// Our file system.
    Store(io::Error),
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        Self::Store(error)
    }
}

impl Uploads {
    /// Begins an upload.
    pub(crate) async fn begin(&self, store: &Store, name: &RepositoryName) -> io::Result<Upload> {
        let id = Uuid::new_v4();
        let folder = store.upload_folder(id);
        fs::create_dir_all(&folder).await?;
        fs::write(folder.join("data"), b"").await?;
        let since = store.moment();
        fs::write(folder.join("began"), since.to_string()).await?;
        // Last: an upload without this file does not exist.
        fs::write(folder.join("repository"), name.as_str()).await?;
        let hash = self.lock(id).await;
        Ok(Upload { id, folder, hash, offset: 0, since })
    }

    /// Takes up an upload. `None` if the repository has no such upload.
    pub(crate) async fn resume(
        &self,
        store: &Store,
        name: &RepositoryName,
        id: Uuid,
    ) -> io::Result<Option<Upload>> {
        let folder = store.upload_folder(id);
        let mut hash = self.lock(id).await;
        let owner = fs::read_to_string(folder.join("repository")).await;
        match owner {
            Ok(owner) if owner == name.as_str() => {}
            // Another repository's: it goes on there, with its lock and its hash.
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(id);
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let offset = match fs::metadata(folder.join("data")).await {
            Ok(data) => data.len(),
            // The process died when the bytes had become a blob, before the rest was removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(id);
                fs::remove_dir_all(&folder).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if hash.length != offset {
            hash.length = STALE;
        }
        // An upload of a store that kept no moments counts as the first of all: it is blamed for nothing.
        let since = fs::read_to_string(folder.join("began")).await;
        let since = since.ok().and_then(|moment| moment.parse().ok()).unwrap_or(0);
        Ok(Some(Upload { id, folder, hash, offset, since }))
    }

    async fn lock(&self, id: Uuid) -> OwnedMutexGuard<RunningHash> {
        let lock =
            Arc::clone(self.open.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default());
        lock.lock_owned().await
    }

    fn forget(&self, id: Uuid) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Whether an upload has ended of late.
    pub(crate) fn has_ended(&self, id: Uuid) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Ends an upload and removes what is left of its files.
    pub(crate) async fn end(&self, upload: Upload) -> io::Result<()> {
        self.forget(upload.id);
        {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if ended.len() == KEPT {
                ended.pop_front();
            }
            ended.push_back(upload.id);
        }
        // First: an upload without this file does not exist, whatever becomes of the rest.
        fs::remove_file(upload.folder.join("repository")).await?;
        fs::remove_dir_all(&upload.folder).await
    }
}

impl Upload {
    /// The last byte that is there, as the `Range` header wants it.
    pub(crate) fn range(&self) -> String {
        format!("0-{}", self.offset.saturating_sub(1))
    }

    /// Bytes of the part before, if there was one since the start.
    pub(crate) fn last_part(&self) -> Option<u64> {
        self.hash.last_part
    }

    /// Remembers how large a part was.
    pub(crate) fn set_last_part(&mut self, bytes: u64) {
        self.hash.last_part = Some(bytes);
    }

    /// The file with the bytes.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Appends a body. When it fails, the bytes that came stay, and `offset` says how many.
    pub(crate) async fn append(&mut self, body: Body, limit: u64) -> Result<(), AppendError> {
        let mut file = fs::OpenOptions::new().append(true).open(self.data()).await?;
        let mut stream = body.into_data_stream();
        let mut outcome = Ok(());
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    outcome = Err(AppendError::Body(error.to_string()));
                    break;
                }
            };
            if self.offset + piece.len() as u64 > limit {
                outcome = Err(AppendError::TooLarge);
                break;
            }
            file.write_all(&piece).await?;
            if self.hash.length == self.offset {
                self.hash.hasher.update(&piece);
                self.hash.length += piece.len() as u64;
            }
            self.offset += piece.len() as u64;
        }
        file.flush().await?;
        outcome
    }

    /// Cuts the file back to a former length.
    pub(crate) async fn truncate(&mut self, length: u64) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(self.data()).await?;
        file.set_len(length).await?;
        self.offset = length;
        self.hash.length = STALE;
        Ok(())
    }

    /// Makes the bytes durable and hashes them.
    pub(crate) async fn seal(&mut self, algorithm: Algorithm) -> io::Result<Digest> {
        fs::OpenOptions::new().write(true).open(self.data()).await?.sync_all().await?;
        if algorithm == Algorithm::Sha256 && self.hash.length == self.offset {
            return Ok(self.hash.hasher.clone().finish());
        }
        digest_of_file(algorithm, &self.data()).await
    }
}
