//! Which layer of the image a scanner means.

use spectra_types::Digest;

/// The layers of an image, lowest first.
///
/// Scanners name a layer by the digest of what it decompresses to (Grype), by that and the one as stored (Trivy), or by the latter alone;
/// people know the one as stored, as in the manifest.
#[derive(Debug, Clone, Default)]
pub struct Layers(Vec<(Digest, Option<Digest>)>);

impl Layers {
    /// Takes the digests of the layers as stored, and `rootfs.diff_ids` of the configuration, which counts if it has as many.
    #[must_use]
    pub fn new(stored: Vec<Digest>, diff_ids: Vec<Digest>) -> Self {
        let mut diff_ids = if stored.len() == diff_ids.len() { diff_ids } else { Vec::new() }.into_iter();
        Self(stored.into_iter().map(|stored| (stored, diff_ids.next())).collect())
    }

    /// The digest as stored of the layer that one of these names is about, the first of them that tells it. Of two layers with the same
    /// content, stored differently, it is not known which is meant.
    pub(super) fn stored<'a>(&self, names: impl IntoIterator<Item = Option<&'a str>>) -> Option<String> {
        let known = names.into_iter().flatten().filter_map(|name| name.parse::<Digest>().ok());
        known.into_iter().find_map(|name| self.find(&name)).map(ToString::to_string)
    }

    fn find(&self, name: &Digest) -> Option<&Digest> {
        let mut meant =
            self.0.iter().filter(|(_, diff_id)| diff_id.as_ref() == Some(name)).map(|(stored, _)| stored);
        match meant.next() {
            Some(first) => meant.all(|other| other == first).then_some(first),
            None => self.0.iter().map(|(stored, _)| stored).find(|stored| *stored == name),
        }
    }
}
