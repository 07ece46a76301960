//! `image push`: a layout, an archive or an engine's image to a registry.

use clap::Args;
use serde_json::json;
use spectra_oci::PushOptions;
use spectra_types::{ExitCode, ImageRef};

use super::{
    Login,
    source::{FileKind, Source},
};
use crate::{
    failure::Failure,
    printer::{Printer, bytes},
    progress::push_progress,
};

/// Arguments of `image push`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A layout or archive (also as `oci:`, `oci-archive:`, `docker-archive:`), or `docker-daemon:NAME`
    source: Source,
    /// Where to push it: `registry/repository:tag`; without a tag, `latest`
    image: ImageRef,
    /// Which image, if the source holds several
    #[arg(long, env = "SPECTRA_NAME")]
    name: Option<String>,
    /// Another tag for the same image
    #[arg(long, env = "SPECTRA_TAG")]
    tag: Vec<String>,
    /// A repository of the same registry to link layers from instead of sending them
    #[arg(long, env = "SPECTRA_MOUNT_FROM", value_name = "REPOSITORY")]
    mount_from: Vec<String>,
    /// How many blobs are on their way at the same time
    #[arg(long, env = "SPECTRA_JOBS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Cut blobs into chunks of this many bytes, for registries behind a limit that they do not announce
    #[arg(long, env = "SPECTRA_CHUNK_SIZE", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    chunk_size: Option<u64>,
    #[command(flatten)]
    login: Login,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    for tag in &arguments.tag {
        arguments.image.with_tag(tag).map_err(spectra_oci::Error::from)?;
    }
    let source = match arguments.source {
        // A mistyped path must not be looked for in a registry.
        Source::Registry { bare: Some(path), .. } => Source::File { path, name: None, kind: FileKind::Any },
        source => source,
    };
    let source = source.named(arguments.name)?;
    let client = arguments.login.client(&arguments.image)?;
    let artifact = source.open(&client, None, push_progress(printer)).await?;
    let options = PushOptions {
        jobs: usize::from(arguments.jobs),
        mount_from: arguments.mount_from,
        tags: arguments.tag,
        chunk_size: arguments.chunk_size,
    };
    let pushed = client.push(&arguments.image, &artifact, &options, push_progress(printer)).await?;
    printer.note(&format!(
        "pushed `{}`: {} blobs sent ({}), {} already there",
        arguments.image,
        pushed.uploaded,
        bytes(pushed.bytes),
        pushed.skipped
    ));
    let value = json!({
        "image": pushed.image,
        "digest": pushed.image.digest(),
        "media_type": pushed.manifest.media_type,
        "tags": pushed.tags,
        "uploaded_blobs": pushed.uploaded,
        "skipped_blobs": pushed.skipped,
        "uploaded_bytes": pushed.bytes,
    });
    printer.data("image.push", &value, &pushed.image.to_string())?;
    Ok(ExitCode::Done)
}
