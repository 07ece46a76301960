//! `rollout report`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spectra_delivery::Account;
use spectra_types::{ExitCode, Redactor};

use super::place::Which;
use super::{open_existing, page};
use crate::{failure::Failure, printer::Printer};

/// Arguments of `rollout report`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// File to write [default: `.spectra/reports/ROLLOUT.html`]
    #[arg(long, short, value_name = "FILE", env = "SPECTRA_OUTPUT")]
    output: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let rollout = arguments.which.rollout(&journal).await?;
    let account = Account::of(&journal, &rollout).await?;
    let path = arguments.output.unwrap_or_else(|| format!(".spectra/reports/{rollout}.html").into());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Failure::file("make the folder", folder))?;
    }
    let html = page::html(&account);
    std::fs::write(&path, Redactor::global().redact(&html).as_bytes())
        .map_err(Failure::file("write", &path))?;
    let shown = path.display().to_string();
    printer.data("rollout.report", &json!({ "rollout": rollout, "path": shown }), &shown)?;
    Ok(ExitCode::Done)
}
