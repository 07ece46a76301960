//! An image that is to be looked into, on this disk whatever it was.

use std::{path::Path, sync::Arc};

use spectra_oci::{Artifact, Image, Layout, NoProgress, Packing, Platform, Progress};
use spectra_scan::image::Layers;
use spectra_types::Digest;

use super::{Login, Unpacking, source::Source as Place};
use crate::{failure::Failure, printer::Printer, progress::push_progress};

/// Which image is meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Source {
    /// Which image, if a layout or archive holds several
    #[arg(long, env = "SPECTRA_NAME")]
    name: Option<String>,
    /// Which platform, if there are several; linux/amd64 by default
    #[arg(long, env = "SPECTRA_PLATFORM", value_parser = super::one_platform)]
    platform: Option<Platform>,
    #[command(flatten)]
    unpacking: Unpacking,
    #[command(flatten)]
    login: Login,
}

/// The one image, with its layers on disk.
pub(super) struct Local {
    artifact: Artifact,
    /// What people call it.
    pub(super) name: String,
    /// Registry and repository, if it is from one.
    pub(super) repository: Option<String>,
    /// Digest of its manifest; of its configuration, if it has no manifest before it is pushed.
    pub(super) digest: Digest,
    pub(super) platform: String,
    /// Those of the index that nobody chose. Where one was asked for by name, the others are not looked for.
    pub(super) other_platforms: Vec<String>,
    /// RFC 3339.
    pub(super) created: Option<String>,
}

impl Source {
    /// Opens the image, and downloads its layers if they are in a registry.
    pub(super) async fn open(self, image: &str, printer: Printer) -> Result<Local, Failure> {
        let place = image.parse::<Place>().map_err(Failure::usage)?.named(self.name)?;
        let progress = push_progress(printer);
        let client = match place.image() {
            Some(reference) => self.login.client(reference, printer)?,
            None => self.login.unused()?,
        };
        let opened = place.open(&client, self.platform.as_ref(), self.unpacking, progress).await?;
        if let Some(note) = opened.note() {
            printer.warn(note);
        }
        // Of an index, the layers of one image are enough.
        let chosen = Artifact::Image(opened.select(self.platform.as_ref())?.clone());
        let others = opened.left_out(self.platform.as_ref())?;
        chosen.need_layers()?;
        let artifact = chosen.download(4, &self.unpacking.limits()).await?;
        let repository =
            place.image().map(|reference| format!("{}/{}", reference.registry(), reference.repository()));
        let name = match &place {
            Place::File { path, .. } => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            Place::Registry { .. } => repository.clone(),
            Place::Daemon { name } => Some(name.clone()),
        };
        let name = name.unwrap_or_else(|| image.to_owned());
        let image = artifact.select(self.platform.as_ref())?.clone();
        let configuration = image.configuration()?;
        Ok(Local {
            name,
            repository,
            digest: image.manifest_digest().unwrap_or_else(|| image.config_digest()).clone(),
            platform: configuration.platform().to_string(),
            other_platforms: others.iter().map(ToString::to_string).collect(),
            created: configuration.created,
            artifact: Artifact::Image(image),
        })
    }
}

impl Local {
    /// The image itself.
    pub(super) fn image(&self) -> Result<&Image, Failure> {
        Ok(self.artifact.select(None)?)
    }

    /// Its layers as people know them, and as its configuration does.
    pub(super) fn layers(&self) -> Result<Layers, Failure> {
        let image = self.image()?;
        let stored = image.layers().map(|layer| layer.digest().clone()).collect();
        Ok(Layers::new(stored, image.configuration()?.rootfs.diff_ids))
    }

    /// Stores the image alone in a layout at `path`, for tools that read those. Blocking.
    pub(super) fn store(&self, path: &Path) -> Result<(), Failure> {
        // The layout is new, so that notes would save nothing.
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        self.artifact.store(&Layout::create(path)?, None, &Packing::default(), &progress)?;
        Ok(())
    }
}
