//! Images as sources: on the local disk, or still in a registry.

use std::path::{Path, PathBuf};

use spectra_types::Digest;

pub(crate) use crate::text::list;
use crate::{
    Descriptor, Error, ImageConfig, ImageIndex, ImageManifest, Layout,
    archive::Archive,
    content::{Blob, Content, digest_like},
    layout::REF_NAME,
    limits::{Budget, OpenLimits, check_layers, check_values},
    media_type,
};

/// Manifests and configurations are small; a larger one is an attack or a mistake.
pub(crate) const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;
/// How deep an index may hold indices.
pub(crate) const MAX_DEPTH: usize = 3;

/// One image or an index of several, with the places that their blobs can be read from.
#[expect(clippy::large_enum_variant, reason = "there is one of them in a process")]
#[derive(Debug, Clone)]
pub enum Artifact {
    /// One image.
    Image(Image),
    /// Images for several platforms.
    Index(Index),
}

/// One image whose blobs are files, parts of files, or blobs of a registry.
#[derive(Debug, Clone)]
pub struct Image {
    pub(crate) origin: PathBuf,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<LayerSource>,
    /// Missing if the layers are still raw: compressing them makes the manifest.
    pub(crate) manifest: Option<Blob>,
}

/// An index and its images.
#[derive(Debug, Clone)]
pub struct Index {
    pub(crate) document: Blob,
    pub(crate) children: Vec<Artifact>,
}

/// A layer as it is on disk.
#[derive(Debug, Clone)]
pub(crate) enum LayerSource {
    /// To be sent as it is.
    Ready(Blob),
    /// An uncompressed tar of a docker archive, to be compressed first. `diff_id` is what the configuration
    /// promises its digest to be.
    Raw { content: Content, diff_id: Digest },
}

impl Artifact {
    /// The digest by which the artifact will be known, unless layers have to be compressed first.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Image(image) => image.manifest.as_ref().map(|manifest| &manifest.descriptor.digest),
            Self::Index(index) => Some(&index.document.descriptor.digest),
        }
    }

    /// The images inside, in order.
    #[must_use]
    pub fn images(&self) -> Vec<&Image> {
        match self {
            Self::Image(image) => vec![image],
            Self::Index(index) => index.children.iter().flat_map(Self::images).collect(),
        }
    }

    pub(crate) fn document(&self) -> Option<&Blob> {
        match self {
            Self::Image(image) => image.manifest.as_ref(),
            Self::Index(index) => Some(&index.document),
        }
    }
}

impl Image {
    /// The layers that need no compressing.
    pub(crate) fn ready_layers(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().filter_map(|layer| match layer {
            LayerSource::Ready(blob) => Some(blob),
            LayerSource::Raw { .. } => None,
        })
    }

    /// The configuration.
    pub fn configuration(&self) -> Result<ImageConfig, Error> {
        let bytes = self.config.content.read_all(&self.origin)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::input(&self.origin, format!("its configuration is malformed: {error}")))
    }
}

/// Opens an OCI layout directory, an OCI archive, or an archive of `docker save` (each also compressed by gzip or zstd).
///
/// If there are several images, `name` chooses: a reference name in layouts, a repository tag in docker archives. Blocking.
pub fn open(path: &Path, name: Option<&str>) -> Result<Artifact, Error> {
    open_within(path, name, &OpenLimits::default())
}

/// As [`open`], with limits of the caller's choice on what a compressed archive may become.
pub fn open_within(path: &Path, name: Option<&str>, limits: &OpenLimits) -> Result<Artifact, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
    if metadata.is_dir() {
        return load(&Layout::open(path)?, name);
    }
    if !metadata.is_file() {
        return Err(Error::input(
            path,
            "it is neither a file nor a directory; archives are read more than once",
        ));
    }
    let archive = Archive::open(path, limits)?;
    if archive.is_docker() { archive.load_docker(name) } else { load(&archive, name) }
}

/// Somewhere that OCI blobs can be taken from.
pub(crate) trait BlobStore {
    fn path(&self) -> &Path;
    fn index(&self) -> Result<ImageIndex, Error>;
    fn content(&self, digest: &Digest) -> Result<Option<Content>, Error>;

    /// The blob of a descriptor, its size checked.
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        let digest = &descriptor.digest;
        let content = self
            .content(digest)?
            .ok_or_else(|| Error::input(self.path(), format!("blob `{digest}` is missing")))?;
        if content.len() != descriptor.size {
            let reason = format!(
                "blob `{digest}` has {} bytes, its descriptor says {}; it is damaged",
                content.len(),
                descriptor.size
            );
            return Err(Error::input(self.path(), reason));
        }
        Ok(Blob { descriptor: descriptor.clone(), content })
    }

    /// A document, read into memory and its digest checked.
    fn document(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        let blob = self.blob(descriptor)?;
        if descriptor.size > MAX_DOCUMENT {
            let reason = format!("document `{}` has {} bytes", descriptor.digest, descriptor.size);
            return Err(Error::input(self.path(), reason));
        }
        let bytes = blob.content.read_all(self.path())?;
        check_values(self.path(), &bytes)?;
        let found = digest_like(&descriptor.digest, &bytes);
        if found != descriptor.digest {
            return Err(Error::DigestMismatch {
                what: format!("a document in `{}`", self.path().display()),
                expected: descriptor.digest.clone(),
                found,
            });
        }
        Ok(Blob { descriptor: blob.descriptor, content: Content::Memory(bytes) })
    }
}

fn load(store: &dyn BlobStore, name: Option<&str>) -> Result<Artifact, Error> {
    let index = store.index()?;
    let name_of = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
    let mut candidates: Vec<&Descriptor> = index
        .manifests
        .iter()
        .filter(|entry| {
            name.is_none_or(|name| {
                name_of(entry).as_deref() == Some(name) || entry.digest.to_string() == name
            })
        })
        .collect();
    // The same image under two names is no ambiguity.
    candidates.dedup_by(|a, b| a.digest == b.digest);
    match candidates.as_slice() {
        [descriptor] => load_descriptor(store, descriptor, 0, &mut Budget::default()),
        found => {
            let names: Vec<String> = index
                .manifests
                .iter()
                .map(|entry| name_of(entry).unwrap_or_else(|| entry.digest.to_string()))
                .collect();
            let reason = match (found.len(), name) {
                (0, None) => "it holds no image".to_owned(),
                (0, Some(name)) => format!("it holds no image `{name}`, but {}", list(&names)),
                _ => format!("it holds several images, choose one by name: {}", list(&names)),
            };
            Err(Error::input(store.path(), reason))
        }
    }
}

fn load_descriptor(
    store: &dyn BlobStore,
    descriptor: &Descriptor,
    depth: usize,
    budget: &mut Budget,
) -> Result<Artifact, Error> {
    budget.take(store.path(), descriptor.size)?;
    let document = store.document(descriptor)?;
    let bytes = document.content.read_all(store.path())?;
    let malformed = |error: serde_json::Error| {
        Error::input(store.path(), format!("document `{}` is malformed: {error}", descriptor.digest))
    };
    if media_type::is_index(&descriptor.media_type) {
        if depth >= MAX_DEPTH {
            return Err(Error::input(store.path(), format!("indices are nested more than {MAX_DEPTH} deep")));
        }
        let index: ImageIndex = serde_json::from_slice(&bytes).map_err(malformed)?;
        let children = index
            .manifests
            .iter()
            .map(|child| load_descriptor(store, child, depth + 1, budget))
            .collect::<Result<_, _>>()?;
        return Ok(Artifact::Index(Index { document, children }));
    }
    if !media_type::is_manifest(&descriptor.media_type) {
        let reason = format!(
            "`{}` has the type `{}`, expected an image or index",
            descriptor.digest, descriptor.media_type
        );
        return Err(Error::input(store.path(), reason));
    }
    let manifest: ImageManifest = serde_json::from_slice(&bytes).map_err(malformed)?;
    check_layers(store.path(), manifest.layers.len())?;
    budget.take(store.path(), manifest.config.size)?;
    Ok(Artifact::Image(Image {
        origin: store.path().to_owned(),
        config: store.document(&manifest.config)?,
        layers: manifest
            .layers
            .iter()
            .map(|layer| store.blob(layer).map(LayerSource::Ready))
            .collect::<Result<_, _>>()?,
        manifest: Some(document),
    }))
}
