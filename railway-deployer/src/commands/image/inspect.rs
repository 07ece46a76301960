//! `image inspect`: what an image is, in a registry or on disk.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use spectra_oci::{Inspection, Platform};
use spectra_types::{ExitCode, ImageRef};

use super::{Login, Unpacking};
use crate::{
    failure::Failure,
    printer::{Printer, bytes},
};

/// Arguments of `image inspect`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A path to a layout or archive if there is a file or directory of that name, else an image reference
    image: String,
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

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let path = PathBuf::from(&arguments.image);
    let inspection = if path.exists() {
        let limits = arguments.unpacking.limits();
        tokio::task::spawn_blocking(move || {
            spectra_oci::open_within(&path, arguments.name.as_deref(), &limits)?
                .inspect(arguments.platform.as_ref())
        })
        .await??
    } else {
        let image: ImageRef = arguments.image.parse().map_err(|error| {
            Failure::usage(format!("`{}` is neither a file nor an image reference: {error}", arguments.image))
        })?;
        arguments.login.client(&image)?.inspect(&image, arguments.platform.as_ref()).await?
    };
    printer.data("image.inspect", &inspection, &text(&inspection))?;
    Ok(ExitCode::Done)
}

fn text(inspection: &Inspection) -> String {
    let mut output = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(output, "{name:<12} {value}");
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
