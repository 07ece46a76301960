//! `image inspect`: what an image is, in a registry, on disk or in an engine.

use std::sync::Arc;

use clap::Args;
use spectra_oci::{Inspection, NoProgress, Platform};
use spectra_types::ExitCode;

use super::{Login, Unpacking, source::Source};
use crate::{
    failure::Failure,
    lines::Lines,
    printer::{Printer, bytes},
};

/// Arguments of `image inspect`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A path to a layout or archive if there is one of that name, else an image reference; or with a prefix: docker://, oci:,
    /// oci-archive:, docker-archive:, docker-daemon:
    image: Source,
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

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let source = arguments.image.named(arguments.name)?;
    let inspection = if let Some(image) = source.image() {
        arguments.login.client(image, printer)?.inspect(image, arguments.platform.as_ref()).await?
    } else {
        let platform = arguments.platform.as_ref();
        let artifact = source
            .open_whole(&arguments.login.unused()?, platform, arguments.unpacking, Arc::new(NoProgress))
            .await?;
        if let Some(note) = artifact.note() {
            printer.warn(note);
        }
        tokio::task::spawn_blocking(move || artifact.inspect(arguments.platform.as_ref())).await??
    };
    printer.data("image.inspect", &inspection, text(&inspection))?;
    Ok(ExitCode::Done)
}

fn text(inspection: &Inspection) -> Lines {
    let mut output = Lines::default();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            output.push(&format!("{name:<12} {value}"));
        }
    };
    let digest = inspection.digest.as_ref().map_or_else(|| "made by pushing".to_owned(), ToString::to_string);
    line("image", &inspection.pinned.as_ref().map(ToString::to_string).unwrap_or_default());
    line("digest", &digest);
    line("type", &inspection.media_type);
    line("platform", &inspection.platform.to_string());
    let platforms: Vec<String> = inspection.platforms.iter().map(ToString::to_string).collect();
    line("platforms", &platforms.join(", "));
    line("size", &bytes(inspection.size));
    line("created", inspection.created.as_deref().unwrap_or_default());
    line("entrypoint", &inspection.entrypoint.join(" "));
    line("cmd", &inspection.cmd.join(" "));
    line("user", &inspection.user);
    line("workdir", &inspection.working_dir);
    line("ports", &inspection.exposed_ports.join(", "));
    for variable in &inspection.env {
        line("env", variable);
    }
    for (name, value) in &inspection.labels {
        line("label", &format!("{name}={value}"));
    }
    for layer in &inspection.layers {
        line("layer", &format!("{} {}", layer.digest, bytes(layer.size)));
    }
    output
}
