//! `image build`: directories into an OCI layout.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spectra_oci::{ImageBuilder, LayerInput, Layout, Platform};
use spectra_types::ExitCode;

use crate::{
    failure::Failure,
    printer::{Printer, bytes},
};

/// Arguments of `image build`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory whose content becomes the image
    directory: PathBuf,
    /// Where to write the layout; an existing one gets another image
    #[arg(long, short, env = "SPECTRA_OUTPUT")]
    output: PathBuf,
    /// Name of the image inside the layout
    #[arg(long, env = "SPECTRA_NAME")]
    name: Option<String>,
    /// Where in the image the directory's content goes
    #[arg(long, env = "SPECTRA_TARGET", default_value = "/")]
    target: String,
    /// Another layer on top
    #[arg(long, env = "SPECTRA_LAYER", value_name = "DIRECTORY:TARGET")]
    layer: Vec<String>,
    /// The program and its fixed arguments, one a flag
    #[arg(long, env = "SPECTRA_ENTRYPOINT", value_name = "ARGUMENT", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// A default argument, one a flag
    #[arg(long, env = "SPECTRA_CMD", value_name = "ARGUMENT", allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// An environment variable; not for secrets, which everyone who can pull the image would read
    #[arg(long, env = "SPECTRA_ENV", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A label
    #[arg(long, env = "SPECTRA_LABEL", value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// User, or user:group, that the program runs as
    #[arg(long, env = "SPECTRA_USER")]
    user: Option<String>,
    /// Where the program starts
    #[arg(long, env = "SPECTRA_WORKDIR")]
    workdir: Option<String>,
    /// A port that the program listens on, such as 8080 or 53/udp
    #[arg(long, env = "SPECTRA_EXPOSE", value_name = "PORT")]
    expose: Vec<String>,
    /// What the image runs on
    #[arg(long, env = "SPECTRA_PLATFORM", default_value = "linux/amd64")]
    platform: Platform,
    /// The one time that everything in the image carries, in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0, value_name = "SECONDS")]
    created: u32,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let output = arguments.output.clone();
    let name = arguments.name.clone();
    let builder = builder(arguments)?;
    let layout_name = name.clone();
    let (root, built) = tokio::task::spawn_blocking(move || {
        let layout = Layout::create(output)?;
        let built = builder.build(&layout, layout_name.as_deref())?;
        Ok::<_, spectra_oci::Error>((layout.root().to_owned(), built))
    })
    .await??;
    printer.note(&format!(
        "built {} in `{}`: {} entries, {}",
        built.manifest.digest.short(),
        root.display(),
        built.entries,
        bytes(built.size)
    ));
    let value = json!({
        "layout": root,
        "name": name,
        "digest": built.manifest.digest,
        "config_digest": built.config,
        "layers": built.layers.iter().map(|layer| json!({
            "media_type": layer.media_type, "digest": layer.digest, "size": layer.size
        })).collect::<Vec<_>>(),
        "size": built.size,
        "entries": built.entries,
    });
    printer.data("image.build", &value, &built.manifest.digest.to_string())?;
    Ok(ExitCode::Done)
}

fn builder(arguments: Arguments) -> Result<ImageBuilder, Failure> {
    let mut builder = ImageBuilder::new()
        .layer(LayerInput { directory: arguments.directory, target: arguments.target })
        .entrypoint(arguments.entrypoint)
        .cmd(arguments.cmd)
        .platform(arguments.platform)
        .created(arguments.created);
    for layer in arguments.layer {
        let (directory, target) = layer.rsplit_once(':').ok_or_else(|| {
            Failure::usage(format!(
                "`--layer {layer}` has no `:`; write DIRECTORY:TARGET, such as `assets:/srv/assets`"
            ))
        })?;
        builder = builder.layer(LayerInput { directory: directory.into(), target: target.to_owned() });
    }
    for pair in arguments.env {
        let (name, value) = split("--env", &pair)?;
        builder = builder.env(name, value);
    }
    for pair in arguments.label {
        let (name, value) = split("--label", &pair)?;
        builder = builder.label(name, value);
    }
    for port in arguments.expose {
        builder = builder.expose(&port).map_err(|error| Failure::usage(error.to_string()))?;
    }
    if let Some(user) = &arguments.user {
        builder = builder.user(user);
    }
    if let Some(directory) = &arguments.workdir {
        builder = builder.working_dir(directory);
    }
    Ok(builder)
}

fn split<'a>(flag: &str, pair: &'a str) -> Result<(&'a str, &'a str), Failure> {
    pair.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Failure::usage(format!("`{flag} {pair}` has no `=`; write NAME=VALUE")))
}
