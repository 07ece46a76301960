//! Tar archives of images: read through once for an index of offsets, then by seeking.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use spectra_types::Digest;
use tempfile::TempPath;

use crate::{
    Descriptor, Error, ImageConfig, ImageIndex,
    content::{Blob, Content},
    gzip::{GZIP_MAGIC, ZSTD_MAGIC, spool},
    layout::check_marker,
    media_type,
    model::null_as_default,
    source::{Artifact, BlobStore, Image, LayerSource, MAX_DOCUMENT, list},
};

/// How many links an entry may lead through.
const MAX_LINKS: usize = 16;

/// An indexed tar file.
pub(crate) struct Archive {
    /// What the user named; for messages.
    origin: PathBuf,
    file: Arc<Path>,
    entries: HashMap<String, Entry>,
    /// Keeps the decompressed copy of a compressed archive until the last blob of it is gone.
    unpacked: Option<Arc<TempPath>>,
}

enum Entry {
    File { offset: u64, length: u64 },
    Link(String),
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
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut magic = [0; 4];
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let count = file.read(&mut magic).map_err(Error::io("read", path))?;
        if count == 4 && magic == ZSTD_MAGIC {
            return Err(Error::input(path, "it is zstd-compressed; decompress it first: `zstd -d FILE`"));
        }
        let unpacked = if magic[..2] == GZIP_MAGIC { Some(Arc::new(gunzip(path)?)) } else { None };
        let file: &Path = unpacked.as_ref().map_or(path, |temporary| temporary.as_ref());
        let entries = index(file, path)?;
        Ok(Self { origin: path.to_owned(), file: Arc::from(file), entries, unpacked })
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
        let layers =
            image.layers.iter().zip(config.rootfs.diff_ids).map(|(name, diff_id)| self.layer(name, diff_id));
        Ok(Artifact::Image(Image {
            origin: self.origin.clone(),
            config: Blob::memory(media_type::CONFIG, bytes),
            layers: layers.collect::<Result<_, _>>()?,
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
        content.read_all(&self.origin)
    }

    fn find(&self, name: &str) -> Result<Content, Error> {
        let missing = || Error::input(&self.origin, format!("`{name}` is missing from the archive"));
        self.lookup(name).ok_or_else(missing)
    }

    /// Follows links inside the archive's own name space; the file system is never asked.
    fn lookup(&self, name: &str) -> Option<Content> {
        let mut name = normalise(name, "");
        for _ in 0..MAX_LINKS {
            match self.entries.get(&name)? {
                Entry::Link(target) => name.clone_from(target),
                Entry::File { offset, length } => {
                    return Some(match &self.unpacked {
                        // A part of a temporary file has to keep that file alive.
                        Some(temporary) => {
                            Content::Part { path: Arc::clone(temporary), offset: *offset, length: *length }
                        }
                        None => {
                            Content::File { path: Arc::clone(&self.file), offset: *offset, length: *length }
                        }
                    });
                }
            }
        }
        None
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
        Ok(self.lookup(&format!("blobs/{}/{}", digest.algorithm(), digest.hex())))
    }
}

fn index(file: &Path, origin: &Path) -> Result<HashMap<String, Entry>, Error> {
    let malformed =
        |error: io::Error| Error::input(origin, format!("it is not a tar archive, or cut off: {error}"));
    let handle = File::open(file).map_err(Error::io("open", origin))?;
    let total = handle.metadata().map_err(Error::io("read", origin))?.len();
    let mut archive = tar::Archive::new(handle);
    let mut entries = HashMap::new();
    for entry in archive.entries_with_seek().map_err(malformed)? {
        let entry = entry.map_err(malformed)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let header = entry.header().entry_type();
        let key = normalise(&name, "");
        if header.is_file() {
            let (offset, length) = (entry.raw_file_position(), entry.size());
            if offset.saturating_add(length) > total {
                return Err(Error::input(origin, format!("it is cut off inside `{name}`")));
            }
            entries.insert(key, Entry::File { offset, length });
        } else if header.is_symlink() || header.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default();
            let target = String::from_utf8_lossy(&target);
            // A symbolic link is relative to its directory, a hard link to the root of the archive.
            let base = if header.is_symlink() { key.rfind('/').map_or("", |at| &key[..at]) } else { "" };
            let target = normalise(&target, base);
            entries.insert(key, Entry::Link(target));
        } else if header.is_gnu_sparse() {
            return Err(Error::input(
                origin,
                format!("`{name}` is stored sparse, which cannot be read by offset"),
            ));
        }
    }
    Ok(entries)
}

/// A name without `.` and `..`, inside `base`; `..` above the root stays at the root.
fn normalise(name: &str, base: &str) -> String {
    let base = if name.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn gunzip(path: &Path) -> Result<TempPath, Error> {
    let (mut output, temporary) = spool()?;
    let input = File::open(path).map_err(Error::io("open", path))?;
    let mut decoder = flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(256 * 1024, input));
    io::copy(&mut decoder, &mut output).map_err(Error::io("decompress", path))?;
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(normalise("./a//b/./c", ""), "a/b/c");
        assert_eq!(normalise("../../../etc/passwd", "x/y"), "etc/passwd");
        assert_eq!(normalise("../layer.tar", "abc"), "layer.tar");
        assert_eq!(normalise("/etc", "x"), "etc");
        assert_eq!(normalise("a//../b", ""), "b");
    }

    proptest! {
        #[test]
        fn indexing_garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("x.tar");
            std::fs::write(&path, bytes).unwrap();
            let _ = Archive::open(&path);
        }
    }
}
