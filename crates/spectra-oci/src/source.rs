//! Images as sources: on the local disk, or still in a registry.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use spectra_types::{Digest, ImageRef};

pub(crate) use crate::text::list;
use crate::{
    Descriptor, Error, ImageConfig, ImageIndex, ImageManifest, Opening, Platform,
    content::{Blob, Content, digest_like},
    document::{self, Shape},
    layout::REF_NAME,
    limits::{Budget, check_layers},
    media_type,
};

/// Manifests and configurations are small; a larger one is an attack or a mistake.
pub(crate) const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;
/// How deep an index may hold indices.
pub(crate) const MAX_DEPTH: usize = 3;

/// Refuses a target that names another digest than that of what is to be written there.
pub(crate) fn check_target(target: &ImageRef, digest: &Digest) -> Result<(), Error> {
    if target.digest().is_none_or(|named| named == digest) {
        return Ok(());
    }
    Err(Error::OtherDigest { target: target.to_string(), found: digest.clone(), sent: 0 })
}

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
    /// What whoever opened it should know.
    pub(crate) note: Option<Arc<str>>,
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
    /// Not where the image is: one that may not be distributed, and says where it can be had.
    Elsewhere(Descriptor),
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

    /// Refuses a target that names another digest than the artifact's, if that is known before its layers are compressed.
    pub fn check_target(&self, target: &ImageRef) -> Result<(), Error> {
        self.digest().map_or(Ok(()), |digest| check_target(target, digest))
    }

    /// The images inside, in order.
    #[must_use]
    pub fn images(&self) -> Vec<&Image> {
        match self {
            Self::Image(image) => vec![image],
            Self::Index(index) => index.children.iter().flat_map(Self::images).collect(),
        }
    }

    /// What the user should be told: that of an index, only a part is there and was taken.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        match self {
            Self::Image(image) => image.note.as_deref(),
            Self::Index(_) => None,
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
            LayerSource::Raw { .. } | LayerSource::Elsewhere(_) => None,
        })
    }

    /// The configuration.
    pub fn configuration(&self) -> Result<ImageConfig, Error> {
        let bytes = self.config.content.read_all(&self.origin)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::input(&self.origin, format!("its configuration is malformed: {error}")))
    }
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
    fn document(&self, descriptor: &Descriptor, shape: &'static Shape) -> Result<Blob, Error> {
        let blob = self.blob(descriptor)?;
        if descriptor.size > MAX_DOCUMENT {
            let reason = format!("document `{}` has {} bytes", descriptor.digest, descriptor.size);
            return Err(Error::input(self.path(), reason));
        }
        let bytes = blob.content.read_all(self.path())?;
        document::check(self.path(), &bytes, shape)?;
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

/// Reads an image or index of a layout or an OCI archive, and all documents below it.
pub(crate) struct Loader<'a> {
    store: &'a dyn BlobStore,
    opening: &'a Opening<'a>,
    /// Whether blobs of some images may be missing.
    partial: bool,
    budget: Budget,
    /// Digests of the configurations of all images that are there.
    pub(crate) configurations: Vec<Digest>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(store: &'a dyn BlobStore, opening: &'a Opening<'a>) -> Self {
        Self { store, opening, partial: false, budget: Budget::default(), configurations: Vec::new() }
    }

    /// Takes what is there of an index. Without this, a blob that is missing is an error.
    pub(crate) const fn partial(mut self, partial: bool) -> Self {
        self.partial = partial;
        self
    }

    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::input(self.store.path(), reason))
    }

    /// The image that is meant.
    pub(crate) fn load(mut self) -> Result<Artifact, Error> {
        let index = self.store.index()?;
        match (self.wanted(&index).as_slice(), self.opening.name) {
            ([descriptor], _) => match self.descriptor(descriptor, 0)? {
                Some(artifact) => Ok(artifact),
                None => self.refuse(format!("it lists `{}`, and has not all of it", descriptor.digest)),
            },
            ([], None) => self.refuse("it holds no image"),
            ([], Some(name)) => self.refuse(format!("it holds no image `{name}`, but {}", names(&index))),
            _ => self.refuse(format!("it holds several images, choose one by name: {}", names(&index))),
        }
    }

    /// As [`Loader::load`], but `None` if the image is not listed, or listed and not there.
    pub(crate) fn find(&mut self) -> Result<Option<Artifact>, Error> {
        let index = self.store.index()?;
        match self.wanted(&index).as_slice() {
            [] => Ok(None),
            [descriptor] => self.descriptor(descriptor, 0),
            _ => self.refuse(format!("it holds several images, choose one by name: {}", names(&index))),
        }
    }

    fn wanted<'i>(&self, index: &'i ImageIndex) -> Vec<&'i Descriptor> {
        let is_meant = |entry: &&Descriptor| {
            self.opening.name.is_none_or(|name| {
                let full = entry.annotations.get(FULL_NAME);
                entry.annotations.get(REF_NAME).is_some_and(|other| other == name)
                    || full.is_some_and(|full| familiar(full) == familiar(name))
                    || entry.digest.to_string() == name
            })
        };
        // The same image under two names is no ambiguity.
        let mut seen = HashSet::new();
        index.manifests.iter().filter(is_meant).filter(|entry| seen.insert(&entry.digest)).collect()
    }

    /// What a descriptor leads to; `None` if it is not all there, and need not be.
    fn descriptor(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Option<Artifact>, Error> {
        let store = self.store;
        if !self.has(descriptor)? {
            return Ok(None);
        }
        self.budget.take(store.path(), descriptor.size)?;
        let file = store.document(descriptor, document::MANIFEST)?;
        let bytes = file.content.read_all(store.path())?;
        document::check_type(store.path(), &bytes, Some(&descriptor.media_type))?;
        document::check_same_type(store.path(), &bytes, descriptor)?;
        let malformed = |error: serde_json::Error| {
            Error::input(store.path(), format!("document `{}` is malformed: {error}", descriptor.digest))
        };
        if media_type::is_index(&descriptor.media_type) {
            if depth >= MAX_DEPTH {
                return self.refuse(format!("indices are nested more than {MAX_DEPTH} deep"));
            }
            let index: ImageIndex = serde_json::from_slice(&bytes).map_err(malformed)?;
            let mut children = Vec::new();
            let mut missing = Vec::new();
            for child in &index.manifests {
                match self.descriptor(child, depth + 1)? {
                    Some(artifact) => children.push((child, artifact)),
                    None => missing.push(child),
                }
            }
            if !missing.is_empty() {
                return self.part(children, &missing);
            }
            let children = children.into_iter().map(|(_, child)| child).collect();
            return Ok(Some(Artifact::Index(Index { document: file, children })));
        }
        if !media_type::is_manifest(&descriptor.media_type) {
            return self.refuse(format!(
                "`{}` has the type `{}`, expected an image or index",
                descriptor.digest, descriptor.media_type
            ));
        }
        let manifest: ImageManifest = serde_json::from_slice(&bytes).map_err(malformed)?;
        check_layers(store.path(), manifest.layers.len())?;
        self.budget.take(store.path(), manifest.config.size)?;
        let needed = manifest.layers.iter().filter(|layer| !layer.may_be_elsewhere());
        for blob in std::iter::once(&manifest.config).chain(needed) {
            if !self.has(blob)? {
                return Ok(None);
            }
        }
        self.configurations.push(manifest.config.digest.clone());
        Ok(Some(Artifact::Image(Image {
            origin: store.path().to_owned(),
            config: store.document(&manifest.config, document::CONFIG)?,
            layers: manifest.layers.iter().map(|layer| self.layer(layer)).collect::<Result<_, _>>()?,
            manifest: Some(file),
            note: None,
        })))
    }

    fn layer(&self, layer: &Descriptor) -> Result<LayerSource, Error> {
        if layer.may_be_elsewhere() && self.store.content(&layer.digest)?.is_none() {
            return Ok(LayerSource::Elsewhere(layer.clone()));
        }
        self.store.blob(layer).map(LayerSource::Ready)
    }

    /// Whether a blob is there, or else whether it is for [`BlobStore::blob`] to complain.
    fn has(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        Ok(!self.partial || self.store.content(&descriptor.digest)?.is_some())
    }

    /// The one image of an index that is there, or of several the one for the platform that was asked for.
    fn part(
        &self,
        mut images: Vec<(&Descriptor, Artifact)>,
        missing: &[&Descriptor],
    ) -> Result<Option<Artifact>, Error> {
        // Attestations say `unknown`.
        images.retain(|(child, _)| child.platform.as_ref().is_none_or(|platform| platform.os != "unknown"));
        let default = Platform::default();
        let wanted = self.opening.platform.unwrap_or(&default);
        let fits = |child: &Descriptor| child.platform.as_ref().is_some_and(|found| found.satisfies(wanted));
        let missing = platforms(missing.iter().copied());
        let at = match images.len() {
            0 => return Ok(None),
            1 => 0,
            _ => match images.iter().position(|(child, _)| fits(child)) {
                Some(at) => at,
                None => {
                    return self.refuse(format!(
                        "it has not all that its index lists (missing: {missing}), and of the images that it has \
                         ({}) none is for `{wanted}`",
                        platforms(images.iter().map(|(child, _)| *child))
                    ));
                }
            },
        };
        let (descriptor, mut artifact) = images.swap_remove(at);
        if let Artifact::Image(image) = &mut artifact {
            let chosen = platforms(std::iter::once(descriptor));
            let note = format!(
                "not all that the image's index lists is there (missing: {missing}); the image for {chosen} is taken \
                 alone, under a digest of its own"
            );
            image.note = Some(note.into());
        }
        Ok(Some(artifact))
    }
}

/// The annotation under which containerd names its images in full: `docker.io/library/app:1`.
const FULL_NAME: &str = "io.containerd.image.name";

/// A name as Docker's users write it.
pub(crate) fn familiar(name: &str) -> &str {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    short.strip_prefix("library/").filter(|_| short.len() < name.len()).unwrap_or(short)
}

/// The images of a layout, as they can be chosen by name.
fn names(index: &ImageIndex) -> String {
    let name = |entry: &Descriptor| {
        let full = entry.annotations.get(FULL_NAME).map(|name| familiar(name).to_owned());
        full.or_else(|| entry.annotations.get(REF_NAME).cloned()).unwrap_or_else(|| entry.digest.to_string())
    };
    list(&index.manifests.iter().map(name).collect::<Vec<_>>())
}

/// What images are for; attestations, which are for nothing, are called by that name.
fn platforms<'a>(entries: impl Iterator<Item = &'a Descriptor>) -> String {
    let name = |entry: &Descriptor| match &entry.platform {
        Some(platform) if platform.os != "unknown" => platform.to_string().escape_debug().to_string(),
        Some(_) => "attestations".to_owned(),
        None => entry.digest.to_string(),
    };
    let mut names: Vec<String> = Vec::new();
    for name in entries.map(name) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    list(&names)
}
