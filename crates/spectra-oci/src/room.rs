//! Whether something can be written to its destination, asked before it is fetched for it.

use std::{
    collections::HashSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Artifact, Descriptor, Error, Layout, Overwrite, archive_destination,
    content::{Blob, Content},
    source::{BlobStore as _, LayerSource},
    spool,
    temporary::{Life, Temporary},
};

impl Artifact {
    /// Fails if an archive of this artifact could not be written at `path`: something is there already, there is no room or no
    /// permission, or a layer is [elsewhere](Artifact::elsewhere). Nothing stays of the question. Blocking.
    pub fn check_archive(&self, path: &Path, overwrite: Overwrite) -> Result<(), Error> {
        let destination = archive_destination(path, overwrite)?;
        self.need_layers()?;
        let folder = destination.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let raw: u64 = self.images().iter().flat_map(|image| &image.layers).map(least_of).sum();
        let needed = self.needed(folder, |_| true).saturating_add(raw);
        spool::ensure(folder, needed, || format!("write `{}`", path.display()))?;
        probe(folder)
    }

    /// Fails if this artifact could not be stored in a layout: there is no room for what it lacks, or no permission. Nothing stays of
    /// the question. Blocking.
    pub fn check_layout(&self, layout: &Layout) -> Result<(), Error> {
        let root = layout.nearest();
        let lacks = |descriptor: &Descriptor| !matches!(layout.content(&descriptor.digest), Ok(Some(content)) if content.len() == descriptor.size);
        let what = || format!("write the layout `{}`", layout.root().display());
        spool::ensure(&root, self.needed(&root, lacks), what)?;
        probe(&root)?;
        let blobs: PathBuf = layout.root().join("blobs/sha256");
        if blobs.is_dir() { probe(&blobs) } else { Ok(()) }
    }

    /// How many bytes it takes to write in `folder` the blobs that it `lacks`: those that come from a registry lie in the folder for
    /// temporary files before, which may be on the same disk. Raw layers are left out.
    fn needed(&self, folder: &Path, lacks: impl Fn(&Descriptor) -> bool) -> u64 {
        let shared = disk(folder).is_some_and(|disk| self::disk(&spool::folder()) == Some(disk));
        let mut seen = HashSet::new();
        let mut needed: u64 = 0;
        self.each_blob(&mut |blob| {
            let descriptor = &blob.descriptor;
            if !seen.insert(descriptor.digest.clone()) || !lacks(descriptor) {
                return;
            }
            let twice = shared && matches!(blob.content, Content::Remote(_));
            needed = needed.saturating_add(descriptor.size.saturating_mul(1 + u64::from(twice)));
        });
        needed
    }

    /// Every blob, as often as it is named.
    fn each_blob(&self, see: &mut dyn FnMut(&Blob)) {
        match self {
            Self::Index(index) => {
                see(&index.document);
                index.children.iter().for_each(|child| child.each_blob(see));
            }
            Self::Image(image) => {
                image.manifest.iter().for_each(&mut *see);
                see(&image.config);
                image.ready_layers().for_each(see);
            }
        }
    }
}

/// The least that a raw layer becomes; others count as what they are.
fn least_of(layer: &LayerSource) -> u64 {
    match layer {
        LayerSource::Raw { content, .. } => spool::least(content.len()),
        LayerSource::Ready(_) | LayerSource::Elsewhere(_) => 0,
    }
}

/// The disk that a folder is on; nothing if that cannot be seen.
fn disk(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder).ok().map(|metadata| metadata.dev())
}

/// Fails if no file can be made in a folder.
fn probe(folder: &Path) -> Result<(), Error> {
    Temporary::new(folder, Life::Long).map(drop)
}
