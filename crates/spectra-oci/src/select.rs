//! Taking one image out of an index, and layers from where they are already.

use crate::{
    Artifact, Error, Layout, Platform,
    content::Content,
    source::{BlobStore as _, LayerSource},
};

impl Artifact {
    /// The image for a platform: of an index the first that satisfies it, of one image itself if it does.
    pub fn for_platform(&self, wanted: &Platform) -> Result<Self, Error> {
        Ok(Self::Image(self.select(Some(wanted))?.clone()))
    }

    /// Takes layers that are still in a registry from a layout, as far as it has them whole, so that they are not fetched
    /// again. Damaged ones stay there until another takes their place ([`Artifact::store`]): between looking at a file and removing it,
    /// another process may have mended it. Blocking.
    pub fn reuse(&self, layout: &Layout) -> Result<Self, Error> {
        let mut artifact = self.clone();
        artifact.reuse_in_place(layout)?;
        Ok(artifact)
    }

    fn reuse_in_place(&mut self, layout: &Layout) -> Result<(), Error> {
        let image = match self {
            Self::Index(index) => {
                return index.children.iter_mut().try_for_each(|child| child.reuse_in_place(layout));
            }
            Self::Image(image) => image,
        };
        for layer in &mut image.layers {
            let LayerSource::Ready(blob) = layer else { continue };
            if !matches!(blob.content, Content::Remote(_)) {
                continue;
            }
            let digest = &blob.descriptor.digest;
            if let Some(content) = layout.content(digest)?
                && layout.is_whole(&content, digest)?
            {
                blob.content = content;
            }
        }
        Ok(())
    }
}
