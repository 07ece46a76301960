//! Layers that may not be distributed, as bases of Windows had them: a manifest says where its maker offers them, and registries need
//! not have them. They are left there. Nothing is fetched from an address that a manifest names.

use std::{collections::HashSet, path::Path};

use crate::{Artifact, Descriptor, Error, Image, media_type, source::LayerSource, text::list};

impl Descriptor {
    /// Whether the content need not be where the manifest is.
    pub(crate) fn may_be_elsewhere(&self) -> bool {
        !self.urls.is_empty() && media_type::is_foreign(&self.media_type)
    }

    /// The `urls` as a message lists them: on one line, and of many or long ones only so much as anybody reads.
    #[must_use]
    pub fn listed_urls(&self) -> String {
        list(&self.urls)
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
    let reason = format!(
        "its layer `{}` ({}) may not be distributed and is not with the image; it says that it is at {}, and nothing is fetched from there",
        descriptor.digest,
        descriptor.media_type,
        descriptor.listed_urls()
    );
    Error::input(origin, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_hostile_manifest_filled_the_message() {
        let digest = format!("sha256:{:064x}", 1).parse().unwrap();
        let mut layer =
            Descriptor::new("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digest, 2);
        layer.urls = vec![format!("https://example.com/{}\n::error::", "x".repeat(10_000)); 10_000];
        assert!(layer.may_be_elsewhere());
        let text = not_here(Path::new("image"), &layer).to_string();
        assert!(text.len() < 10_000 && text.contains("…`, and 9980 more") && !text.contains('\n'), "{text}");
    }
}
