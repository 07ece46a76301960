//! Opening what is on disk: a layout, an archive of OCI or of `docker save`, or one that is both.

use std::{path::Path, sync::Arc};

use crate::{
    Artifact, Error, Layout, Platform,
    archive::Archive,
    limits::OpenLimits,
    source::{LayerSource, Loader},
    temporary::Temporary,
};

/// Which of its lists of images an archive is read by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// The one that it has. Engines write both: `index.json` counts, unless the layers that it leads to are raw (those of Docker
    /// without containerd's store), or the archive lacks them.
    #[default]
    Any,
    /// `index.json`: the digest is the one that the image has.
    Oci,
    /// `manifest.json`: one image of raw layers as a rule, whose digest is made by compressing them.
    Docker,
}

/// How to open a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opening<'a> {
    /// Which image, if there are several: a reference name or digest in layouts, a repository tag in archives of `docker save`.
    pub name: Option<&'a str>,
    /// How an archive is read; a layout is one.
    pub format: Format,
    /// Which image to take of an index that an archive of `docker save` has in parts; `linux/amd64` by default. A whole index is left
    /// whole.
    pub platform: Option<&'a Platform>,
    /// What decompressing may cost.
    pub limits: OpenLimits,
}

/// Opens an OCI layout directory, an OCI archive, or an archive of `docker save` (each also compressed by gzip or zstd).
///
/// If there are several images, `name` chooses: a reference name in layouts, a repository tag in docker archives. Blocking.
pub fn open(path: &Path, name: Option<&str>) -> Result<Artifact, Error> {
    open_with(path, &Opening { name, ..Opening::default() })
}

/// As [`open`], with limits of the caller's choice on what a compressed archive may become.
pub fn open_within(path: &Path, name: Option<&str>, limits: &OpenLimits) -> Result<Artifact, Error> {
    open_with(path, &Opening { name, limits: *limits, ..Opening::default() })
}

/// As [`open`], with everything of the caller's choice.
///
/// An archive of `docker save` may list images of other platforms without having them. Of such an index the one image that is there is
/// taken, as `docker push` does, or of several the one for [`Opening::platform`]; [`Artifact::note`] says so.
pub fn open_with(path: &Path, opening: &Opening<'_>) -> Result<Artifact, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
    if metadata.is_dir() {
        return Loader::new(&Layout::open(path)?, opening).load();
    }
    if !metadata.is_file() {
        return Err(Error::input(
            path,
            "it is neither a file nor a directory; archives are read more than once",
        ));
    }
    load(&Archive::open(path, &opening.limits)?, opening)
}

/// Opens an archive in a temporary file, which is called `shown` in messages.
pub(crate) fn open_temporary(
    file: Arc<Temporary>,
    shown: &Path,
    opening: &Opening<'_>,
) -> Result<Artifact, Error> {
    load(&Archive::open_temporary(file, shown, &opening.limits)?, opening)
}

fn load(archive: &Archive, opening: &Opening<'_>) -> Result<Artifact, Error> {
    match opening.format {
        Format::Any if archive.is_docker() && archive.is_oci() => load_both(archive, opening),
        Format::Any if archive.is_docker() => archive.load_docker(opening.name),
        Format::Docker => archive.load_docker(opening.name),
        Format::Any | Format::Oci => Loader::new(archive, opening).partial(archive.is_docker()).load(),
    }
}

/// An archive with both lists. They have to agree, for other readers go by one or the other.
fn load_both(archive: &Archive, opening: &Opening<'_>) -> Result<Artifact, Error> {
    let mut loader = Loader::new(archive, opening).partial(true);
    let Some(artifact) = loader.find()? else { return archive.load_docker(opening.name) };
    archive.check_same(opening.name, &loader.configurations)?;
    // Raw layers have to be compressed, and so get another digest in any case.
    let compressed = |layer: &LayerSource| {
        matches!(layer, LayerSource::Ready(blob)
            if [".gzip", "+gzip", "+zstd"].iter().any(|end| blob.descriptor.media_type.ends_with(end)))
    };
    let keeps = match &artifact {
        Artifact::Index(_) => true,
        Artifact::Image(image) => image.layers.iter().any(compressed),
    };
    if keeps { Ok(artifact) } else { archive.load_docker(opening.name) }
}
