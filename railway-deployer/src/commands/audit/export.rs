//! `audit export`.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use clap::Args;
use spectra_types::ExitCode;

use super::Filter;
use crate::commands::rollout::open_existing;
use crate::{
    failure::Failure,
    printer::{Printer, Stdout, written},
};

/// Arguments of `audit export`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// File to write; standard output without it
    #[arg(long, short, value_name = "FILE", env = "SPECTRA_OUTPUT")]
    output: Option<PathBuf>,
}

/// What is written is what is stored, byte for byte: the hashes cover it. Secrets were kept out when it was stored.
pub(super) async fn run(arguments: &Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let query = arguments.filter.query();
    let written = match &arguments.output {
        None => match journal.export(&mut BufWriter::new(Stdout), &query).await {
            // It is not the journal that failed.
            Err(spectra_journal::Error::Export { source, .. }) => {
                written(Err(source))?;
                return Ok(ExitCode::Done);
            }
            result => result?,
        },
        Some(path) => {
            let file = std::fs::File::create(path).map_err(Failure::file("write", path))?;
            let mut writer = BufWriter::new(file);
            let written = journal.export(&mut writer, &query).await?;
            let file =
                writer.into_inner().map_err(|error| Failure::file("write", path)(error.into_error()))?;
            (&file).flush().and_then(|()| file.sync_all()).map_err(Failure::file("write", path))?;
            written
        }
    };
    printer.note(&format!("{written} records"));
    Ok(ExitCode::Done)
}
