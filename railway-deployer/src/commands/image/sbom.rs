//! `image sbom`: the packages in an image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::json;
use spectra_scan::{
    Tool,
    inventory::{self, LayerInput},
    sbom::{self, Format, Generator, Subject},
};
use spectra_types::{ExitCode, HumanDuration};

use super::local::{Local, Source};
use crate::{
    commands::report::{self, Document},
    failure::Failure,
    lines::Lines,
    printer::Printer,
    scratch::Scratch,
};

/// Arguments of `image sbom`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A path to a layout or archive if there is one of that name, else an image reference; or with a prefix: docker://, oci:,
    /// oci-archive:, docker-archive:, docker-daemon:
    image: String,
    /// How to write it: `cyclonedx` (1.6) or `spdx` (2.3), both JSON
    #[arg(long, env = "SPECTRA_SBOM_FORMAT", default_value = "cyclonedx", value_name = "FORMAT")]
    format: Format,
    /// Who looks: Syft if it is on PATH, or the package databases in the layers
    #[arg(long, env = "SPECTRA_SBOM_GENERATOR", value_enum, default_value_t = Who::Auto)]
    generator: Who,
    /// File to write; standard output without it
    #[arg(long, short, env = "SPECTRA_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    /// The time in the document, in seconds since 1970, instead of the image's own
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    created: Option<u32>,
    /// How long Syft may take
    #[arg(long, env = "SPECTRA_SBOM_TIMEOUT", default_value = "10m", value_name = "DURATION")]
    timeout: HumanDuration,
    #[command(flatten)]
    source: Source,
}

/// Who looks into the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Syft if it is on PATH, else the databases.
    Auto,
    /// Syft.
    Syft,
    /// The databases of dpkg and apk, and the lists of `cargo auditable`.
    Builtin,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let format = arguments.format;
    let syft = match arguments.generator {
        Who::Builtin => None,
        Who::Auto => Tool::find("syft"),
        Who::Syft => Some(Tool::find("syft").ok_or(spectra_scan::Error::NoTool {
            attempt: "list the packages",
            missing: "`syft` is not on PATH",
            advice: "install Syft (https://github.com/anchore/syft), or leave it to the package databases: `--generator builtin`",
        })?),
    };
    let local = arguments.source.open(&arguments.image, printer).await?;
    let created = match arguments.created {
        Some(seconds) => Timestamp::from_second(seconds.into()).ok(),
        None => local.created.as_ref().and_then(|text| text.parse().ok()),
    };
    let subject = Subject {
        name: local.name.clone(),
        repository: local.repository.clone(),
        digest: local.digest.clone(),
        platform: local.platform.clone(),
        created,
    };
    let generator = syft.as_ref().map_or("builtin", Tool::name);
    let document = if let Some(syft) = &syft {
        let place = Scratch::new("spectra-")?;
        let layout = place.path().join("image");
        let stored = layout.clone();
        tokio::task::spawn_blocking(move || local.store(&stored)).await??;
        let work = place.path().join("work");
        std::fs::create_dir(&work).map_err(Failure::file("create", &work))?;
        sbom::with_syft(syft, &layout, &work, &subject, format, arguments.timeout.get()).await?
    } else {
        let inventory = tokio::task::spawn_blocking(move || look(&local)).await??;
        for note in &inventory.notes {
            printer.warn(note);
        }
        let generator = Generator { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
        sbom::write(format, &subject, &inventory, generator)
    };
    let value = json!({
        "image": arguments.image,
        "format": format.as_str(),
        "predicate_type": format.predicate_type(),
        "generator": generator,
        "output": arguments.output,
        "sbom": if arguments.output.is_none() { report::parsed(&document)? } else { serde_json::Value::Null },
    });
    report::deliver(
        printer,
        "image.sbom",
        arguments.output.as_deref(),
        &Document::Json(document),
        &value,
        Lines::default(),
    )?;
    Ok(ExitCode::Done)
}

fn look(local: &Local) -> Result<inventory::Inventory, Failure> {
    let layers: Vec<_> = local.image()?.layers().collect();
    let inputs: Vec<LayerInput<'_>> = layers
        .iter()
        .map(|layer| LayerInput {
            digest: layer.digest().clone(),
            open: Box::new(move || layer.reader().map_err(Into::into)),
        })
        .collect();
    Ok(inventory::read(&inputs)?)
}
