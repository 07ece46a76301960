//! Base images: fetched once by digest, kept in a layout, and looked into for the directories that they have.

use std::{
    collections::HashMap,
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path},
    sync::Arc,
};

use spectra_types::{ImageRef, PinnedImage};

use crate::{
    Artifact, Client, Descriptor, Error, Image, Layout, NoProgress, Packing, Platform, Progress,
    content::{Blob, Content},
    gzip::{GZIP_MAGIC, ZSTD_MAGIC},
    media_type,
    source::{LayerSource, open},
};

/// Docker's spelling of a gzip-compressed layer.
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An image to build on, all of it on the local disk.
#[derive(Debug, Clone)]
pub struct Base {
    /// What it was asked for as; its digest may be that of an index.
    pub(crate) name: String,
    pub(crate) pinned: PinnedImage,
    pub(crate) image: Image,
}

impl Base {
    /// The layers as an OCI manifest may name them, with Docker's media types in OCI's words; the blobs are the same.
    pub(crate) fn layers(&self) -> Result<Vec<Blob>, Error> {
        let mut layers = Vec::new();
        for blob in self.image.ready_layers() {
            let mut blob = blob.clone();
            let descriptor = &mut blob.descriptor;
            if descriptor.media_type == DOCKER_LAYER {
                media_type::LAYER_GZIP.clone_into(&mut descriptor.media_type);
            }
            let known = [media_type::LAYER_TAR, media_type::LAYER_GZIP, media_type::LAYER_ZSTD];
            if !known.contains(&descriptor.media_type.as_str()) {
                let reason = format!(
                    "layer `{}` of the base image `{}` has the type `{}`, which cannot be carried over",
                    descriptor.digest, self.pinned, descriptor.media_type
                );
                return Err(Error::Build { reason });
            }
            layers.push(blob);
        }
        Ok(layers)
    }
}

impl Client {
    /// Brings a base image to the local disk: the image for `platform`, if `image` leads to several.
    ///
    /// `image` has to name a digest. What `cache` holds of it, whole and undamaged, is not fetched again, so that a build whose
    /// base is there needs no network; what is fetched is kept there.
    pub async fn base(
        &self,
        image: &ImageRef,
        platform: &Platform,
        cache: &Layout,
        jobs: usize,
        progress: Arc<dyn Progress>,
    ) -> Result<Base, Error> {
        let Some(digest) = image.digest() else {
            let now = self.resolve(image).await?.image;
            let reason = format!(
                "the base image `{image}` is named by a tag, which may mean another image tomorrow; name its digest: now it is `{image}@{}`",
                now.digest()
            );
            return Err(Error::Build { reason });
        };
        let pinned = image.pin(digest.clone());
        let name = image.tag().map_or_else(
            || format!("{}/{}", image.registry(), image.repository()),
            |tag| format!("{}/{}:{tag}", image.registry(), image.repository()),
        );
        let key = format!("{pinned}#{platform}");
        let (layout, entry) = (cache.clone(), key.clone());
        if let Some(image) = blocking(move || cached(&layout, &entry)).await? {
            return Ok(Base { name, pinned, image });
        }
        let artifact = self.open(&pinned.image_ref(), Some(platform), progress).await?;
        let layout = cache.clone();
        let artifact = blocking(move || artifact.reuse(&layout)).await?.download(jobs).await?;
        let Artifact::Image(image) = artifact.clone() else {
            let reason = format!("`{pinned}` has an index where the image for `{platform}` should be");
            return Err(Error::Build { reason });
        };
        let layout = cache.clone();
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        blocking(move || artifact.store(&layout, Some(&key), &Packing::default(), &progress)).await?;
        Ok(Base { name, pinned, image })
    }
}

async fn blocking<T: Send + 'static>(
    action: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(action)
        .await
        .map_err(|source| Error::Worker { attempt: "read the base image".to_owned(), source })?
}

/// A base image that is in the cache. Damaged blobs are removed, so that they are fetched again.
fn cached(cache: &Layout, key: &str) -> Result<Option<Image>, Error> {
    let index = cache.index()?;
    let named =
        |entry: &Descriptor| entry.annotations.get(crate::layout::REF_NAME).is_some_and(|name| name == key);
    if !index.manifests.iter().any(named) {
        return Ok(None);
    }
    // Whatever is wrong with the cache is cured by fetching again.
    let Ok(Artifact::Image(image)) = open(cache.root(), Some(key)) else { return Ok(None) };
    let mut whole = true;
    for blob in image.ready_layers() {
        let expected = &blob.descriptor.digest;
        if blob.content.digest(expected)? != *expected {
            cache.discard(expected)?;
            whole = false;
        }
    }
    Ok(whole.then_some(image))
}

/// What a path is in the base image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Link,
    File,
}

/// The paths of a base image, as its layers leave them.
#[derive(Debug, Default)]
pub(crate) struct BaseTree {
    paths: HashMap<Vec<u8>, Kind>,
}

impl BaseTree {
    /// Reads the headers of all layers. Blocking.
    pub(crate) fn read(image: &Image) -> Result<Self, Error> {
        let mut tree = Self::default();
        for layer in &image.layers {
            let LayerSource::Ready(blob) = layer else { continue };
            let mut reader = blob.content.reader()?;
            let mut magic = Vec::new();
            reader.by_ref().take(4).read_to_end(&mut magic).map_err(Error::io("read", &image.origin))?;
            let whole = io::Cursor::new(magic.clone()).chain(reader);
            let plain: Box<dyn Read> = if magic.starts_with(&GZIP_MAGIC) {
                Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(128 * 1024, whole)))
            } else if magic == ZSTD_MAGIC {
                Box::new(zstd::stream::read::Decoder::new(whole).map_err(Error::io("read", &image.origin))?)
            } else {
                Box::new(whole)
            };
            tree.add_layer(plain).map_err(|error| {
                let reason = format!("layer `{}` cannot be listed: {error}", blob.descriptor.digest);
                Error::input(&image.origin, reason)
            })?;
        }
        Ok(tree)
    }

    fn add_layer(&mut self, layer: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(layer);
        let mut added = HashMap::new();
        for entry in archive.entries()? {
            let entry = entry?;
            let path = key(&entry.path()?);
            let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(at) => (&path[..at], &path[at + 1..]),
                None => (&path[..0], &path[..]),
            };
            if name == b".wh..wh..opq" {
                self.remove_below(parent);
            } else if let Some(hidden) = name.strip_prefix(b".wh.") {
                let mut hidden_path = parent.to_vec();
                if !hidden_path.is_empty() {
                    hidden_path.push(b'/');
                }
                hidden_path.extend_from_slice(hidden);
                self.paths.remove(&hidden_path);
                self.remove_below(&hidden_path);
            } else {
                let kind = match entry.header().entry_type() {
                    tar::EntryType::Directory => Kind::Directory,
                    tar::EntryType::Symlink => Kind::Link,
                    _ => Kind::File,
                };
                added.insert(path, kind);
            }
        }
        // What a layer adds is not touched by what it hides, in whichever order they stand.
        for (path, kind) in added {
            if kind != Kind::Directory && self.paths.get(&path) == Some(&Kind::Directory) {
                self.remove_below(&path);
            }
            self.paths.insert(path, kind);
        }
        Ok(())
    }

    fn remove_below(&mut self, directory: &[u8]) {
        self.paths.retain(|path, _| {
            !(directory.is_empty()
                || path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/')))
        });
    }

    pub(crate) fn is_directory(&self, path: &[u8]) -> bool {
        self.paths.get(path) == Some(&Kind::Directory)
    }

    pub(crate) fn is_link(&self, path: &[u8]) -> bool {
        self.paths.get(path) == Some(&Kind::Link)
    }

    pub(crate) fn is_file(&self, path: &[u8]) -> bool {
        self.paths.get(path) == Some(&Kind::File)
    }
}

/// A path without `.`, `..` and leading `/`.
fn key(path: &Path) -> Vec<u8> {
    let mut key = Vec::new();
    for component in path.components() {
        if let Component::Normal(name) = component {
            if !key.is_empty() {
                key.push(b'/');
            }
            key.extend_from_slice(name.as_bytes());
        }
    }
    key
}

impl Artifact {
    /// Repositories of `registry` that the images say they were built on, to link layers from instead of sending them.
    pub(crate) fn base_repositories(&self, registry: &str) -> Vec<String> {
        let mut repositories = Vec::new();
        for image in self.images() {
            let Some(Content::Memory(bytes)) = image.manifest.as_ref().map(|manifest| &manifest.content)
            else {
                continue;
            };
            let Ok(manifest) = serde_json::from_slice::<crate::ImageManifest>(bytes) else { continue };
            let name = manifest.annotations.get(BASE_NAME).and_then(|name| name.parse::<ImageRef>().ok());
            if let Some(name) = name.filter(|name| name.registry() == registry) {
                repositories.push(name.repository().to_owned());
            }
        }
        repositories
    }
}

/// The annotation of OCI for the name of the image that one was built on.
pub(crate) const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// The annotation of OCI for its digest.
pub(crate) const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(entries: &[(&str, tar::EntryType)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(0);
            if *kind == tar::EntryType::Symlink {
                builder.append_link(&mut header, name, "usr/bin").unwrap();
            } else {
                builder.append_data(&mut header, name, io::empty()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_tree_is_what_all_layers_leave() {
        use tar::EntryType::{Directory, Regular, Symlink};
        let mut tree = BaseTree::default();
        let first = [
            ("./bin", Symlink),
            ("etc/", Directory),
            ("etc/a", Regular),
            ("etc/b", Regular),
            ("opt/x/y", Regular),
        ];
        tree.add_layer(layer(&first).as_slice()).unwrap();
        assert!(tree.is_link(b"bin") && tree.is_directory(b"etc") && tree.is_file(b"etc/a"));
        let second = [("etc/.wh.a", Regular), ("opt/.wh..wh..opq", Regular), ("opt/new/", Directory)];
        tree.add_layer(layer(&second).as_slice()).unwrap();
        assert!(!tree.is_file(b"etc/a") && tree.is_file(b"etc/b") && !tree.is_file(b"opt/x/y"));
        assert!(tree.is_directory(b"opt/new"));
        tree.add_layer(layer(&[("etc", Regular)]).as_slice()).unwrap();
        assert!(tree.is_file(b"etc") && !tree.is_file(b"etc/b"));
    }
}
