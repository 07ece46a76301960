//! Layers that may not be distributed, as bases of Windows had them: a manifest says where its maker offers them, and registries need
//! not have them. They are left there. Nothing is fetched from an address that a manifest names.

use std::{collections::HashSet, path::Path};

use crate::{Artifact, Descriptor, Error, Image, media_type, source::LayerSource};

impl Descriptor {
    /// Whether the content need not be where the manifest is.
    pub(crate) fn may_be_elsewhere(&self) -> bool {
        !self.urls.is_empty() && media_type::is_foreign(&self.media_type)
    }
}

impl Image {
    fn elsewhere(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().filter_map(|layer| match layer {
            LayerSource::Elsewhere(descriptor) => Some(descriptor),
            LayerSource::Ready(_) | LayerSource::Raw { .. } => None,
        })
    }
}

impl Artifact {
    /// The layers, each once, that are not where the image is, because they may not be distributed. Their `urls` say where they can be
    /// had. A push leaves them out, and so does a layout.
    #[must_use]
    pub fn elsewhere(&self) -> Vec<&Descriptor> {
        let mut seen = HashSet::new();
        let all = self.images().into_iter().flat_map(Image::elsewhere);
        all.filter(|descriptor| seen.insert(&descriptor.digest)).collect()
    }

    /// Fails if the content of a layer cannot be had, for those who need that of all layers.
    pub fn need_layers(&self) -> Result<(), Error> {
        let found = self.images().into_iter().find_map(|image| Some((image, image.elsewhere().next()?)));
        found.map_or(Ok(()), |(image, descriptor)| Err(not_here(&image.origin, descriptor)))
    }
}

/// The error of a layer whose content is needed.
pub(crate) fn not_here(origin: &Path, descriptor: &Descriptor) -> Error {
    let urls: Vec<String> = descriptor.urls.iter().map(|url| format!("`{}`", url.escape_debug())).collect();
    let reason = format!(
        "its layer `{}` ({}) may not be distributed and is not with the image; it says that it is at {}, and nothing is fetched from there",
        descriptor.digest,
        descriptor.media_type,
        urls.join(", ")
    );
    Error::input(origin, reason)
}
