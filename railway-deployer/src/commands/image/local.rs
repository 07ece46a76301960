//! An image that is to be looked into, on this disk whatever it was.

use std::path::{Path, PathBuf};

use spectra_oci::{Artifact, Image, Layout, Platform};
use spectra_types::{Digest, ImageRef};

use super::{Login, Unpacking};
use crate::{failure::Failure, printer::Printer, progress::push_progress};

/// Which image is meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Source {
    /// Which image, if a layout or archive holds several
    #[arg(long, env = "SPECTRA_NAME")]
    name: Option<String>,
    /// Which platform, if there are several; linux/amd64 by default
    #[arg(long, env = "SPECTRA_PLATFORM")]
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
    /// RFC 3339.
    pub(super) created: Option<String>,
}

impl Source {
    /// Opens a layout or archive if there is a file or directory of that name, else downloads from a registry.
    pub(super) async fn open(self, image: &str, printer: Printer) -> Result<Local, Failure> {
        let path = PathBuf::from(image);
        let (artifact, name, repository) = if path.exists() {
            let (file, name, limits) = (path.clone(), self.name, self.unpacking.limits());
            let opened = move || spectra_oci::open_within(&file, name.as_deref(), &limits);
            let artifact = tokio::task::spawn_blocking(opened).await??;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            (artifact, name.unwrap_or_else(|| image.to_owned()), None)
        } else {
            let reference: ImageRef = image.parse().map_err(|error| {
                Failure::usage(format!("`{image}` is neither a file nor an image reference: {error}"))
            })?;
            let client = self.login.client(&reference)?;
            let progress = push_progress(printer);
            let opened = client.open(&reference, self.platform.as_ref(), progress).await?;
            // Of an index, the layers of one image are enough.
            let chosen = Artifact::Image(opened.select(self.platform.as_ref())?.clone());
            let artifact = chosen.download(4).await?;
            let repository = format!("{}/{}", reference.registry(), reference.repository());
            (artifact, repository.clone(), Some(repository))
        };
        let image = artifact.select(self.platform.as_ref())?.clone();
        let configuration = image.configuration()?;
        Ok(Local {
            name,
            repository,
            digest: image.manifest_digest().unwrap_or_else(|| image.config_digest()).clone(),
            platform: configuration.platform().to_string(),
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

    /// Stores the image alone in a layout at `path`, for tools that read those. Blocking.
    pub(super) fn store(&self, path: &Path) -> Result<(), Failure> {
        self.artifact.store(&Layout::create(path)?, None)?;
        Ok(())
    }
}
