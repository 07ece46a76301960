//! Where the bytes of a blob are, and hashing them.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use sha2::Digest as _;
use spectra_types::{Algorithm, Digest};

use crate::{
    Descriptor, Error,
    body::FileBody,
    remote::{RemoteBlob, Trouble},
    session::Failed,
    temporary::Temporary,
};

/// Bytes that can be read again from the start as often as an upload needs.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// In memory; for manifests and configurations.
    Memory(Bytes),
    /// A part of a file.
    File { path: Arc<Path>, offset: u64, length: u64 },
    /// A whole temporary file, which goes with the last clone.
    Temporary { path: Arc<Temporary>, length: u64 },
    /// A part of a temporary file, which goes with the last clone.
    Part { path: Arc<Temporary>, offset: u64, length: u64 },
    /// In a registry, read again from there for each attempt.
    Remote(Arc<RemoteBlob>),
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } | Self::Temporary { length, .. } | Self::Part { length, .. } => *length,
            Self::Remote(remote) => remote.len(),
        }
    }

    fn location(&self) -> Option<(&Path, u64, u64)> {
        match self {
            Self::Memory(_) | Self::Remote(_) => None,
            Self::File { path, offset, length } => Some((path, *offset, *length)),
            Self::Temporary { path, length } => Some((path, 0, *length)),
            Self::Part { path, offset, length } => Some((path, *offset, *length)),
        }
    }

    /// What it is called in messages of reading it: a temporary file by its folder, for its path says nothing to people.
    fn shown(&self) -> &Path {
        match self {
            Self::Temporary { path, .. } | Self::Part { path, .. } => path.folder(),
            Self::File { path, .. } => path,
            Self::Memory(_) | Self::Remote(_) => Path::new(""),
        }
    }

    /// What opening and reading it are called, before [`Self::shown`].
    const fn attempts(&self) -> (&'static str, &'static str) {
        match self {
            Self::Temporary { .. } | Self::Part { .. } => {
                ("open a temporary file in", "read a temporary file in")
            }
            _ => ("open", "read"),
        }
    }

    /// Reads `length` bytes from `start` as an HTTP body; `report` hears of every piece that is taken, and `trouble` of what goes
    /// wrong in a registry that the bytes come from.
    pub(crate) async fn body(
        &self,
        start: u64,
        length: u64,
        trouble: &Trouble,
        report: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<reqwest::Body, Failed> {
        if length == 0 {
            return Ok(reqwest::Body::default());
        }
        match self.location() {
            None => {
                let bytes = match self {
                    Self::Memory(bytes) => bytes,
                    Self::Remote(remote) => {
                        let stream = remote.stream(start, length, trouble).await?;
                        let stream = stream.inspect_ok(move |piece| report(piece.len() as u64));
                        return Ok(reqwest::Body::wrap_stream(stream));
                    }
                    _ => return Ok(reqwest::Body::default()),
                };
                let at = |position: u64| usize::try_from(position).unwrap_or(bytes.len()).min(bytes.len());
                let part = bytes.slice(at(start)..at(start + length));
                let stream = futures::stream::iter([Ok::<_, io::Error>(part)]);
                Ok(reqwest::Body::wrap_stream(stream.inspect_ok(move |piece| report(piece.len() as u64))))
            }
            Some((path, offset, _)) => {
                let (open, read) = self.attempts();
                let file = tokio::fs::File::open(path).await.map_err(Error::io(open, self.shown()))?;
                let stream = FileBody::new(file.into_std().await, offset + start, length);
                let (shown, trouble) = (self.shown().to_owned(), trouble.clone());
                let stream = stream
                    .inspect_ok(move |piece| report(piece.len() as u64))
                    .map_err(move |error| trouble.leave(Error::io(read, &shown)(error)));
                Ok(reqwest::Body::wrap_stream(stream))
            }
        }
    }

    /// Opens the content for reading with blocking calls.
    pub(crate) fn reader(&self) -> Result<Box<dyn Read + Send>, Error> {
        match self.location() {
            None => match self {
                Self::Remote(remote) => {
                    let source = io::Error::new(
                        io::ErrorKind::Unsupported,
                        "it is in a registry and was not downloaded",
                    );
                    Err(Error::io("read", remote.name())(source))
                }
                Self::Memory(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
                _ => Ok(Box::new(io::empty())),
            },
            Some((path, offset, length)) => {
                let (open, read) = self.attempts();
                let mut file = File::open(path).map_err(Error::io(open, self.shown()))?;
                file.seek(SeekFrom::Start(offset)).map_err(Error::io(read, self.shown()))?;
                Ok(Box::new(file.take(length)))
            }
        }
    }

    /// Computes the digest by the algorithm of `like`.
    pub(crate) fn digest(&self, like: &Digest) -> Result<Digest, Error> {
        let mut reader = self.reader()?;
        let mut hasher = Hasher::new(like.algorithm());
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = reader.read(&mut buffer).map_err(Error::io(self.attempts().1, self.shown()))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        Ok(hasher.finish())
    }

    /// Reads everything; for documents, whose size the caller has checked.
    pub(crate) fn read_all(&self, path: &Path) -> Result<Bytes, Error> {
        let mut bytes = Vec::new();
        self.reader()?.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        Ok(bytes.into())
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Self::Temporary { path, .. } | Self::Part { path, .. } = self {
            return write!(f, "a temporary file in `{}`", path.folder().display());
        }
        match self.location() {
            None => match self {
                Self::Remote(remote) => remote.fmt(f),
                _ => f.write_str("memory"),
            },
            Some((path, 0, _)) => write!(f, "`{}`", path.display()),
            Some((path, offset, _)) => write!(f, "`{}` at byte {offset}", path.display()),
        }
    }
}

/// Content and how it is known.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) descriptor: Descriptor,
    pub(crate) content: Content,
}

impl Blob {
    /// A blob in memory.
    pub(crate) fn memory(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            descriptor: Descriptor::new(media_type, sha256(&bytes), bytes.len() as u64),
            content: Content::Memory(bytes),
        }
    }
}

/// The SHA-256 digest of bytes in memory.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    finish(Algorithm::Sha256, &sha2::Sha256::digest(bytes))
}

/// The digest of bytes in memory by the algorithm of `like`.
pub(crate) fn digest_like(like: &Digest, bytes: &[u8]) -> Digest {
    match like.algorithm() {
        Algorithm::Sha256 => sha256(bytes),
        Algorithm::Sha512 => finish(Algorithm::Sha512, &sha2::Sha512::digest(bytes)),
    }
}

#[expect(clippy::expect_used, reason = "the hash function returns as many bytes as its algorithm says")]
fn finish(algorithm: Algorithm, hash: &[u8]) -> Digest {
    Digest::from_bytes(algorithm, hash).expect("a hash has its algorithm's length")
}

/// Computes a digest piece by piece, by either algorithm.
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => finish(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => finish(Algorithm::Sha512, &hasher.finalize()),
        }
    }
}

/// Passes bytes on and computes their SHA-256 digest and number.
pub(crate) struct Hashing<T> {
    inner: T,
    hasher: sha2::Sha256,
    count: u64,
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hasher: sha2::Sha256::new(), count: 0 }
    }

    /// The inner value, the digest, and the number of bytes.
    pub(crate) fn finish(self) -> (T, Digest, u64) {
        (self.inner, finish(Algorithm::Sha256, &self.hasher.finalize()), self.count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}
