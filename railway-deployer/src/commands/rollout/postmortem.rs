//! `rollout postmortem`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use spectra_delivery::{Account, Written};
use spectra_railway::{Client, ClientConfig};
use spectra_types::ExitCode;

use super::open_existing;
use super::place::Which;
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Where post-mortems are.
#[derive(Debug, Clone, Args)]
pub(super) struct Folder {
    /// Folder for the post-mortems of rollouts that fail
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "SPECTRA_POSTMORTEMS",
        default_value = ".spectra/postmortems"
    )]
    pub(super) postmortems: PathBuf,
}

impl Folder {
    /// The post-mortem of a rollout, if it was written.
    pub(super) fn of(&self, rollout: &str) -> Option<PathBuf> {
        Some(Written::paths(&self.postmortems, rollout).markdown).filter(|path| path.exists())
    }
}

/// Arguments of `rollout postmortem`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Folder to write `ROLLOUT.md` and `ROLLOUT.json` to
    #[arg(
        long,
        short,
        value_name = "DIRECTORY",
        env = "SPECTRA_OUTPUT",
        default_value = ".spectra/postmortems"
    )]
    output: PathBuf,
}

pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let rollout = arguments.which.rollout(&journal).await?;
    let mut account = Account::of(&journal, &rollout).await?;
    // The log is a help, not the heart of it: without a token, it is left out.
    match ClientConfig::from_env().map_err(Failure::from).and_then(|config| Ok(Client::new(config)?)) {
        Ok(client) => account = account.with_log(&client).await,
        Err(failure) => printer.note(&format!("the log of the candidate is left out: {failure}")),
    }
    let folder = &arguments.output;
    let written = account.write(folder).map_err(Failure::file("write the post-mortem into", folder))?;
    let text: Lines =
        [&written.markdown, &written.json].iter().map(|path| path.display().to_string()).collect();
    let mut value = serde_json::to_value(&account).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("markdown".to_owned(), written.markdown.display().to_string().into());
    }
    printer.data("rollout.postmortem", &value, text)?;
    Ok(ExitCode::Done)
}
