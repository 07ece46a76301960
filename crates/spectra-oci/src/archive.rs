//! Tar archives of images: read through once for an index of offsets, then by seeking.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use spectra_types::Digest;

use crate::{
    Error, ImageIndex,
    content::Content,
    document::{self, Shape},
    gzip::{GZIP_MAGIC, ZSTD_MAGIC},
    layout::check_marker,
    limits::OpenLimits,
    media_type,
    source::{BlobStore, MAX_DOCUMENT},
    spool,
    tar_index::{Entries, Entry, index, normalise},
    temporary::Temporary,
};

/// Most links inside an archive that lead to an entry of it.
const MAX_ENTRY_LINKS: usize = 16;

/// An indexed tar file.
pub(crate) struct Archive {
    /// What the user named; for messages.
    pub(crate) origin: PathBuf,
    pub(crate) limits: OpenLimits,
    file: Arc<Path>,
    entries: Entries,
    /// The temporary file that it is in, if it is in one: the decompressed copy of a compressed archive, or what an engine gave. Kept
    /// until the last blob of it is gone.
    unpacked: Option<Arc<Temporary>>,
}

impl Archive {
    pub(crate) fn open(path: &Path, limits: &OpenLimits) -> Result<Self, Error> {
        Self::open_as(path, path, None, limits)
    }

    /// An archive in a temporary file, which its blobs keep alive. It is called `shown` in messages.
    pub(crate) fn open_temporary(
        file: Arc<Temporary>,
        shown: &Path,
        limits: &OpenLimits,
    ) -> Result<Self, Error> {
        let path = file.to_path_buf();
        Self::open_as(&path, shown, Some(file), limits)
    }

    fn open_as(
        path: &Path,
        origin: &Path,
        held: Option<Arc<Temporary>>,
        limits: &OpenLimits,
    ) -> Result<Self, Error> {
        let mut magic = [0; 4];
        let mut file = File::open(path).map_err(Error::io("open", origin))?;
        let count = file.read(&mut magic).map_err(Error::io("read", origin))?;
        limits.check_size(origin, file.metadata().map_err(Error::io("read", origin))?.len())?;
        let unpacked = match Packed::of(&magic[..count]) {
            Some(packed) => Some(Arc::new(unpack(path, origin, packed, limits)?)),
            None => held,
        };
        let file: &Path = unpacked.as_ref().map_or(path, |temporary| temporary);
        let entries = index(&File::open(file).map_err(Error::io("open", origin))?, origin)?;
        Ok(Self { origin: origin.to_owned(), limits: *limits, file: Arc::from(file), entries, unpacked })
    }

    /// An uncompressed archive that can be read, to take blobs from; for others, nothing.
    pub(crate) fn open_plain(path: &Path) -> Option<Self> {
        // Opening a pipe would wait for somebody to write into it.
        if !std::fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let mut magic = [0; 4];
        File::open(path).ok()?.read_exact(&mut magic).ok()?;
        Packed::of(&magic).is_none().then(|| Self::open(path, &OpenLimits::default()).ok())?
    }

    /// Whether there is an entry of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether it is a layout. Engines write one besides what `docker save` has always written.
    pub(crate) fn is_oci(&self) -> bool {
        self.has("oci-layout") && self.has("index.json")
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        shape: &'static Shape,
    ) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(name, shape)?)
            .map_err(|error| Error::input(&self.origin, format!("`{name}` is malformed: {error}")))
    }

    pub(crate) fn bytes(&self, name: &str, shape: &'static Shape) -> Result<bytes::Bytes, Error> {
        let content = self.find(name)?;
        if content.len() > MAX_DOCUMENT {
            return Err(Error::input(&self.origin, format!("`{name}` has {} bytes", content.len())));
        }
        let bytes = content.read_all(&self.origin)?;
        document::check(&self.origin, &bytes, shape)?;
        Ok(bytes)
    }

    pub(crate) fn find(&self, name: &str) -> Result<Content, Error> {
        self.lookup(name)?.ok_or_else(|| {
            Error::input(&self.origin, format!("`{}` is missing from the archive", name.escape_debug()))
        })
    }

    /// Follows links inside the archive's own name space; the file system is never asked.
    fn lookup(&self, name: &str) -> Result<Option<Content>, Error> {
        let wanted = name.escape_debug();
        let refuse = |reason: String| Err(Error::input(&self.origin, reason));
        let Some(mut name) = normalise(name, "") else {
            return refuse(format!("the name `{wanted}` leads out of the archive"));
        };
        for links in 0..MAX_ENTRY_LINKS {
            match self.entries.get(&name) {
                None if links == 0 => return Ok(None),
                None => {
                    let name = name.escape_debug();
                    return refuse(format!("`{wanted}` is a link to `{name}`, which is missing"));
                }
                Some(Entry::Directory) => return refuse(format!("`{wanted}` is a directory")),
                Some(Entry::Link(target)) => name.clone_from(target),
                Some(Entry::File { offset, length }) => {
                    return Ok(Some(match &self.unpacked {
                        // A part of a temporary file has to keep that file alive.
                        Some(temporary) => {
                            Content::Part { path: Arc::clone(temporary), offset: *offset, length: *length }
                        }
                        None => {
                            Content::File { path: Arc::clone(&self.file), offset: *offset, length: *length }
                        }
                    }));
                }
            }
        }
        refuse(format!("the links from `{wanted}` lead in a circle, or through more than {MAX_ENTRY_LINKS}"))
    }
}

impl BlobStore for Archive {
    fn path(&self) -> &Path {
        &self.origin
    }

    fn index(&self) -> Result<ImageIndex, Error> {
        if !self.has("oci-layout") {
            let reason = if self.has("manifest.json") {
                "it has no `oci-layout`, which an OCI archive has; what `docker save` writes is `docker-archive:`"
            } else {
                "the archive has neither `manifest.json` (docker save) nor `oci-layout` (OCI archive)"
            };
            return Err(Error::input(&self.origin, reason));
        }
        check_marker(&self.origin, &self.bytes("oci-layout", document::MARKER)?)?;
        let bytes = self.bytes("index.json", document::MANIFEST)?;
        document::check_type(&self.origin, &bytes, Some(media_type::INDEX))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::input(&self.origin, format!("`index.json` is malformed: {error}")))
    }

    fn content(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        self.lookup(&format!("blobs/{}/{}", digest.algorithm(), digest.hex()))
    }
}

/// How an archive or a layer is compressed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Packed {
    Gzip,
    Zstd,
}

impl Packed {
    /// By the first bytes; nothing if they are of neither format.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(&GZIP_MAGIC) {
            return Some(Self::Gzip);
        }
        start.starts_with(&ZSTD_MAGIC).then_some(Self::Zstd)
    }

    /// The media type of such a layer.
    pub(crate) const fn layer(self) -> &'static str {
        match self {
            Self::Gzip => media_type::LAYER_GZIP,
            Self::Zstd => media_type::LAYER_ZSTD,
        }
    }
}

/// Counts what is read.
struct Counted<'a> {
    inner: File,
    count: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

/// The largest window of a zstd archive, as a power of two: 32 MiB, what `zstd -19` needs and more.
pub(crate) const MAX_WINDOW_LOG: u32 = 25;

/// Decompresses an archive into a temporary file, within the limits.
fn unpack(path: &Path, origin: &Path, packed: Packed, limits: &OpenLimits) -> Result<Temporary, Error> {
    let folder = spool::folder();
    let inner = File::open(path).map_err(Error::io("open", origin))?;
    let length = inner.metadata().map_err(Error::io("read", origin))?.len();
    spool::ensure(&folder, length, || format!("decompress `{}`", origin.display()))?;
    let (mut output, temporary) = spool::file(&folder)?;
    let count = Cell::new(0);
    let input = Counted { inner, count: &count };
    let input = io::BufReader::with_capacity(256 * 1024, input);
    let mut decoder: Box<dyn Read> = match packed {
        Packed::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Packed::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(input).map_err(Error::io("decompress", origin))?;
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(Error::io("decompress", origin))?;
            Box::new(decoder)
        }
    };
    let mut buffer = vec![0; 256 * 1024];
    let mut written = 0;
    loop {
        let read = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(temporary),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("decompress", origin)(error)),
        };
        written += read as u64;
        limits.check(origin, count.get(), written)?;
        output.write_all(&buffer[..read]).map_err(Error::io("decompress into", temporary.folder()))?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(normalise("./a//b/./c", "").as_deref(), Some("a/b/c"));
        assert_eq!(normalise("../layer.tar", "abc").as_deref(), Some("layer.tar"));
        assert_eq!(normalise("a//../b", "").as_deref(), Some("b"));
        for outside in ["../../../etc/passwd", "/etc", "a/../../b", ".."] {
            assert_eq!(normalise(outside, "x/y").filter(|_| outside.starts_with('/')), None);
            assert_eq!(normalise(outside, ""), None, "{outside}");
        }
    }

    proptest! {
        #[test]
        fn indexing_garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("x.tar");
            std::fs::write(&path, bytes).unwrap();
            let _ = Archive::open(&path, &OpenLimits::default());
        }
    }
}
