//! `image push`: a layout, an archive or an engine's image to a registry.

use clap::{Args, ValueEnum};
use serde_json::json;
use spectra_oci::{Artifact, Codec, Compression, Platform, PushOptions, Pushed};
use spectra_types::{ExitCode, ImageRef};

use super::{
    Login, Notes, Unpacking,
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
    /// Push the image for one platform alone; without it an index is pushed whole, or of one that an archive or engine has in parts, the image for linux/amd64
    #[arg(long, env = "SPECTRA_PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
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
    /// How raw layers, as `docker save` writes them, are compressed: `gzip` or `zstd`; compressed ones stay as they are
    #[arg(long, env = "SPECTRA_COMPRESSION", value_name = "CODEC", default_value = "gzip")]
    compression: Codec,
    /// How hard to try to make raw layers small: gzip 1 to 12, zstd 1 to 19; 1 if it is not given
    #[arg(long, env = "SPECTRA_COMPRESSION_LEVEL", value_name = "LEVEL")]
    compression_level: Option<i32>,
    /// How many bytes of compressed layers may lie in the folder for temporary files (`TMPDIR`) at once; a larger layer lies there alone
    #[arg(long, env = "SPECTRA_SPOOL_LIMIT", value_name = "BYTES", default_value_t = PushOptions::default().spool_limit,
          value_parser = clap::value_parser!(u64).range(1..))]
    spool_limit: u64,
    #[command(flatten)]
    notes: Notes,
    /// What to print when it is done: the digest, or the image pinned to it
    #[arg(long, env = "SPECTRA_PRINT", value_enum, default_value_t = Print::Digest)]
    print: Print,
    #[command(flatten)]
    unpacking: Unpacking,
    #[command(flatten)]
    login: Login,
}

/// What stands on standard output after a push.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Print {
    /// `sha256:…`
    Digest,
    /// `registry/repository@sha256:…`, as `rollout start --image` takes it
    Image,
}

impl Print {
    fn text(self, pushed: &Pushed) -> String {
        match self {
            Self::Digest => pushed.image.digest().to_string(),
            Self::Image => pushed.image.to_string(),
        }
    }
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    // What is typed counts before the variable, and looks like it only if it says the same.
    let optional = std::env::var("SPECTRA_PLATFORM").is_ok_and(|value| {
        value.split(',').map(|text| text.parse::<Platform>().ok()).eq(arguments
            .platform
            .iter()
            .cloned()
            .map(Some))
    });
    let platform = match arguments.platform.as_slice() {
        [] => None,
        [one] => Some(one),
        // The platforms that `image build` made.
        _ if optional => None,
        _ => {
            return Err(Failure::usage(
                "`--platform` takes one platform here; without it, an index is pushed with all its platforms",
            ));
        }
    };
    for tag in &arguments.tag {
        arguments.image.with_tag(tag).map_err(spectra_oci::Error::from)?;
    }
    let compression = Compression::new(arguments.compression, arguments.compression_level)?;
    let source = match arguments.source {
        // A mistyped path must not be looked for in a registry.
        Source::Registry { bare: Some(path), .. } => Source::File { path, name: None, kind: FileKind::Any },
        source => source,
    };
    let source = source.named(arguments.name)?;
    let client = arguments.login.client(&arguments.image, printer)?;
    let mut artifact =
        source.open_whole(&client, platform, arguments.unpacking, push_progress(printer)).await?;
    match (platform, artifact.digest().filter(|_| matches!(artifact, Artifact::Index(_)))) {
        // The one image that is there may be another.
        (Some(platform), index) if !optional => {
            if let Some(index) = index {
                printer.note(&format!(
                    "of the index {}, the image for {platform} alone is pushed",
                    index.short()
                ));
            }
            artifact = artifact.for_platform(platform)?;
        }
        (Some(_), Some(_)) => {
            printer.note("SPECTRA_PLATFORM is not used: an index is pushed with all its platforms unless `--platform` is given");
        }
        _ => {}
    }
    if let Some(note) = artifact.note() {
        printer.warn(note);
    }
    let options = PushOptions {
        jobs: usize::from(arguments.jobs),
        mount_from: arguments.mount_from,
        tags: arguments.tag,
        chunk_size: arguments.chunk_size,
        packing: arguments.notes.packing(compression),
        spool_limit: arguments.spool_limit,
    };
    let pushed = client.push(&arguments.image, &artifact, &options, push_progress(printer)).await?;
    printer.note(&format!(
        "pushed `{}`: {} blobs sent ({}), {} already there",
        arguments.image,
        pushed.uploaded,
        bytes(pushed.bytes),
        pushed.skipped
    ));
    let layers_left = super::warn_of_layers_left(&artifact, printer);
    let value = json!({
        "image": pushed.image,
        "digest": pushed.image.digest(),
        "media_type": pushed.manifest.media_type,
        "tags": pushed.tags,
        "uploaded_blobs": pushed.uploaded,
        "skipped_blobs": pushed.skipped,
        "uploaded_bytes": pushed.bytes,
        "layers_left": layers_left,
    });
    printer.data("image.push", &value, arguments.print.text(&pushed))?;
    Ok(ExitCode::Done)
}
