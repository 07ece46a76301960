//! `image copy`: from anywhere to a registry, a layout or an archive, the digest unchanged.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use spectra_oci::{
    Artifact, Client, Companions, Compression, Descriptor, Layout, OpenLimits, Overwrite, Platform,
    PushOptions, archive_destination,
};
use spectra_types::{ExitCode, ImageRef, PinnedImage};

use super::{Login, Notes, Unpacking, destination::Destination, from_variable, source::Source};
use crate::{failure::Failure, printer::Printer, progress::push_progress};

/// How long the source's registry may take to say what else it has about the image.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `image copy`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The image: a reference, a path, or with a prefix: docker://, oci:, oci-archive:, docker-archive:, docker-daemon:
    source: Source,
    /// Where to write it: a reference, `oci:DIRECTORY[:NAME]` or `oci-archive:FILE[:NAME]`
    destination: Destination,
    /// Which image, if a layout or archive holds several
    #[arg(long, env = "SPECTRA_NAME")]
    name: Option<String>,
    /// Copy the image for one platform alone; without it all are copied, and the digest stays that of the index
    #[arg(long, env = "SPECTRA_PLATFORM", value_parser = super::one_platform)]
    platform: Option<Platform>,
    /// Copy signatures and attestations too; between registries
    #[arg(long, env = "SPECTRA_REFERRERS", value_parser = clap::builder::BoolishValueParser::new())]
    referrers: bool,
    /// Replace an archive that exists; with `--referrers`, also another bill of material under cosign's tag
    #[arg(long, env = "SPECTRA_FORCE", value_parser = clap::builder::BoolishValueParser::new())]
    force: bool,
    /// How many blobs are on their way at the same time
    #[arg(long, env = "SPECTRA_JOBS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// How many bytes of compressed layers for a registry may lie in the folder for temporary files (`TMPDIR`) at once; a larger layer lies there alone. It does not limit what layouts and archives need
    #[arg(long, env = "SPECTRA_SPOOL_LIMIT", value_name = "BYTES", default_value_t = PushOptions::default().spool_limit,
          value_parser = clap::value_parser!(u64).range(1..))]
    spool_limit: u64,
    #[command(flatten)]
    notes: Notes,
    #[command(flatten)]
    unpacking: Unpacking,
    #[command(flatten)]
    login: Login,
}

/// What was written.
struct Copied {
    descriptor: Descriptor,
    image: Option<PinnedImage>,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let source = arguments.source.named(arguments.name)?;
    let destination = arguments.destination;
    let between = match (source.image(), &destination) {
        (Some(from), Destination::Registry(to)) => Some((from.clone(), to.clone())),
        _ => None,
    };
    let referrers = arguments.referrers && (between.is_some() || !from_variable("SPECTRA_REFERRERS"));
    if referrers && between.is_none() {
        return Err(Failure::usage(
            "`--referrers` copies between registries; layouts and archives hold the image alone",
        ));
    }
    if arguments.force && !from_variable("SPECTRA_FORCE") {
        let no = match &destination {
            Destination::Layout { .. } => {
                Some("a layout gets one image more, and no other is replaced but one of the same name")
            }
            Destination::Registry(_) if !referrers => Some("a tag of a registry is moved without it"),
            Destination::Registry(_) | Destination::Archive { .. } => None,
        };
        if let Some(why) = no {
            return Err(Failure::usage(format!("`--force` is for archives that exist; {why}")));
        }
    }
    let overwrite = if arguments.force { Overwrite::Replace } else { Overwrite::Refuse };
    if let Destination::Archive { path, .. } = &destination {
        // Before anything is fetched.
        archive_destination(path, overwrite)?;
    }
    let client = match (&destination, source.image()) {
        (Destination::Registry(image), _) | (_, Some(image)) => arguments.login.client(image, printer)?,
        _ => arguments.login.unused()?,
    };
    let progress = push_progress(printer);
    let artifact =
        source.open(&client, arguments.platform.as_ref(), arguments.unpacking, progress.clone()).await?;
    if let Some(note) = artifact.note() {
        printer.warn(note);
    }
    if let Destination::Registry(to) = &destination {
        artifact.check_target(to)?;
    }
    let options = PushOptions {
        jobs: usize::from(arguments.jobs),
        packing: arguments.notes.packing(Compression::default()),
        spool_limit: arguments.spool_limit,
        ..PushOptions::default()
    };
    let limits = arguments.unpacking.limits();
    let (copied, companions) = match (&between, referrers) {
        (Some((from, to)), true) => {
            copy_all(&client, &artifact, (from, to), &options, overwrite, printer).await?
        }
        _ => (
            write(&client, &artifact, &destination, &options, &limits, overwrite, printer).await?,
            Companions::default(),
        ),
    };
    let left = match source.image() {
        Some(from) if !referrers => left_behind(&client, &artifact, from).await,
        _ => None,
    };
    warn_of_strangers(&companions, printer);
    let layers_left = super::warn_of_layers_left(&artifact, printer);
    let also = match companions.copied.len() {
        0 => String::new(),
        1 => " and one companion".to_owned(),
        count => format!(" and {count} companions"),
    };
    let digest = &copied.descriptor.digest;
    printer.note(&format!("copied {}{also} to `{destination}`", digest.short()));
    if let Some(count) = left.filter(|count| *count > 0) {
        let what = if count == 1 { "signature or attestation" } else { "signatures or attestations" };
        let how = if between.is_some() {
            "`--referrers` copies what belongs to an image"
        } else {
            "layouts and archives hold the image alone, and `--referrers` copies between registries"
        };
        printer.note(&format!("not copied: {count} {what} that `{source}` has; {how}"));
    }
    let value = json!({
        "source": source.to_string(),
        "destination": destination.to_string(),
        "digest": digest,
        "media_type": copied.descriptor.media_type,
        "image": copied.image,
        "layers_left": layers_left,
        "referrers_left": left,
        "referrers": companions.copied.iter().map(|companion| json!({
            "subject": companion.subject, "digest": companion.digest, "kind": companion.kind
        })).collect::<Vec<_>>(),
    });
    let text = copied.image.as_ref().map_or_else(|| digest.to_string(), ToString::to_string);
    printer.data("image.copy", &value, &text)?;
    Ok(ExitCode::Done)
}

/// Names what the source's registry lists about an image, and what is about another.
fn warn_of_strangers(companions: &Companions, printer: Printer) {
    for stranger in &companions.strangers {
        printer.warn(&format!(
            "not copied: {} ({}) is listed about {}, and does not say so itself",
            stranger.digest,
            stranger.kind.escape_debug(),
            stranger.subject.short()
        ));
    }
}

/// How much the source's registry lists about the image, such as signatures and attestations, without what it lists about the images
/// of an index. Nothing if it does not say: the copy is done, and this is only good to know.
async fn left_behind(client: &Client, artifact: &Artifact, from: &ImageRef) -> Option<usize> {
    let image = from.pin(artifact.digest()?.clone());
    let listed = tokio::time::timeout(PATIENCE, client.referrers(&image, None)).await;
    listed.ok()?.ok().map(|listed| listed.len())
}

/// Copies an image and what belongs to it between registries. The tag comes last, so that whoever finds the image by it finds the
/// signatures too.
async fn copy_all(
    client: &Client,
    artifact: &Artifact,
    (from, to): (&ImageRef, &ImageRef),
    options: &PushOptions,
    overwrite: Overwrite,
    printer: Printer,
) -> Result<(Copied, Companions), Failure> {
    let progress = push_progress(printer);
    let untagged = artifact.digest().map_or_else(|| to.clone(), |digest| to.pin(digest.clone()).image_ref());
    let pushed = client.push(&untagged, artifact, options, progress.clone()).await?;
    let incomplete = |source| Failure::Companions { image: Box::new(pushed.image.clone()), source };
    let companions = client.copy_companions(artifact, from, to, options, overwrite, &progress).await;
    let companions = companions.map_err(incomplete)?;
    client.tag(to, artifact, progress).await?;
    Ok((Copied { descriptor: pushed.manifest, image: Some(pushed.image) }, companions))
}

async fn write(
    client: &Client,
    artifact: &Artifact,
    destination: &Destination,
    options: &PushOptions,
    limits: &OpenLimits,
    overwrite: Overwrite,
    printer: Printer,
) -> Result<Copied, Failure> {
    let (packing, progress) = (options.packing.clone(), push_progress(printer));
    let descriptor = match destination.clone() {
        Destination::Registry(target) => {
            let pushed = client.push(&target, artifact, options, progress).await?;
            return Ok(Copied { descriptor: pushed.manifest, image: Some(pushed.image) });
        }
        Destination::Layout { path, name } => {
            let artifact = artifact.clone();
            let (layout, artifact) = tokio::task::spawn_blocking(move || {
                let layout = Layout::create(path)?;
                let artifact = artifact.reuse(&layout)?;
                artifact.check_layout(&layout)?;
                Ok::<_, spectra_oci::Error>((layout, artifact))
            })
            .await??;
            let local = artifact.download(options.jobs, limits).await?;
            tokio::task::spawn_blocking(move || local.store(&layout, name.as_deref(), &packing, &progress))
                .await??
        }
        Destination::Archive { path, name } => {
            let (asked, place) = (artifact.clone(), path.clone());
            tokio::task::spawn_blocking(move || asked.check_archive(&place, overwrite)).await??;
            let local = artifact.download(options.jobs, limits).await?;
            tokio::task::spawn_blocking(move || {
                local.write_archive(&path, name.as_deref(), overwrite, &packing, &progress)
            })
            .await??
        }
    };
    Ok(Copied { descriptor, image: None })
}
