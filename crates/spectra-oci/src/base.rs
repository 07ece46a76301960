//! Base images: fetched once by digest and kept in a layout.

use std::sync::Arc;

use spectra_types::{ImageRef, PinnedImage};

use crate::{
    Artifact, Client, Descriptor, Error, Image, Layout, OpenLimits, Packing, Platform, Progress,
    content::{Blob, Content},
    media_type,
    opening::open,
};

/// Docker's spelling of a gzip-compressed layer.
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An image to build on, all of it on the local disk.
#[derive(Debug, Clone)]
pub struct Base {
    /// What it was asked for as; its digest may be that of an index.
    pub(crate) name: String,
    pub(crate) pinned: PinnedImage,
    /// What it was chosen for, which says more than its configuration may.
    pub(crate) platform: Platform,
    pub(crate) image: Image,
}

impl Base {
    /// Whether the image has instructions for builds on it (`ONBUILD`), which nothing but a Dockerfile's builder carries out.
    pub fn has_instructions(&self) -> Result<bool, Error> {
        Ok(!self.image.configuration()?.config.on_build.is_empty())
    }

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
            return Ok(Base { name, pinned, platform: platform.clone(), image });
        }
        let artifact = self.open(&pinned.image_ref(), Some(platform), Arc::clone(&progress)).await?;
        artifact.need_layers()?;
        let layout = cache.clone();
        let artifact = blocking(move || artifact.reuse(&layout)).await?;
        // No flag of a build raises the limit.
        let artifact =
            artifact.download(jobs, &OpenLimits::default()).await.map_err(|error| match error {
                Error::Limit { path, what, limit, flag: _ } => Error::Limit { path, what, limit, flag: None },
                other => other,
            })?;
        let Artifact::Image(image) = artifact.clone() else {
            let reason = format!("`{pinned}` has an index where the image for `{platform}` should be");
            return Err(Error::Build { reason });
        };
        let layout = cache.clone();
        blocking(move || artifact.store(&layout, Some(&key), &Packing::default(), &progress)).await?;
        Ok(Base { name, pinned, platform: platform.clone(), image })
    }
}

async fn blocking<T: Send + 'static>(
    action: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(action)
        .await
        .map_err(|source| Error::Worker { attempt: "read the base image".to_owned(), source })?
}

/// A base image that is in the cache, whole. What is damaged is fetched again, and takes the place of what is there.
fn cached(cache: &Layout, key: &str) -> Result<Option<Image>, Error> {
    let index = cache.index()?;
    let named =
        |entry: &Descriptor| entry.annotations.get(crate::layout::REF_NAME).is_some_and(|name| name == key);
    if !index.manifests.iter().any(named) {
        return Ok(None);
    }
    // Whatever is wrong with the cache is cured by fetching again.
    let Ok(artifact) = open(cache.root(), Some(key)) else { return Ok(None) };
    if artifact.need_layers().is_err() {
        return Ok(None);
    }
    let Artifact::Image(image) = artifact else { return Ok(None) };
    for blob in image.ready_layers() {
        if !cache.is_whole(&blob.content, &blob.descriptor.digest)? {
            return Ok(None);
        }
    }
    Ok(Some(image))
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
