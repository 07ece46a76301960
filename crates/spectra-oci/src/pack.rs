//! Making compressed layers of raw ones, and doing without where an earlier command has done it.
//!
//! Notes of the [`Cache`] say what a raw layer becomes. They hold no bytes: what they save is the compressing of a layer whose
//! result lies where it is wanted already, in a registry, a layout, or the archive that is to be replaced.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use spectra_types::Digest;

use crate::{
    Cache, Compression, Descriptor, Error, Image, Layout, Progress,
    builder::oci_manifest,
    cache::FileState,
    compress,
    content::{Blob, Content},
    source::{BlobStore, LayerSource},
    spool,
};

/// How raw layers become compressed ones.
#[derive(Debug, Clone, Default)]
pub struct Packing {
    /// How they are compressed. Layers that are compressed already stay as they are.
    pub compression: Compression,
    /// What earlier commands learned, and where this one notes what it learns.
    pub cache: Option<Cache>,
    /// When the cache's word on a raw layer is enough.
    pub trust: Trust,
}

/// When what the cache says of a raw layer is taken for true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// The layer is read and hashed.
    #[default]
    Content,
    /// The file has been hashed before, and has the same inode, size and times since.
    FileState,
}

/// A raw layer of an image.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    /// From 0.
    pub(crate) number: usize,
    /// What the image is called.
    pub(crate) origin: PathBuf,
    pub(crate) content: Content,
    pub(crate) diff_id: Digest,
}

impl Raw {
    /// Fails if the layer has another digest than its image promises.
    fn check(&self, found: Digest) -> Result<(), Error> {
        if found == self.diff_id {
            return Ok(());
        }
        Err(Error::DigestMismatch {
            what: format!("layer {} of `{}`", self.number + 1, self.origin.display()),
            expected: self.diff_id.clone(),
            found,
        })
    }
}

impl Packing {
    /// What a raw layer becomes, as the notes have it.
    pub(crate) fn known(&self, diff_id: &Digest) -> Option<Descriptor> {
        self.cache.as_ref()?.layer(diff_id, self.compression)
    }

    /// Whether the layer need not be read, because its file is as it was when it was hashed.
    pub(crate) fn trusts(&self, raw: &Raw) -> bool {
        let hashed = || self.cache.as_ref()?.hashed(&FileState::of(&raw.content)?);
        self.trust == Trust::FileState && hashed().as_ref() == Some(&raw.diff_id)
    }

    /// Fails if the layer is not what its image promises. Blocking.
    pub(crate) fn verify(&self, raw: &Raw) -> Result<(), Error> {
        let state = FileState::of(&raw.content);
        raw.check(raw.content.digest(&raw.diff_id)?)?;
        self.remember_hashed(raw, state);
        Ok(())
    }

    /// Compresses a layer into a temporary file in `folder`. Blocking.
    pub(crate) fn compress(&self, raw: &Raw, folder: &Path) -> Result<Blob, Error> {
        let size = raw.content.len();
        let least = self.known(&raw.diff_id).map_or(spool::least(size), |known| known.size);
        spool::ensure(folder, least, || {
            format!("compress layer {} of `{}`, which has {size} bytes", raw.number + 1, raw.origin.display())
        })?;
        let state = FileState::of(&raw.content);
        let (blob, found) = compress::layer(&raw.content, &raw.origin, self.compression, folder)?;
        raw.check(found)?;
        if let Some(cache) = &self.cache {
            cache.remember_layer(&raw.diff_id, self.compression, &blob.descriptor);
        }
        self.remember_hashed(raw, state);
        Ok(blob)
    }

    /// Remembers that a layer was hashed when its file was in `before`; unless it has changed since.
    fn remember_hashed(&self, raw: &Raw, before: Option<FileState>) {
        let unchanged = before.filter(|state| FileState::of(&raw.content).as_ref() == Some(state));
        if let (Some(cache), Some(state)) = (&self.cache, unchanged) {
            cache.remember_hashed(&state, &raw.diff_id);
        }
    }

    /// The compressed layer, if the notes know it, `store` has it, and the raw layer is what it was then.
    fn find(&self, raw: &Raw, store: &dyn BlobStore) -> Result<Option<Blob>, Error> {
        let Some(descriptor) = self.known(&raw.diff_id) else { return Ok(None) };
        let Some(blob) = self.whole(&descriptor, store)? else { return Ok(None) };
        if !self.trusts(raw) {
            self.verify(raw)?;
        }
        Ok(Some(blob))
    }

    /// A compressed layer of `store`, if it is there and not damaged.
    pub(crate) fn whole(
        &self,
        descriptor: &Descriptor,
        store: &dyn BlobStore,
    ) -> Result<Option<Blob>, Error> {
        let digest = &descriptor.digest;
        let Some(content) = store.content(digest)?.filter(|content| content.len() == descriptor.size) else {
            return Ok(None);
        };
        if self.trust == Trust::Content && content.digest(digest)? != *digest {
            return Ok(None);
        }
        Ok(Some(Blob { descriptor: descriptor.clone(), content }))
    }
}

impl Image {
    /// Its raw layer at a place.
    fn raw(&self, number: usize, content: &Content, diff_id: &Digest) -> Raw {
        Raw { number, origin: self.origin.clone(), content: content.clone(), diff_id: diff_id.clone() }
    }

    /// Puts the layers into a layout, raw ones compressed there and then, so that each is written once. Returns the manifest.
    /// Blocking.
    pub(crate) fn store_layers(
        &self,
        layout: &Layout,
        packing: &Packing,
        progress: &Arc<dyn Progress>,
    ) -> Result<Blob, Error> {
        let mut made: HashMap<&Digest, Descriptor> = HashMap::new();
        let mut layers = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            let (content, diff_id) = match layer {
                LayerSource::Ready(blob) => {
                    layout.add(blob, packing.trust)?;
                    layers.push(blob.descriptor.clone());
                    continue;
                }
                LayerSource::Elsewhere(descriptor) => {
                    layers.push(descriptor.clone());
                    continue;
                }
                LayerSource::Raw { content, diff_id } => (content, diff_id),
            };
            if let Some(descriptor) = made.get(diff_id) {
                layers.push(descriptor.clone());
                continue;
            }
            let raw = self.raw(number, content, diff_id);
            let descriptor = if let Some(blob) = packing.find(&raw, layout)? {
                blob.descriptor
            } else {
                progress.compressing(number, raw.content.len());
                layout.adopt(packing.compress(&raw, &layout.folder()?)?)?
            };
            made.insert(diff_id, descriptor.clone());
            layers.push(descriptor);
        }
        match &self.manifest {
            Some(manifest) => Ok(manifest.clone()),
            None => oci_manifest(self.config.descriptor.clone(), layers),
        }
    }

    /// The image with its raw layers compressed into temporary files, or found in `earlier`, and thus a manifest. Blocking.
    pub(crate) fn with_manifest(
        &self,
        earlier: Option<&dyn BlobStore>,
        packing: &Packing,
        progress: &Arc<dyn Progress>,
    ) -> Result<Self, Error> {
        let mut image = self.clone();
        if image.manifest.is_some() {
            return Ok(image);
        }
        let mut made: HashMap<Digest, Blob> = HashMap::new();
        for (number, layer) in image.layers.iter_mut().enumerate() {
            let LayerSource::Raw { content, diff_id } = layer else { continue };
            if let Some(blob) = made.get(diff_id) {
                *layer = LayerSource::Ready(blob.clone());
                continue;
            }
            let raw = self.raw(number, content, diff_id);
            let blob = if let Some(blob) = earlier.map_or(Ok(None), |store| packing.find(&raw, store))? {
                blob
            } else {
                progress.compressing(number, raw.content.len());
                packing.compress(&raw, &spool::folder())?
            };
            made.insert(raw.diff_id, blob.clone());
            *layer = LayerSource::Ready(blob);
        }
        let layers = image.ready_layers().map(|blob| blob.descriptor.clone()).collect();
        image.manifest = Some(oci_manifest(image.config.descriptor.clone(), layers)?);
        Ok(image)
    }
}
