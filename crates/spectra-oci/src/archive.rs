//! Tar archives of images: read through once for an index of offsets, then by seeking.

use std::{
    cell::Cell,
    collections::HashMap,
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use spectra_types::Digest;

use crate::{
    Descriptor, Error, ImageConfig, ImageIndex,
    content::{Blob, Content},
    gzip::{GZIP_MAGIC, ZSTD_MAGIC},
    layout::check_marker,
    limits::{OpenLimits, check_layers, check_values},
    media_type,
    model::null_as_default,
    source::{Artifact, BlobStore, Image, LayerSource, MAX_DOCUMENT, list},
    spool,
    tar_index::{Entries, Entry, index, normalise},
    temporary::Temporary,
};

/// How many links an entry may lead through.
const MAX_LINKS: usize = 16;

/// An indexed tar file.
pub(crate) struct Archive {
    /// What the user named; for messages.
    origin: PathBuf,
    file: Arc<Path>,
    entries: Entries,
    /// Keeps the decompressed copy of a compressed archive until the last blob of it is gone.
    unpacked: Option<Arc<Temporary>>,
}

/// One image in `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default, deserialize_with = "null_as_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    layers: Vec<String>,
}

impl Archive {
    pub(crate) fn open(path: &Path, limits: &OpenLimits) -> Result<Self, Error> {
        let mut magic = [0; 4];
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let count = file.read(&mut magic).map_err(Error::io("read", path))?;
        limits.check_size(path, file.metadata().map_err(Error::io("read", path))?.len())?;
        let unpacked = if count >= 2 && magic[..2] == GZIP_MAGIC {
            Some(Arc::new(unpack(path, Packed::Gzip, limits)?))
        } else if count == 4 && magic == ZSTD_MAGIC {
            Some(Arc::new(unpack(path, Packed::Zstd, limits)?))
        } else {
            None
        };
        let file: &Path = unpacked.as_ref().map_or(path, |temporary| temporary);
        let entries = index(&File::open(file).map_err(Error::io("open", path))?, path)?;
        Ok(Self { origin: path.to_owned(), file: Arc::from(file), entries, unpacked })
    }

    /// An uncompressed archive that can be read, to take blobs from; for others, nothing.
    pub(crate) fn open_plain(path: &Path) -> Option<Self> {
        let mut magic = [0; 4];
        File::open(path).ok()?.read_exact(&mut magic).ok()?;
        let compressed = magic[..2] == GZIP_MAGIC || magic == ZSTD_MAGIC;
        (!compressed).then(|| Self::open(path, &OpenLimits::default()).ok())?
    }

    /// Whether `docker save` wrote it. Newer ones also have an OCI index, but of raw layers.
    pub(crate) fn is_docker(&self) -> bool {
        self.entries.contains_key("manifest.json")
    }

    pub(crate) fn load_docker(&self, name: Option<&str>) -> Result<Artifact, Error> {
        let images: Vec<Saved> = self.json("manifest.json")?;
        let wanted = |image: &&Saved| name.is_none_or(|name| image.repo_tags.iter().any(|tag| tag == name));
        let chosen: Vec<&Saved> = images.iter().filter(wanted).collect();
        let [image] = chosen.as_slice() else {
            let names: Vec<String> = images.iter().flat_map(|image| image.repo_tags.clone()).collect();
            let reason = match (chosen.len(), name) {
                (0, Some(name)) => format!("it holds no image `{name}`, but {}", list(&names)),
                (0, None) => "it holds no image".to_owned(),
                _ => format!("it holds several images, choose one by name: {}", list(&names)),
            };
            return Err(Error::input(&self.origin, reason));
        };
        let bytes = self.bytes(&image.config)?;
        let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|error| {
            Error::input(&self.origin, format!("`{}` is malformed: {error}", image.config))
        })?;
        if config.rootfs.diff_ids.len() != image.layers.len() {
            let reason = format!(
                "its configuration names {} layers, its manifest {}",
                config.rootfs.diff_ids.len(),
                image.layers.len()
            );
            return Err(Error::input(&self.origin, reason));
        }
        check_layers(&self.origin, image.layers.len())?;
        // Layers that are repeated are read once.
        let mut known: HashMap<&str, LayerSource> = HashMap::new();
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(config.rootfs.diff_ids) {
            layers.push(match known.get(name.as_str()) {
                Some(LayerSource::Ready(blob)) => LayerSource::Ready(blob.clone()),
                _ => self.layer(name, diff_id)?,
            });
            if let Some(layer) = layers.last() {
                known.insert(name, layer.clone());
            }
        }
        Ok(Artifact::Image(Image {
            origin: self.origin.clone(),
            config: Blob::memory(media_type::CONFIG, bytes),
            layers,
            manifest: None,
        }))
    }

    /// A layer of a docker archive: raw as a rule; compressed ones are passed on as they are.
    fn layer(&self, name: &str, diff_id: Digest) -> Result<LayerSource, Error> {
        let content = self.find(name)?;
        let mut magic = [0; 4];
        let mut reader = content.reader()?;
        let count = reader.read(&mut magic).map_err(Error::io("read", &self.origin))?;
        let media_type = if count >= 2 && magic[..2] == GZIP_MAGIC {
            media_type::LAYER_GZIP
        } else if count == 4 && magic == ZSTD_MAGIC {
            media_type::LAYER_ZSTD
        } else {
            return Ok(LayerSource::Raw { content, diff_id });
        };
        let mut hashing = crate::content::Hashing::new(content.reader()?);
        io::copy(&mut hashing, &mut io::sink()).map_err(Error::io("read", &self.origin))?;
        let (_, digest, length) = hashing.finish();
        Ok(LayerSource::Ready(Blob { descriptor: Descriptor::new(media_type, digest, length), content }))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(name)?)
            .map_err(|error| Error::input(&self.origin, format!("`{name}` is malformed: {error}")))
    }

    fn bytes(&self, name: &str) -> Result<bytes::Bytes, Error> {
        let content = self.find(name)?;
        if content.len() > MAX_DOCUMENT {
            return Err(Error::input(&self.origin, format!("`{name}` has {} bytes", content.len())));
        }
        let bytes = content.read_all(&self.origin)?;
        check_values(&self.origin, &bytes)?;
        Ok(bytes)
    }

    fn find(&self, name: &str) -> Result<Content, Error> {
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
        for links in 0..MAX_LINKS {
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
        refuse(format!("the links from `{wanted}` lead in a circle, or through more than {MAX_LINKS}"))
    }
}

impl BlobStore for Archive {
    fn path(&self) -> &Path {
        &self.origin
    }

    fn index(&self) -> Result<ImageIndex, Error> {
        if !self.entries.contains_key("oci-layout") {
            let reason =
                "the archive has neither `manifest.json` (docker save) nor `oci-layout` (OCI archive)";
            return Err(Error::input(&self.origin, reason));
        }
        check_marker(&self.origin, &String::from_utf8_lossy(&self.bytes("oci-layout")?))?;
        self.json("index.json")
    }

    fn content(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        self.lookup(&format!("blobs/{}/{}", digest.algorithm(), digest.hex()))
    }
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy)]
enum Packed {
    Gzip,
    Zstd,
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
const MAX_WINDOW_LOG: u32 = 25;

/// Decompresses an archive into a temporary file, within the limits.
fn unpack(path: &Path, packed: Packed, limits: &OpenLimits) -> Result<Temporary, Error> {
    let folder = spool::folder();
    let inner = File::open(path).map_err(Error::io("open", path))?;
    let length = inner.metadata().map_err(Error::io("read", path))?.len();
    spool::ensure(&folder, length, || format!("decompress `{}`", path.display()))?;
    let (mut output, temporary) = spool::file(&folder)?;
    let count = Cell::new(0);
    let input = Counted { inner, count: &count };
    let input = io::BufReader::with_capacity(256 * 1024, input);
    let mut decoder: Box<dyn Read> = match packed {
        Packed::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Packed::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(input).map_err(Error::io("decompress", path))?;
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(Error::io("decompress", path))?;
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
            Err(error) => return Err(Error::io("decompress", path)(error)),
        };
        written += read as u64;
        limits.check(path, count.get(), written)?;
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
